"""`workspace/diagnostic`: the problems of every document of the workspace, open or not.

Files are read by a thread of the question's own; what an edit needs never waits for a disk.
A document is reported as unchanged while its problems are those the client knows, and one
that has gone as having none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp

from dlm_server.closed import Around, ClosedFiles
from dlm_server.conversion import Plain
from dlm_server.dispatch import INTERNAL_ERROR, Pending, RequestFailed, session_request
from dlm_server.from_proto import same_document
from dlm_server.publish import Report
from dlm_server.session import Session
from dlm_server.to_proto import uri_of
from dlm_server.workspace import is_inside

Json = dict[str, Any]
#: documents in one part of an answer, for clients that take it in parts
_PART = 50


@session_request("workspace/diagnostic")
def workspace_diagnostic(session: Session, params: lsp.WorkspaceDiagnosticParams) -> Pending:
    pending = Pending()
    if not session.client.watched_files:
        # Nobody says what has come or gone since the last time.
        session.index.scan(session.folders)
    session.index.when_read(lambda: _begin(session, params, pending))
    return pending


def _begin(session: Session, params: lsp.WorkspaceDiagnosticParams, pending: Pending) -> None:
    """On the loop: report what is open, and have a thread read the rest."""
    if pending.done:
        return
    known = {same_document(p.uri): (p.uri, p.value) for p in params.previous_result_ids}
    made: list[Json] = []
    for document in session.documents:
        _, value = known.pop(same_document(document.uri), (None, None))
        report = session.publisher.report(document)
        made.append(_item(report, document.uri, document.version, value))
    opened = {document.path for document in session.documents}
    folders, found = session.folders, session.index.paths
    around = Around.of(session.settings, session.client, session.index.view().documents())
    files = session.index.closed = session.index.closed or ClosedFiles()

    def work() -> None:
        paths = (p for p in found if p not in opened and is_inside(p, folders))
        try:
            _answer(session, params, pending, [*made], _closed(files, paths, around, known))
        except Exception as error:
            failure = RequestFailed(INTERNAL_ERROR, f"workspace/diagnostic failed: {error}")
            session.post(lambda: pending.reject(failure))

    threading.Thread(target=work, name="workspace-diagnostic", daemon=True).start()


def _answer(
    session: Session,
    params: lsp.WorkspaceDiagnosticParams,
    pending: Pending,
    items: list[Json],
    more: Iterator[Json],
) -> None:
    """On the thread: everything at once, or in parts where the client gave a token for them."""
    token = params.partial_result_token

    def send(part: list[Json]) -> None:
        if not pending.done:
            session.notify("$/progress", Plain(token=token, value={"items": part}))

    for item in more:
        if pending.cancelled:
            return
        items.append(item)
        if token is not None and len(items) >= _PART:
            session.post(partial(send, items))
            items = []
    session.post(lambda: pending.resolve(Plain(items=items)))


def _closed(
    files: ClosedFiles, paths: Iterable[Path], around: Around, known: dict[str, tuple[str, str]]
) -> Iterator[Json]:
    """On the thread: the reports of the files that are not open, and of those that have gone."""
    for path in paths:
        uri = uri_of(path)
        report = files.report(path, around)
        if report is not None:
            spelt, value = known.pop(same_document(uri), (uri, None))
            yield _item(report, spelt, None, value)
    for spelt, _ in known.values():
        yield {"kind": "full", "uri": spelt, "version": None, "items": []}


def _item(report: Report, uri: str, version: int | None, known: str | None) -> Json:
    return {**report.since(known), "uri": uri, "version": version}
