"""`textDocument/references`: every fence that chooses an adapter, and its declaration."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.adapters import same_adapter
from dlm_server.session import Snapshot


@request("textDocument/references")
def references(snapshot: Snapshot, params: lsp.ReferenceParams) -> list[lsp.Location]:
    with_declaration = params.context.include_declaration
    return [
        lsp.Location(params.text_document.uri, snapshot.range(found.span))
        for found in same_adapter(snapshot.live, snapshot.offset(params.position))
        if with_declaration or not found.declaration
    ]
