"""`textDocument/diagnostic`: for clients that ask for problems."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.conversion import Plain
from dlm_server.dispatch import session_request
from dlm_server.session import Session


@session_request("textDocument/diagnostic")
def diagnostic(session: Session, params: lsp.DocumentDiagnosticParams) -> Plain:
    document = session.document(params.text_document.uri)
    if document is None:
        return Plain(kind="full", items=[])
    return session.publisher.report(document).since(params.previous_result_id)
