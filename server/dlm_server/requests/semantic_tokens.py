"""`textDocument/semanticTokens/full` and `/range`, in the protocol's five numbers a token.

No deltas: what they save in bytes costs more in state than these numbers cost to send.
"""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types as lsp

from dlm_engine.document import LiveDocument
from dlm_server.capabilities import ClientFeatures
from dlm_server.dispatch import request
from dlm_server.encodings import Encoding, to_units
from dlm_server.features.highlights import TOKEN_TYPES
from dlm_server.features.semantic_tokens import Token, tokens
from dlm_server.session import Snapshot

CAPABILITY = "semantic_tokens_provider"

_NUMBER = {name: number for number, name in enumerate(TOKEN_TYPES)}


def options(client: ClientFeatures) -> lsp.SemanticTokensOptions:
    legend = lsp.SemanticTokensLegend(token_types=list(TOKEN_TYPES), token_modifiers=[])
    return lsp.SemanticTokensOptions(legend=legend, full=True, range=True)


@request("textDocument/semanticTokens/full")
def full(snapshot: Snapshot, params: lsp.SemanticTokensParams) -> lsp.SemanticTokens:
    found = tokens(snapshot.live)
    return lsp.SemanticTokens(data=encoded(snapshot.live, found, snapshot.client.encoding))


@request("textDocument/semanticTokens/range")
def in_range(snapshot: Snapshot, params: lsp.SemanticTokensRangeParams) -> lsp.SemanticTokens:
    found = tokens(snapshot.live, snapshot.span(params.range))
    return lsp.SemanticTokens(data=encoded(snapshot.live, found, snapshot.client.encoding))


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
