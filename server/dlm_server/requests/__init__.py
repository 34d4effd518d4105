"""What a client asks the server: one file per request or family of them.

`MODULES` is the fixed list of modules that register handlers. A list rather than a
search of the folder, so that a stray file registers nothing and the order is known.
"""

from __future__ import annotations

MODULES: tuple[str, ...] = (
    "dlm_server.requests.diagnostic",
    "dlm_server.requests.execute_command",
    "dlm_server.requests.code_lens",
    "dlm_server.requests.document_symbol",
    "dlm_server.requests.folding_range",
    "dlm_server.requests.formatting",
    "dlm_server.requests.inlay_hint",
    "dlm_server.requests.on_type_formatting",
    "dlm_server.requests.range_formatting",
    "dlm_server.requests.selection_range",
    "dlm_server.requests.semantic_tokens",
    "dlm_server.requests.workspace_symbol",
    "dlm_server.requests.code_action",
    "dlm_server.requests.completion",
    "dlm_server.requests.definition",
    "dlm_server.requests.document_highlight",
    "dlm_server.requests.document_link",
    "dlm_server.requests.hover",
    "dlm_server.requests.prepare_rename",
    "dlm_server.requests.references",
    "dlm_server.requests.rename",
)
