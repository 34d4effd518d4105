"""Rows to token ids and labels, cut to the sequence length with nothing dropped.

Each row is tokenised by itself: no row's tokens depend on another's, on their order or
on what stands first. Whatever does not fit becomes further windows; the tokens before a
cut come again as context without loss, so every token is supervised exactly once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from dlm_engine.data.chat import Chat
from dlm_engine.data.rows import ChatRow, Row

#: Share of a window that repeats what came before, as context, after a cut.
_CONTEXT = 0.25


@dataclass(frozen=True, slots=True)
class Encoded:
    """One window of one row.

    `ids[start:]` are supervised (each predicted from what is before it), so `start` is at
    least 1. `key` is the row's key, with the window's number when there are several.
    """

    key: str
    section_id: str
    kind: Literal["chat", "text"]
    ids: tuple[int, ...]
    start: int

    @property
    def supervised(self) -> int:
        return len(self.ids) - self.start


def encode_row(row: Row, chat: Chat, sequence_len: int) -> tuple[Encoded, ...]:
    """The windows of a row, each at most `sequence_len` tokens."""
    if isinstance(row, ChatRow):
        prompt = chat.prompt_ids(row.question)
        ids = [*prompt, *chat.answer_ids(row.question, row.answer)]
        return _windows(row, "chat", ids, len(prompt), sequence_len)
    return _windows(row, "text", chat.text_ids(row.text), 1, sequence_len)


def _windows(
    row: Row, kind: Literal["chat", "text"], ids: list[int], start: int, length: int
) -> tuple[Encoded, ...]:
    if len(ids) <= length:
        return (Encoded(row.key, row.section_id, kind, tuple(ids), start),)
    context = max(1, int(length * _CONTEXT))
    windows: list[Encoded] = []
    done = start
    while done < len(ids):
        # The first window keeps as much of the prompt as leaves room to answer.
        before = min(done, context if windows else length - context)
        begin = done - before
        end = min(len(ids), begin + length)
        key = hashlib.sha256(f"{row.key}\0{len(windows)}".encode()).hexdigest()
        windows.append(Encoded(key, row.section_id, kind, tuple(ids[begin:end]), before))
        done = end
    return tuple(windows)
