"""What a client asks the server: one file per request or family of them.

`MODULES` says which module answers a method. It is imported with the first question, so that
opening an editor does not wait for it. A list rather than a search of the folder, so that a
stray file registers nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

MODULES: Mapping[str, str] = {
    "codeLens/resolve": "dlm_server.requests.code_lens",
    "textDocument/codeAction": "dlm_server.requests.code_action",
    "textDocument/codeLens": "dlm_server.requests.code_lens",
    "textDocument/completion": "dlm_server.requests.completion",
    "textDocument/definition": "dlm_server.requests.definition",
    "textDocument/diagnostic": "dlm_server.requests.diagnostic",
    "textDocument/documentHighlight": "dlm_server.requests.document_highlight",
    "textDocument/documentLink": "dlm_server.requests.document_link",
    "textDocument/documentSymbol": "dlm_server.requests.document_symbol",
    "textDocument/foldingRange": "dlm_server.requests.folding_range",
    "textDocument/formatting": "dlm_server.requests.formatting",
    "textDocument/hover": "dlm_server.requests.hover",
    "textDocument/inlayHint": "dlm_server.requests.inlay_hint",
    "textDocument/onTypeFormatting": "dlm_server.requests.on_type_formatting",
    "textDocument/prepareRename": "dlm_server.requests.prepare_rename",
    "textDocument/rangeFormatting": "dlm_server.requests.range_formatting",
    "textDocument/references": "dlm_server.requests.references",
    "textDocument/rename": "dlm_server.requests.rename",
    "textDocument/selectionRange": "dlm_server.requests.selection_range",
    "textDocument/semanticTokens/full": "dlm_server.requests.semantic_tokens",
    "textDocument/semanticTokens/range": "dlm_server.requests.semantic_tokens",
    "workspace/diagnostic": "dlm_server.requests.workspace_diagnostic",
    "workspace/executeCommand": "dlm_server.requests.execute_command",
    "workspace/symbol": "dlm_server.requests.workspace_symbol",
}
