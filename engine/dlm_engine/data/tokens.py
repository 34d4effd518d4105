"""Rows to token ids and labels, cut to the sequence length with nothing dropped.

Each row is tokenised by itself: no row's tokens depend on another's, on their order or
on what stands first. Whatever does not fit becomes further windows; the tokens before a
cut come again as context without loss, so every token is supervised exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dlm_engine.data.chat import Chat
from dlm_engine.data.rows import ChatRow, Row, SourceRow, text_key
from dlm_engine.data.sources.chunking import chunks

#: Share of a window that repeats what came before, as context, after a cut.
_CONTEXT = 0.25


@dataclass(frozen=True, slots=True)
class Encoded:
    """One window of one row.

    `ids[start:]` are supervised (each predicted from what is before it), so `start` is at
    least 1. `key` is the row's key, with the window's number when there are several. The
    loss of its tokens counts `weight` times.
    """

    key: str
    section_id: str
    kind: Literal["chat", "text"]
    ids: tuple[int, ...]
    start: int
    weight: float = 1.0

    @property
    def supervised(self) -> int:
        return len(self.ids) - self.start


def encode_row(row: Row, chat: Chat, sequence_len: int) -> tuple[Encoded, ...]:
    """The windows of a row, each at most `sequence_len` tokens."""
    if isinstance(row, ChatRow):
        prompt = chat.prompt_ids(row.question)
        ids = [*prompt, *chat.answer_ids(row.question, row.answer)]
        return windows(row.key, row, "chat", ids, len(prompt), sequence_len)
    if isinstance(row, SourceRow):
        return tuple(_pieces(row, chat, sequence_len))
    return windows(row.key, row, "text", chat.text_ids(row.text), 1, sequence_len)


def _pieces(row: SourceRow, chat: Chat, length: int) -> Iterator[Encoded]:
    """The windows of a file: of each piece its context and then, supervised, its own tokens."""
    pieces = chunks(row.read(), row.label, length)
    for number, piece in enumerate(pieces):
        if not piece.body.strip():
            continue
        context = chat.opening_ids(piece.context)
        # Only the file has an end; a piece that ended as well would teach to stop halfway.
        ends = number == len(pieces) - 1
        body = chat.closing_ids(piece.body) if ends else chat.ids(piece.body)
        yield from windows(
            text_key(piece.body.strip()), row, "text", [*context, *body], len(context), length
        )


def windows(
    key: str, row: Row, kind: Literal["chat", "text"], ids: list[int], start: int, length: int
) -> tuple[Encoded, ...]:
    """`ids`, supervised from `start` on, in windows of at most `length`, the first called `key`."""
    weight = row.weight if isinstance(row, SourceRow) else 1.0
    if len(ids) <= length:
        return (Encoded(key, row.section_id, kind, tuple(ids), start, weight),)
    context = max(1, int(length * _CONTEXT))
    found: list[Encoded] = []
    done = start
    while done < len(ids):
        # The first window keeps as much of the prompt as leaves room to answer.
        before = min(done, context if found else length - context)
        begin = done - before
        end = min(len(ids), begin + length)
        own = hashlib.sha256(f"{key}\0{len(found)}".encode()).hexdigest()
        found.append(Encoded(own, row.section_id, kind, tuple(ids[begin:end]), before, weight))
        done = end
    return tuple(found)
