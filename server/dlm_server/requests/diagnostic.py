"""`textDocument/diagnostic` and `workspace/diagnostic`: for clients that ask for problems."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.conversion import Plain
from dlm_server.dispatch import session_request
from dlm_server.documents import OpenDocument
from dlm_server.session import Session


@session_request("textDocument/diagnostic")
def diagnostic(session: Session, params: lsp.DocumentDiagnosticParams) -> Plain:
    document = session.document(params.text_document.uri)
    if document is None:
        return Plain(kind="full", items=[])
    return _report(session, document, params.previous_result_id)


@session_request("workspace/diagnostic")
def workspace_diagnostic(session: Session, params: lsp.WorkspaceDiagnosticParams) -> Plain:
    """The open documents: a closed one's problems are `dlm check`'s to list."""
    previous = {p.uri: p.value for p in params.previous_result_ids}
    items = [
        {
            **_report(session, document, previous.get(document.uri)),
            "uri": document.uri,
            "version": document.version,
        }
        for document in session.documents
    ]
    return Plain(items=items)


def _report(session: Session, document: OpenDocument, known: str | None) -> Plain:
    """All problems of a document, or that they are those the client knows."""
    report = session.publisher.report(document)
    if report.result_id == known:
        return Plain(kind="unchanged", resultId=known)
    return Plain(kind="full", items=report.items, resultId=report.result_id)
