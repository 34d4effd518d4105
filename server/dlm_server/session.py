"""The server's state: `Session`, which the loop's thread alone may touch, and `Snapshot`.

A snapshot is all that a question about a document may see, and none of it can change, so a
feature cannot depend on what happens next. Other threads reach the session only through
`post`, which runs a function on the loop.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.document import LiveDocument, Span, TextEdit
from dlm_server import from_proto, to_proto
from dlm_server.capabilities import ClientFeatures
from dlm_server.conversion import Plain
from dlm_server.dispatch import RequestFailed
from dlm_server.documents import OpenDocument
from dlm_server.features.checks import Finding, findings
from dlm_server.settings import Settings, resolve
from dlm_server.views import KnownDocuments, SectionResult, TrainedView, WorkspaceView

if TYPE_CHECKING:
    from lsprotocol import types as lsp

    from dlm_server.engine.service import Engine
    from dlm_server.engine.store_watch import StoreWatch
    from dlm_server.loop import Loop, Timer
    from dlm_server.progress import Progress
    from dlm_server.protocol import Protocol
    from dlm_server.publish import Publisher
    from dlm_server.workspace import WorkspaceIndex

log = logging.getLogger(__name__)

#: how long a save or a command waits for the settings that the client was asked for
CONFIGURATION_SECONDS = 5.0

Answer = Callable[[Any, RequestFailed | None], None]


def _untrained() -> TrainedView | None:
    return None


@dataclass(frozen=True)
class Snapshot:
    """One version of one document, and what was known beside it when the question came."""

    uri: str
    path: Path | None
    version: int
    live: LiveDocument
    settings: Settings = field(default_factory=Settings)
    client: ClientFeatures = field(default_factory=ClientFeatures)
    workspace: WorkspaceView = field(default_factory=KnownDocuments)
    #: inline results by section id
    results: Mapping[str, SectionResult] = field(default_factory=dict)
    #: reads what the store says; called only by who needs it
    read_trained: Callable[[], TrainedView | None] = _untrained

    @property
    def trained(self) -> TrainedView | None:
        """What the store says about this document; None when it was never trained."""
        return self.read_trained()

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Every problem of this document, each with its fix if it has one."""
        return findings(
            self.live,
            path=self.path,
            uri=self.uri,
            known=self.workspace.documents(),
            trained=self.trained,
            secrets=self.settings.diagnostics_secrets,
        )

    def offset(self, position: lsp.Position) -> int:
        return from_proto.offset(self.live, position, self.client.encoding)

    def position(self, offset: int) -> lsp.Position:
        return to_proto.position(self.live, offset, self.client.encoding)

    def range(self, span: Span) -> lsp.Range:
        return to_proto.range_(self.live, span, self.client.encoding)

    def span(self, range: lsp.Range) -> Span:
        return from_proto.span(self.live, range, self.client.encoding)

    def text_edits(self, edits: Iterable[TextEdit]) -> list[lsp.TextEdit]:
        return to_proto.text_edits(self.live, edits, self.client.encoding)

    def workspace_edit(
        self, edits: Iterable[TextEdit], uri: str | None = None
    ) -> lsp.WorkspaceEdit:
        """Edits of this document, tied to its version where the client can refuse old ones.

        `uri` is another spelling of this document's, where a client wants its own.
        """
        from lsprotocol import types as lsp

        changes = self.text_edits(edits)
        where = uri or self.uri
        if not self.client.document_changes:
            return lsp.WorkspaceEdit(changes={where: changes})
        document = lsp.OptionalVersionedTextDocumentIdentifier(uri=where, version=self.version)
        return lsp.WorkspaceEdit(
            document_changes=[lsp.TextDocumentEdit(text_document=document, edits=list(changes))]
        )


@dataclass
class Providers:
    """Where snapshots get what the store and the engine know; the engine's room sets them."""

    trained: Callable[[LiveDocument], TrainedView | None] = lambda live: None
    #: why the store of a document cannot be read, None where it can
    store_trouble: Callable[[LiveDocument], str | None] = lambda live: None
    results: Callable[[OpenDocument], Mapping[str, SectionResult]] = lambda document: {}


