"""`textDocument/semanticTokens/full` and `/range`, in the protocol's five numbers a token.

No deltas: what they save in bytes costs more in state than these numbers cost to send.
"""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types as lsp

from dlm_engine.document import LiveDocument
from dlm_server.dispatch import request
from dlm_server.encodings import Encoding, to_units
from dlm_server.features.highlights import TOKEN_TYPES
from dlm_server.features.semantic_tokens import Token, fresh_tokens, tokens
from dlm_server.session import Snapshot

_NUMBER = {name: number for number, name in enumerate(TOKEN_TYPES)}


@request("textDocument/semanticTokens/full")
def full(snapshot: Snapshot, params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
    return lsp.SemanticTokens(data=of_document(snapshot.live, snapshot.client.encoding))


@request("textDocument/semanticTokens/range")
def in_range(snapshot: Snapshot, params: lsp.SemanticTokensRangeParams) -> lsp.SemanticTokens:
    found = tokens(snapshot.live, snapshot.span(params.range))
    return lsp.SemanticTokens(data=encoded(snapshot.live, found, snapshot.client.encoding))


def of_document(live: LiveDocument, encoding: Encoding) -> list[int]:
    """All tokens, encoded; each section keeps its own, so that an edit costs its section."""
    chunks = live.chunks
    name = f"semantic tokens in {encoding}"
    for index, found in fresh_tokens(live, name):
        own = encoded(live, found, encoding)
        if own:
            own[0] -= chunks.lines[index]
        chunks.items[index].reading.kept[name] = own, sum(own[::5])
    data: list[int] = []
    line = 0
    for chunk, first in zip(chunks.items, chunks.lines, strict=False):
        own, last = chunk.reading.kept[name]
        if own:
            at = len(data)
            data += own
            data[at] += first - line
            line = first + last
    return data


def encoded(live: LiveDocument, found: Iterable[Token], encoding: Encoding) -> list[int]:
    """Line and column relative to the token before, length, type, no modifiers."""
    data: list[int] = []
    line, column = 0, 0
    written, at = live.line_text(0), 0
    for token in found:
        start, end = token.span
        now = live.line_of(start)
        if now != line:
            written, at = live.line_text(now), live.line_start(now)
        first = to_units(written, start - at, encoding)
        length = to_units(written, end - at, encoding) - first
        same_line = now == line
        data += (now - line, first - column if same_line else first, length, _NUMBER[token.type], 0)
        line, column = now, first
    return data
