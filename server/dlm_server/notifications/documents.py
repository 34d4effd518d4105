"""Opening, changing, saving and closing documents."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from dlm_server import from_proto
from dlm_server.changes import Changed
from dlm_server.dispatch import notification
from dlm_server.session import Session

if TYPE_CHECKING:
    from lsprotocol import types as lsp

log = logging.getLogger(__name__)


@notification("textDocument/didOpen")
def did_open(session: Session, params: object) -> None:
    document = from_proto.opened(params)
    session.open(document)
    session.publisher.opened(document.uri)


@notification("textDocument/didChange")
def did_change(session: Session, params: Changed) -> None:
    document = session.document(params.uri)
    if document is None:
        log.warning("%s was changed and is not open", params.uri)
        return
    if params.version <= document.version:
        # The text is the client's all the same; only its count is wrong.
        log.warning("%s went from version %d to %d", params.uri, document.version, params.version)
    live = from_proto.edited(document.live, params.changes, session.client.encoding)
    session.open(replace(document, version=params.version, live=live))
    session.publisher.changed(document.uri)


@notification("textDocument/didSave")
def did_save(session: Session, params: lsp.DidSaveTextDocumentParams) -> None:
    document = session.document(params.text_document.uri)
    if document is not None:
        session.publisher.saved(document.uri)


@notification("textDocument/didClose")
def did_close(session: Session, params: lsp.DidCloseTextDocumentParams) -> None:
    document = session.close(params.text_document.uri)
    if document is not None:
        session.publisher.closed(document.uri)
        if document.path is not None:
            session.index.look_at([document.path])
