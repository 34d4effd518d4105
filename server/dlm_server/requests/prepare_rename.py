"""`textDocument/prepareRename`: whether an adapter name is here, and which characters it is."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.adapters import occurrence_at
from dlm_server.session import Snapshot


@request("textDocument/prepareRename")
def prepare_rename(
    snapshot: Snapshot, params: lsp.PrepareRenameParams
) -> lsp.PrepareRenamePlaceholder | None:
    found = occurrence_at(snapshot.live, snapshot.offset(params.position))
    if found is None:
        return None
    return lsp.PrepareRenamePlaceholder(snapshot.range(found.span), found.name)
