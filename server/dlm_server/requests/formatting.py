"""`textDocument/formatting`. The client's tab size counts for nothing: no text is indented."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.formatting import format_document
from dlm_server.session import Snapshot


@request("textDocument/formatting")
def formatting(snapshot: Snapshot, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
    return snapshot.text_edits(format_document(snapshot.live))
