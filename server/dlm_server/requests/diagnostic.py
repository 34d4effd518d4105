"""`textDocument/diagnostic` and `workspace/diagnostic`: for clients that ask for problems."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.capabilities import ClientFeatures
from dlm_server.dispatch import session_request
from dlm_server.session import Session

CAPABILITY = "diagnostic_provider"


def options(client: ClientFeatures) -> object:
    if not client.pull_diagnostics:
        return None
    return lsp.DiagnosticOptions(
        inter_file_dependencies=True, workspace_diagnostics=True, identifier="dlm"
    )


@session_request("textDocument/diagnostic")
def diagnostic(
    session: Session, params: lsp.DocumentDiagnosticParams
) -> lsp.RelatedFullDocumentDiagnosticReport | lsp.RelatedUnchangedDocumentDiagnosticReport:
    document = session.document(params.text_document.uri)
    if document is None:
        return lsp.RelatedFullDocumentDiagnosticReport(items=[])
    report = session.publisher.report(document)
    if params.previous_result_id == report.result_id:
        return lsp.RelatedUnchangedDocumentDiagnosticReport(result_id=report.result_id)
    return lsp.RelatedFullDocumentDiagnosticReport(items=report.items, result_id=report.result_id)


@session_request("workspace/diagnostic")
def workspace_diagnostic(
    session: Session, params: lsp.WorkspaceDiagnosticParams
) -> lsp.WorkspaceDiagnosticReport:
    """The open documents: a closed one's problems are `dlm check`'s to list."""
    previous = {p.uri: p.value for p in params.previous_result_ids}
    items: list[
        lsp.WorkspaceFullDocumentDiagnosticReport | lsp.WorkspaceUnchangedDocumentDiagnosticReport
    ] = []
    for document in session.documents:
        report = session.publisher.report(document)
        if previous.get(document.uri) == report.result_id:
            items.append(
                lsp.WorkspaceUnchangedDocumentDiagnosticReport(
                    uri=document.uri, version=document.version, result_id=report.result_id
                )
            )
        else:
            items.append(
                lsp.WorkspaceFullDocumentDiagnosticReport(
                    uri=document.uri,
                    version=document.version,
                    result_id=report.result_id,
                    items=report.items,
                )
            )
    return lsp.WorkspaceDiagnosticReport(items=items)
