"""`textDocument/rangeFormatting`: of what formatting would change, that inside the range."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.formatting import format_range
from dlm_server.session import Snapshot


@request("textDocument/rangeFormatting")
def range_formatting(
    snapshot: Snapshot, params: lsp.DocumentRangeFormattingParams
) -> list[lsp.TextEdit]:
    return snapshot.text_edits(format_range(snapshot.live, snapshot.span(params.range)))
