"""What `textDocument/didChange` brings, read from plain JSON, and several of them as one.

The first key that someone presses should not wait for the library of the protocol's types,
which takes longer to import than fifty edits to apply.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dlm_server.dispatch import INVALID_PARAMS, RequestFailed

_MOST = 2**31


class Position(NamedTuple):
    line: int
    character: int


class Range(NamedTuple):
    start: Position
    end: Position


@dataclass(frozen=True, slots=True)
class Change:
    """`text` in the place of `range`, or of everything."""

    text: str
    range: Range | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A document's changes, each of which sees the ones before it, and its version after them."""

    uri: str
    version: int
    changes: Sequence[Change]


def joined(several: Sequence[Changed]) -> Changed:
    """Changes of one document, one behind the other, as one."""
    last = several[-1]
    changes = [change for each in several for change in each.changes]
    return Changed(last.uri, last.version, changes)


def read(params: object) -> Changed:
    """
    Raises:
        RequestFailed: something is missing or of the wrong kind.
    """
    match params:
        case {
            "textDocument": {"uri": str(uri), "version": int(version)},
            "contentChanges": list(changes),
        } if -_MOST <= version < _MOST:
            return Changed(uri, version, [_change(change) for change in changes])
    raise _wrong("textDocument must have uri and version, and contentChanges must be a list")


def _change(change: object) -> Change:
    match change:
        case {"range": Mapping() as place, "text": str(text)}:
            return Change(text, Range(_position(place.get("start")), _position(place.get("end"))))
        case {"text": str(text), **rest} if rest.get("range") is None:
            return Change(text, None)
    raise _wrong("a change must have a text and, unless it is the whole one, a range")


def _position(position: object) -> Position:
    match position:
        case {"line": int(line), "character": int(character)}:
            if 0 <= line < _MOST and 0 <= character < _MOST:
                return Position(line, character)
    raise _wrong("a range must have a start and an end, each a line and a character from 0 on")


def _wrong(why: str) -> RequestFailed:
    return RequestFailed(INVALID_PARAMS, f"textDocument/didChange: {why}")
