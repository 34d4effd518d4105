"""All rows of a run to windows of tokens, each text once, from the cache where they are there.

The only way from rows to tokens in training, so that a text which stands in the document
and in a file, or in two files, is one row whichever came first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from dlm_engine.data.bulk import collector_paused
from dlm_engine.data.chat import Chat
from dlm_engine.data.rows import ChatRow, Row, SourceRow
from dlm_engine.data.sources import CHUNKING
from dlm_engine.data.token_cache import TokenCache, Window, Windows
from dlm_engine.data.tokens import Encoded, encode_row

#: Raise when the same text makes other windows than before: kept ones are of no use then.
ENCODING = 1


@dataclass(frozen=True, slots=True)
class Encoding:
    """`questions`: what each window's row asks, by the window's key; "" for prose. `files`: which
    file a window is a piece of, where it is of one; files that share a piece count as one.

    `fresh` and `used` are by their names in the cache: what was made now, and what was found.
    """

    windows: tuple[Encoded, ...]
    questions: dict[str, str]
    fresh: dict[bytes, Windows]
    used: tuple[bytes, ...]
    files: Mapping[str, str] = field(default_factory=dict)


@collector_paused()
def encode_rows(
    rows: Sequence[Row], chat: Chat, sequence_len: int, base: str, cache: TokenCache
) -> Encoding:
    """The windows of `rows`, in their order; `base` is the digest of the base's files."""
    names = _names(rows, chat, sequence_len, base)
    kept = cache.windows(names)
    windows: dict[str, Encoded] = {}
    questions: dict[str, str] = {}
    fresh: dict[bytes, Windows] = {}
    pieces: dict[str, str] = {}
    files = _Files()
    for name, row in zip(names, rows, strict=True):
        known = kept.get(name)
        if known is None:
            made = encode_row(row, chat, sequence_len)
            fresh[name] = tuple(Window(each.key, each.ids, each.start) for each in made)
        else:
            made = tuple(_encoded(row, window) for window in known)
        question = row.question if isinstance(row, ChatRow) else ""
        for window in made:
            windows.setdefault(window.key, window)
            questions.setdefault(window.key, question)
            if isinstance(row, SourceRow):
                files.join(row.section_id, pieces.setdefault(window.key, row.section_id))
    of_file = {key: files.one(file) for key, file in pieces.items()}
    return Encoding(tuple(windows.values()), questions, fresh, tuple(kept), of_file)


class _Files:
    """Which files count as one."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def one(self, file: str) -> str:
        """The file that stands for `file`."""
        while file in self._above:
            file = self._above[file]
        return file

    def join(self, first: str, second: str) -> None:
        # The lesser one stands for both, whichever came first.
        least, other = sorted((self.one(first), self.one(second)))
        if least != other:
            self._above[other] = least


def _names(rows: Sequence[Row], chat: Chat, sequence_len: int, base: str) -> list[bytes]:
    """What each row's windows are found by: a digest of all that they depend on."""
    common = [ENCODING, CHUNKING, base, version("tokenizers"), version("transformers")]
    prose = _digest([*common, sequence_len])
    asked = _digest([*common, sequence_len, "chat", chat.system_prompt])
    return [
        hashlib.sha256((asked if isinstance(row, ChatRow) else prose) + row.key.encode()).digest()
        for row in rows
    ]


def _digest(facts: list[object]) -> bytes:
    return hashlib.sha256(json.dumps(facts).encode()).digest()


def _encoded(row: Row, window: Window) -> Encoded:
    return Encoded(
        window.key,
        row.section_id,
        "chat" if isinstance(row, ChatRow) else "text",
        window.ids,
        window.start,
        row.weight if isinstance(row, SourceRow) else 1.0,
    )
