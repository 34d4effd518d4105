"""From the protocol to dlm: URIs to paths, positions and ranges to code-point offsets.

Positions are converted once, here, so that nothing behind this border counts anything but
code points. Any position is accepted: one beyond the text means its end, as editors expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pygls.uris import to_fs_path

from dlm_engine.document import LiveDocument, Places, Span
from dlm_server.changes import Change
from dlm_server.dispatch import INVALID_PARAMS, RequestFailed
from dlm_server.documents import OpenDocument
from dlm_server.encodings import Encoding, to_column


def path_of(uri: str) -> Path | None:
    """The file a URI names; None for an unsaved document, for other schemes and other systems."""
    if not uri.startswith("file:"):
        return None
    try:
        path = to_fs_path(uri)
        found = Path(path) if path and "\0" not in path else None
    except ValueError:
        return None
    # A file of another system would be one beside the server here.
    return found if found is not None and found.is_absolute() else None


def opened(params: object) -> OpenDocument:
    """The document that `didOpen` brings, as plain JSON.

    Raises:
        RequestFailed: something is missing or of the wrong kind.
    """
    item = params.get("textDocument") if isinstance(params, Mapping) else None
    match item:
        case {
            "uri": str(uri),
            "languageId": str(language),
            "version": int(version),
            "text": str(text),
        } if -(2**31) <= version < 2**31:
            return OpenDocument(uri, path_of(uri), language, version, LiveDocument.open(text))
    why = "textDocument/didOpen: textDocument must have uri, languageId, version and text"
    raise RequestFailed(INVALID_PARAMS, why)


def same_document(uri: str) -> str:
    """One spelling for every spelling of a URI: editors differ in what they percent-encode."""
    if "%" not in uri:
        return uri
    try:
        return unquote(uri) if urlsplit(uri).scheme else uri
    except ValueError:
        return uri


class Position(Protocol):
    """The protocol's position, whatever it was read with."""

    @property
    def line(self) -> int: ...
    @property
    def character(self) -> int: ...


class Range(Protocol):
    @property
    def start(self) -> Position: ...
    @property
    def end(self) -> Position: ...


def offset(live: Places, position: Position, encoding: Encoding) -> int:
    """The code-point offset a position means."""
    if position.line >= live.line_count:
        return len(live.text)
    start = live.line_start(position.line)
    if position.character == 0:
        return start
    return start + to_column(live.line_text(position.line), position.character, encoding)


def span(live: Places, range_: Range, encoding: Encoding) -> Span:
    """The code-point span a range means; a reversed range is put right."""
    start = offset(live, range_.start, encoding)
    end = offset(live, range_.end, encoding)
    return Span(start, end) if start <= end else Span(end, start)


def edited(live: LiveDocument, changes: Sequence[Change], encoding: Encoding) -> LiveDocument:
    """`live` after changes, each of which sees the ones before it."""
    # What comes before a whole text is of no account.
    wholes = [index for index, change in enumerate(changes) if change.range is None]
    if wholes:
        live = LiveDocument.open(changes[wholes[-1]].text)
        changes = changes[wholes[-1] + 1 :]
    if not changes:
        return live
    draft = live.draft()
    for change in changes:
        assert change.range is not None
        draft.put(*span(draft.places, change.range, encoding), change.text)
    return live.drafted(draft)
