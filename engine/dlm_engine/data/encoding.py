"""All rows of a run to windows of tokens, each text once.

The only way from rows to tokens in training, so that a text which stands in the document
and in a file, or in two files, is one row whichever came first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlm_engine.data.chat import Chat
from dlm_engine.data.rows import ChatRow, Row
from dlm_engine.data.tokens import Encoded, encode_row


@dataclass(frozen=True, slots=True)
class Encoding:
    """`questions`: what each window's row asks, by the window's key; "" for prose."""

    windows: tuple[Encoded, ...]
    questions: dict[str, str]


def encode_rows(rows: Sequence[Row], chat: Chat, sequence_len: int) -> Encoding:
    """The windows of `rows`, in their order."""
    windows: dict[str, Encoded] = {}
    questions: dict[str, str] = {}
    for row in rows:
        question = row.question if isinstance(row, ChatRow) else ""
        for window in encode_row(row, chat, sequence_len):
            windows.setdefault(window.key, window)
            questions.setdefault(window.key, question)
    return Encoding(tuple(windows.values()), questions)
