"""`textDocument/definition`: from an adapter on a fence to where it is declared."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.adapters import same_adapter
from dlm_server.session import Snapshot


@request("textDocument/definition")
def definition(snapshot: Snapshot, params: lsp.DefinitionParams) -> list[lsp.Location]:
    return [
        lsp.Location(params.text_document.uri, snapshot.range(found.span))
        for found in same_adapter(snapshot.live, snapshot.offset(params.position))
        if found.declaration
    ]
