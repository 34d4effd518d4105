"""`textDocument/documentHighlight`: the other names of the adapter under the cursor."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.adapters import same_adapter
from dlm_server.session import Snapshot


@request("textDocument/documentHighlight")
def document_highlight(
    snapshot: Snapshot, params: lsp.DocumentHighlightParams
) -> list[lsp.DocumentHighlight]:
    kinds = {True: lsp.DocumentHighlightKind.Write, False: lsp.DocumentHighlightKind.Read}
    return [
        lsp.DocumentHighlight(snapshot.range(found.span), kinds[found.declaration])
        for found in same_adapter(snapshot.live, snapshot.offset(params.position))
    ]
