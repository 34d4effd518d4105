"""Problems on their way to the client: found in one place, then pushed or fetched, never both.

A client that asks for diagnostics itself gets none unasked. For the others a change is
published once typing has rested, and only when nothing else waits; what is sent carries the
version it is about, and is taken back when the document is closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlm_engine.document import Severity
from dlm_server import to_proto
from dlm_server.conversion import Plain
from dlm_server.watching import SourceWatch, sources_of

if TYPE_CHECKING:
    from dlm_server.documents import OpenDocument
    from dlm_server.features.checks import Finding
    from dlm_server.loop import Loop, Timer
    from dlm_server.session import Session, Snapshot
    from dlm_server.settings import Settings

Json = dict[str, Any]
MOST = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """All problems of one version of one document, as the client gets them."""

    version: int
    items: list[Json]

    @property
    def result_id(self) -> str:
        """Equal for equal problems in equal places; the client gives it back when it asks again."""
        digest = hashlib.blake2b(repr(self.items).encode("utf-8", "replace"), digest_size=12)
        return digest.hexdigest()

    def since(self, known: str | None) -> Plain:
        """All problems, or that they are those the client knows by this result id."""
        if self.result_id == known:
            return Plain(kind="unchanged", resultId=known)
        return Plain(kind="full", items=self.items, resultId=self.result_id)


class Publisher:
    """The one source of diagnostics, for push and pull alike."""

    def __init__(self, session: Session, loop: Loop) -> None:
        self._session = session
        self._loop = loop
        self._timers: dict[str, Timer] = {}
        #: what was published last, by document, to leave out what the client has already
        self._published: dict[str, Report] = {}
        self._sources = SourceWatch(session)

    def report(self, document: OpenDocument) -> Report:
        """The problems of a document as it is now."""
        self._sources.follow()
        return report_of(self._session.snapshot_of(document))

    # -- what happens to documents

    def opened(self, uri: str) -> None:
        self._published.pop(uri, None)
        self._soon(uri)

    def changed(self, uri: str) -> None:
        milliseconds = self._session.settings.diagnostics_debounce_milliseconds
        if milliseconds:
            self._schedule(uri, lambda act: self._loop.after(milliseconds / 1000, act))
        else:
            self._soon(uri)

    def saved(self, uri: str) -> None:
        """A save is a rest: nothing is waited for, and files may have come or gone beside it."""
        self._soon(uri)
        document = self._session.document(uri)
        asks = self._session.client.pull_diagnostics
        if asks and document is not None and sources_of(document):
            self._session.refresh("diagnostics")

    def closed(self, uri: str) -> None:
        timer = self._timers.pop(uri, None)
        if timer is not None:
            timer.cancel()
        if self._published.pop(uri, None) is not None:
            self._push(uri, None, [])
        self._sources.follow()

    def settings_changed(self, old: Settings, new: Settings) -> None:
        if old.diagnostics_secrets != new.diagnostics_secrets:
            self.surroundings_changed()

    def surroundings_changed(self) -> None:
        """Something other than a document's text has changed that its problems depend on."""
        if self._session.client.pull_diagnostics:
            self._session.refresh("diagnostics")
            return
        for document in self._session.documents:
            self._soon(document.uri)

    # -- pushing

    def _soon(self, uri: str) -> None:
        self._schedule(uri, self._loop.when_idle)

    def _schedule(self, uri: str, later: Callable[[Callable[[], None]], Timer]) -> None:
        if self._session.client.pull_diagnostics:
            return
        waiting = self._timers.pop(uri, None)
        if waiting is not None:
            waiting.cancel()
        self._timers[uri] = later(lambda: self._rested(uri))

    def _rested(self, uri: str) -> None:
        """Typing has rested; publish unless a change is on its way already."""
        self._timers[uri] = self._loop.when_idle(lambda: self._publish(uri))

    def _publish(self, uri: str) -> None:
        self._timers.pop(uri, None)
        document = self._session.document(uri)
        if document is None:
            return
        report = self.report(document)
        if self._published.get(document.uri) != report:
            self._published[document.uri] = report
            self._push(document.uri, report.version, report.items)

    def _push(self, uri: str, version: int | None, items: list[Json]) -> None:
        params = Plain(uri=uri, diagnostics=items)
        if version is not None:
            params["version"] = version
        self._session.notify("textDocument/publishDiagnostics", params)


def report_of(snapshot: Snapshot) -> Report:
    """The problems of a document, as far as they are shown."""
    # Only what is shown is converted, which takes longer than finding it.
    shown = worst(snapshot.findings, MOST - 1)
    items = to_proto.diagnostics(snapshot, shown)
    rest = len(snapshot.findings) - len(shown)
    if rest:
        more = "problem is" if rest == 1 else "problems are"
        last: Json = {
            "range": items[-1]["range"],
            "severity": to_proto.SEVERITIES[Severity.INFORMATION],
            "source": "dlm",
            "message": f"{rest} more {more} not shown; `dlm check` lists all",
        }
        items.append(last)
    return Report(snapshot.version, items)


def worst(found: Sequence[Finding], most: int) -> Sequence[Finding]:
    """At most `most` findings, the worst first to stay, in the order they came."""
    if len(found) <= most:
        return found
    severities = [to_proto.severity(finding.diagnostic) for finding in found]
    order = sorted(range(len(found)), key=severities.__getitem__)
    return [found[i] for i in sorted(order[:most])]
