"""`textDocument/onTypeFormatting`: after Enter only."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.on_type import TRIGGER, on_enter
from dlm_server.session import Snapshot


@request("textDocument/onTypeFormatting")
def on_type_formatting(
    snapshot: Snapshot, params: lsp.DocumentOnTypeFormattingParams
) -> list[lsp.TextEdit]:
    if params.ch != TRIGGER:
        return []
    return snapshot.text_edits(on_enter(snapshot.live, snapshot.offset(params.position)))
