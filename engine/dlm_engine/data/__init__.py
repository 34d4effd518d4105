"""From a document to batches: rows, token ids with their labels, packs.

Pure functions over texts and ids; torch appears only in `packs`.
"""

from dlm_engine.data.chat import Chat
from dlm_engine.data.encoding import encode_rows
from dlm_engine.data.rows import ChatRow, Row, SourceRow, TextRow, injected_rows, rows_of
from dlm_engine.data.split import Split, split_rows
from dlm_engine.data.tokens import Encoded, encode_row

__all__ = [
    "Chat",
    "ChatRow",
    "Encoded",
    "Row",
    "SourceRow",
    "Split",
    "TextRow",
    "encode_row",
    "encode_rows",
    "injected_rows",
    "rows_of",
    "split_rows",
]
