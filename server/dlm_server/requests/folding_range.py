"""`textDocument/foldingRange`: lines only, the outermost where the client sets a limit."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.folding import at_most, folds
from dlm_server.session import Snapshot


@request("textDocument/foldingRange")
def folding_range(snapshot: Snapshot, params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange]:
    found = folds(snapshot.live)
    if snapshot.client.folding_limit is not None:
        found = at_most(found, snapshot.client.folding_limit)
    return [lsp.FoldingRange(f.start_line, f.end_line, kind=f.kind) for f in found]
