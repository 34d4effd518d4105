"""`textDocument/selectionRange`: one chain of growing ranges for each position."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.selection import selections
from dlm_server.session import Snapshot


@request("textDocument/selectionRange")
def selection_range(
    snapshot: Snapshot, params: lsp.SelectionRangeParams
) -> list[lsp.SelectionRange]:
    return [_chain(snapshot, position) for position in params.positions]


def _chain(snapshot: Snapshot, position: lsp.Position) -> lsp.SelectionRange:
    whole, *inner = reversed(selections(snapshot.live, snapshot.offset(position)))
    chain = lsp.SelectionRange(range=snapshot.range(whole))
    for span in inner:
        chain = lsp.SelectionRange(range=snapshot.range(span), parent=chain)
    return chain
