"""`textDocument/rename`: another name for an adapter, wherever the document names it."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import REQUEST_FAILED, RequestFailed, request
from dlm_server.features import adapters
from dlm_server.session import Snapshot


@request("textDocument/rename")
def rename(snapshot: Snapshot, params: lsp.RenameParams) -> lsp.WorkspaceEdit:
    try:
        edits = adapters.rename(snapshot.live, snapshot.offset(params.position), params.new_name)
    except adapters.RenameRefused as refused:
        raise RequestFailed(REQUEST_FAILED, str(refused)) from None
    return snapshot.workspace_edit(edits)