class Session:
    """Everything that changes while the server runs. Touch it on the loop's thread only."""

    def __init__(self, loop: Loop, protocol: Protocol) -> None:
        self._loop = loop
        self._protocol = protocol
        self._documents: dict[str, OpenDocument] = {}
        self._initialization_options: object = None
        self._configuration: object = None
        self._reported: set[str] = set()
        self._unanswered: set[object] = set()
        self._when_configured: list[Callable[[], None]] = []
        self._on_settings: list[Callable[[Settings, Settings], None]] = []
        self._at_exit: list[Callable[[], None]] = []
        self._tokens = itertools.count(1)
        #: what stops work that the client shows, by its progress token
        self.cancellable: dict[int | str, Callable[[], None]] = {}
        self.client = ClientFeatures()
        self.settings = Settings()
        self.providers = Providers()
        self.folders: tuple[Path, ...] = ()
        self.index: WorkspaceIndex
        self.publisher: Publisher
        #: None until something needs it
        self.engine: Engine | None = None
        #: None until the client is initialized
        self.store_watch: StoreWatch | None = None

    # -- documents

    @property
    def documents(self) -> tuple[OpenDocument, ...]:
        """The open documents, in the order they were opened."""
        return tuple(self._documents.values())

    def document(self, uri: str) -> OpenDocument | None:
        return self._documents.get(from_proto.same_document(uri))

    def open(self, document: OpenDocument) -> None:
        """Take `document` as open, or as the newer version of one that is."""
        self._documents[from_proto.same_document(document.uri)] = document

    def close(self, uri: str) -> OpenDocument | None:
        return self._documents.pop(from_proto.same_document(uri), None)

    def snapshot(self, uri: str) -> Snapshot | None:
        """The document as it is now, or None when it is not open."""
        document = self.document(uri)
        return None if document is None else self.snapshot_of(document)

    def snapshot_of(self, document: OpenDocument) -> Snapshot:
        return Snapshot(
            uri=document.uri,
            path=document.path,
            version=document.version,
            live=document.live,
            settings=self.settings,
            client=self.client,
            workspace=self.index.view(),
            results=self.providers.results(document),
            read_trained=lambda: self.providers.trained(document.live),
        )

    # -- the loop

    def post(self, act: Callable[[], None]) -> None:
        """Run `act` on the loop's thread, soon. The one method any thread may call."""
        self._loop.post(act)

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        """Run `act` on the loop in `seconds`; the timer's `cancel()` prevents it."""
        return self._loop.after(seconds, act)

    def at_exit(self, act: Callable[[], None]) -> None:
        """Run `act` when the server ends, whatever the reason, newest first; it must be quick."""
        self._at_exit.append(act)

    def ending(self) -> None:
        """Run what `at_exit` was given."""
        while self._at_exit:
            act = self._at_exit.pop()
            try:
                act()
            except Exception:
                log.exception("ending")

    # -- the client

    def notify(self, method: str, params: object) -> None:
        """Tell the client; `params` is a protocol type or plain JSON."""
        self._protocol.notify(method, params)

    def request(self, method: str, params: object, then: Answer | None = None) -> int:
        """Ask the client; `then(result, error)` runs on the loop. Returns the request's id."""
        return self._protocol.request(method, params, then)

    def show_message(self, kind: lsp.MessageType, message: str) -> None:
        self.notify("window/showMessage", Plain(type=int(kind), message=message))

    def progress(self, title: str, on_cancel: Callable[[], None] | None = None) -> Progress:
        """Work the client may show and cancel; nothing is shown for work that ends at once."""
        from dlm_server.progress import Progress

        return Progress(self, title, on_cancel)

    def new_token(self) -> str:
        """A progress token that no other work of this session has."""
        return f"dlm-{next(self._tokens)}"

    def refresh(self, *what: str) -> None:
        """Have the client ask again for "codeLens", "inlayHint", "semanticTokens", "diagnostics"
        or "foldingRange", each only where the client can."""
        able = {
            "codeLens": self.client.refresh_code_lenses,
            "inlayHint": self.client.refresh_inlay_hints,
            "semanticTokens": self.client.refresh_semantic_tokens,
            "diagnostics": self.client.refresh_diagnostics,
            "foldingRange": self.client.refresh_folding_ranges,
        }
        # The protocol names the method of one of them in the singular.
        spelt = {"diagnostics": "diagnostic"}
        for name in what:
            if able[name]:
                self.request(f"workspace/{spelt.get(name, name)}/refresh", None)

    # -- settings

    def expect_configuration(self) -> Callable[[], None]:
        """The client is being asked for its settings; call what is returned when it has answered.
        A client that never does is waited for no longer than a moment."""
        question = object()
        self._unanswered.add(question)

        def answered() -> None:
            timer.cancel()
            self._unanswered.discard(question)
            if self.configured:
                waiting, self._when_configured = self._when_configured, []
                for act in waiting:
                    self.post(act)

        timer = self.after(CONFIGURATION_SECONDS, answered)
        return answered

    @property
    def configured(self) -> bool:
        """Whether the settings are those the client wants, as far as it was asked."""
        return not self._unanswered

    def when_configured(self, act: Callable[[], None]) -> None:
        """Run `act` now, or when the client has said its settings."""
        if self.configured:
            act()
        else:
            self._when_configured.append(act)

    def on_settings(self, act: Callable[[Settings, Settings], None]) -> None:
        """Call `act(old, new)` whenever a setting changes."""
        self._on_settings.append(act)

    def given_options(self, initialization_options: object) -> None:
        """Note what `initialize` brought. In force at once, and its faults told by `configure`:
        before the answer to `initialize` a server may not say anything."""
        self._initialization_options = initialization_options
        self.settings, _ = resolve(initialization_options)

    def configure(self, *, configuration: object = None) -> None:
        """Take the settings that the client sent, above those that `initialize` brought."""
        if configuration is not None:
            self._configuration = configuration
        settings, problems = resolve(self._initialization_options, self._configuration)
        self._report([p for p in problems if p not in self._reported])
        old, self.settings = self.settings, settings
        if old != settings:
            for act in self._on_settings:
                act(old, settings)

    def _report(self, problems: list[str]) -> None:
        if not problems:
            return
        self._reported.update(problems)
        shown = "; ".join(problems[:5]) + ("; …" if len(problems) > 5 else "")
        from lsprotocol import types as lsp

        self.show_message(lsp.MessageType.Warning, f"dlm settings: {shown}")
