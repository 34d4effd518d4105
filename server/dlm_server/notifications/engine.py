"""What the engine's room hears of documents: saves and why, edits, closing.

Separate from the keeping of documents, whose handlers run first. The engine is made when it
is first needed, because importing it takes time that opening a document should not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_server.changes import Changed
from dlm_server.dispatch import notification
from dlm_server.engine.store_watch import StoreWatch
from dlm_server.engine.trained import TrainedViews
from dlm_server.session import Session

if TYPE_CHECKING:
    from lsprotocol import types as lsp


@notification("initialized")
def initialized(session: Session, params: object) -> None:
    """From now on snapshots can say what the store knows."""
    views = TrainedViews()
    session.providers.trained = lambda live: views.of(session.settings, live)
    session.providers.store_trouble = lambda live: views.trouble(session.settings, live)
    session.store_watch = StoreWatch(session, views)


@notification("textDocument/didOpen")
def did_open(session: Session, params: object) -> None:
    if session.store_watch is not None:
        session.store_watch.follow()


@notification("textDocument/willSave")
def will_save(session: Session, params: lsp.WillSaveTextDocumentParams) -> None:
    from dlm_server.engine.service import engine_of

    engine_of(session).reasons.will_save(params.text_document.uri, int(params.reason.value))


@notification("textDocument/didSave")
def did_save(session: Session, params: lsp.DidSaveTextDocumentParams) -> None:
    from dlm_server.engine.service import engine_of

    uri = params.text_document.uri
    session.when_configured(lambda: engine_of(session).saved(uri))


@notification("textDocument/didChange")
def did_change(session: Session, params: Changed) -> None:
    if session.engine is not None:
        session.engine.answers.edited(params.uri)


@notification("textDocument/didClose")
def did_close(session: Session, params: lsp.DidCloseTextDocumentParams) -> None:
    if session.engine is not None:
        session.engine.closed(params.text_document.uri)
