"""Stores of open documents that another process changes: a terminal, another window.

Nothing in the protocol tells of that. Stores lie outside the workspace, where most clients watch
nothing, and an editor tells no server that its window has the focus again; so the few files that
say which version is current are looked at every two seconds, which costs four `stat` calls a
document and works on every disk. The invariant: what a job of this session changes is told by that
job, and never a second time here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from dlm_server.conversion import Plain
from dlm_server.from_proto import same_document

if TYPE_CHECKING:
    from dlm_server.documents import OpenDocument
    from dlm_server.engine.trained import Stamp, TrainedViews
    from dlm_server.loop import Timer
    from dlm_server.session import Session

LOOK_SECONDS: Final = 2.0


class StoreWatch:
    """Looks while a document is open. Belongs to the loop's thread."""

    def __init__(self, session: Session, views: TrainedViews) -> None:
        self._session = session
        self._views = views
        #: the stores as they were told, by document
        self._told: dict[str, Stamp | None] = {}
        self._timer: Timer | None = None

    def follow(self) -> None:
        """A document was opened: look from now on."""
        for document in self._session.documents:
            if same_document(document.uri) not in self._told:
                self._note(document)
        if self._timer is None:
            self._timer = self._session.after(LOOK_SECONDS, self._look)

    def told(self, uri: str) -> None:
        """A job of this session may have changed the store, and has told what."""
        document = self._session.document(uri)
        if document is not None:
            self._note(document)

    def _look(self) -> None:
        documents = self._session.documents
        opened = {same_document(document.uri) for document in documents}
        for uri in self._told.keys() - opened:
            del self._told[uri]
        again = bool(documents)
        self._timer = self._session.after(LOOK_SECONDS, self._look) if again else None
        engine = self._session.engine
        running = engine.queue.running if engine is not None else None
        ours = same_document(running.uri) if running is not None else None
        # A job that is at it tells itself, when it has ended.
        looked_at = [d for d in documents if same_document(d.uri) != ours]
        changed = [document for document in looked_at if self._note(document)]
        if changed:
            self._tell(changed)

    def _note(self, document: OpenDocument) -> bool:
        """Take the store as told; whether it was another before. One of another id is no other:
        that is an edit, and shown as such."""
        uri = same_document(document.uri)
        before = self._told.get(uri)
        now = self._told[uri] = self._views.stamp(self._session.settings, document.live)
        return before is not None and now is not None and before != now and before[0] == now[0]

    def _tell(self, changed: Collection[OpenDocument]) -> None:
        session = self._session
        if session.engine is not None:
            for document in changed:
                session.engine.answers.outdate(document.uri)
        session.refresh("codeLens", "inlayHint")
        session.publisher.surroundings_changed()
        if session.client.status:
            for document in changed:
                session.notify("dlm/storeChanged", Plain(uri=document.uri))
