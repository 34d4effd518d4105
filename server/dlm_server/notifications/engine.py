"""What the engine's room hears of documents: saves and why, edits, closing.

Separate from the keeping of documents, whose handlers run first.
"""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import notification
from dlm_server.engine.service import engine_of
from dlm_server.session import Session


@notification("initialized")
def initialized(session: Session, params: lsp.InitializedParams) -> None:
    """From now on snapshots can say what the store and the model know."""
    engine_of(session)


@notification("textDocument/willSave")
def will_save(session: Session, params: lsp.WillSaveTextDocumentParams) -> None:
    engine_of(session).reasons.will_save(params.text_document.uri, int(params.reason.value))


@notification("textDocument/didSave")
def did_save(session: Session, params: lsp.DidSaveTextDocumentParams) -> None:
    engine_of(session).saved(params.text_document.uri)


@notification("textDocument/didChange")
def did_change(session: Session, params: lsp.DidChangeTextDocumentParams) -> None:
    engine_of(session).answers.edited(params.text_document.uri)


@notification("textDocument/didClose")
def did_close(session: Session, params: lsp.DidCloseTextDocumentParams) -> None:
    engine_of(session).closed(params.text_document.uri)
