"""The engine of a session: which jobs run for which documents, and what becomes of their words.

Ties the queue to the worker and both to what the editor sees (status, progress, results).
The invariant: a job leaves exactly once, with a `Result`, and only the loop's thread is
here. Nothing starts the worker but a job.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from dlm_engine.worker.messages import (
    NOTHING,
    Accept,
    Ask,
    Ending,
    Initialize,
    Progress,
    Result,
    Text,
    Train,
)
from dlm_server.engine.answers import Answers
from dlm_server.engine.client import EngineClient, Launch, State
from dlm_server.engine.content import saved_content
from dlm_server.engine.pacing import Paced
from dlm_server.engine.queue import Job, JobKind, JobQueue
from dlm_server.engine.save import Save, SaveReasons, Verdict, verdict
from dlm_server.engine.status import JobState, Last, forgotten, status_json
from dlm_server.engine.trained import home_of

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument
    from dlm_server.engine.process import Timer
    from dlm_server.progress import Progress as Shown
    from dlm_server.session import Session
    from dlm_server.settings import Settings

#: How long the worker waits for a store that another process holds, after a save and when asked.
WAIT_SECONDS: Final = 60.0
_TITLES: Final[Mapping[JobKind, str]] = {
    "train": "Training",
    "prompt": "Asking",
    "probe": "Asking the probes",
    "export": "Exporting",
    "rollback": "Going back in",
}


@dataclass(frozen=True, slots=True)
class _Known:
    """Where there is nothing to train: a text of this digest, in this home, with these versions
    current. Another window or a terminal may have made others current."""

    home: str | None
    digest: str
    current: Mapping[str | None, int]


class Engine:
    """See the module. One per session; `engine_of` gives it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.client = EngineClient(session, self._launch, self._client_changed)
        self.queue = JobQueue()
        self.answers = Answers(session)
        self.reasons = SaveReasons()
        #: (document, address of the text) of licences accepted in this session
        self.licences: set[tuple[str, str | None]] = set()
        self.last: Last | None = None
        self.note: str | None = None
        self._job: JobState | None = None
        self._shown: Shown | None = None
        self._run_id = 0
        self._numbers = 0
        #: what the store knew after the last training from here
        self._learned: dict[str, _Known] = {}
        self._settling: dict[str, Timer] = {}
        self._status = Paced(session, self._tell_status)
        session.providers.results = lambda document: self.answers.view(document.uri)
        session.at_exit(self.client.close)
        session.on_settings(self._settings_changed)

    # --- facts ---------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        return home_of(self.session.settings)

    # --- saving --------------------------------------------------------------------------

    def saved(self, uri: str) -> None:
        """The client has saved a document: train it after a moment, if that is wanted."""
        reason = self.reasons.did_save(uri)
        document = self.session.document(uri)
        if document is None:
            return
        self.answers.outdate(uri)
        save = Save(document.path, reason, lambda: self._armed(document.live))
        if verdict(save, self.session.settings) is not Verdict.TRAIN:
            return
        waiting = self._settling.pop(uri, None)
        if waiting is not None:
            waiting.cancel()
        pause = self.session.settings.train_settle_milliseconds / 1000
        self._settling[uri] = self.session.after(pause, lambda: self._settled(uri))

    def _armed(self, live: LiveDocument) -> bool:
        """Whether the document has been trained once; one whose head or store cannot be read
        may have been, and its author is told that it was not trained now."""
        known = self.session.providers
        unreadable = live.frontmatter is None or known.store_trouble(live) is not None
        return unreadable or known.trained(live) is not None

    def _settled(self, uri: str) -> None:
        from dlm_engine.errors import DlmError

        self._settling.pop(uri, None)
        document = self.session.document(uri)
        if document is None or document.path is None:
            return
        try:
            content = saved_content(document.path, document.live)
        except DlmError as error:
            self.remark(f"not trained: {error}")
            return
        if content.errors:
            # What waits would read the same file and be refused.
            self._withdraw(lambda job: job.kind == "train" and job.uri == uri)
            count = f"{content.errors} error{'s' * (content.errors > 1)}"
            self.remark(f"not trained: the document has {count}")
            return
        learned, current = self._learned.get(uri), self._current(document.live)
        same = learned is not None and learned == self._known(content.digest, current)
        if (same and not self._trains(uri)) or self.queue.knows(uri, content.digest):
            self.remark(None)
            return
        self.remark(None)
        why, digest = "the document was saved", content.digest
        self.train(uri, document.path, why, digest, self._say_trouble, made_by="save")

    def _current(self, live: LiveDocument) -> Mapping[str | None, int]:
        view = self.session.providers.trained(live)
        return view.current if view is not None else {}

    def _known(self, digest: str, current: Mapping[str | None, int]) -> _Known:
        return _Known(self.session.settings.home, digest, current)

    def _trains(self, uri: str) -> bool:
        jobs = [*self.queue.waiting, *([self.queue.running] if self.queue.running else [])]
        return any(job.kind == "train" and job.uri == uri for job in jobs)

    def train(
        self,
        uri: str,
        path: Path,
        cause: str,
        content: str = "",
        done: Callable[[Result], None] = lambda result: None,
        made_by: Literal["command", "save"] = "command",
        accept: Accept = NOTHING,
    ) -> Job:
        """Put a training of the saved file in line, a bounded one after a save; a newer one takes
        its place."""
        settings = self.session.settings
        bounded = made_by == "save"
        params = Train(
            str(path),
            settings.train_max_steps if bounded else None,
            settings.train_max_seconds if bounded else None,
            WAIT_SECONDS,
            made_by,
            settings.train_keep_versions,
            accept,
        )

        def ended(result: Result) -> None:
            self._has_trained(uri, result)
            done(result)

        return self.submit("train", uri, cause, "train", params, "train", content, ended)

    def _has_trained(self, uri: str, result: Result) -> None:
        # However it ended: of several adapters some may have been trained, and an earlier run may
        # have died after its commit.
        self.model_changed(uri)
        if result.ending is not Ending.DONE:
            return
        self._learned.pop(uri, None)
        document = self.session.document(uri)
        if result.content is not None and not result.limited and document is not None:
            now = self._current(document.live)
            if result.version is not None:
                now = {None: result.version}
            self._learned[uri] = self._known(result.content, now)
        if result.lost:
            from lsprotocol import types as lsp

            said = f"{Path(uri).name}: {forgotten(result.lost)}"
            self.session.show_message(lsp.MessageType.Warning, said)
        if result.outcome == "trained" and self.session.settings.trusted:
            self.ask_again(uri)

    def model_changed(self, uri: str) -> None:
        """Another version may be current: what is shown of the old one is out of date."""
        self.answers.outdate(uri)
        self.session.refresh("codeLens", "inlayHint")
        self.session.publisher.surroundings_changed()

    def _say_trouble(self, result: Result) -> None:
        """Nobody waits for the answer of a job that a save began: clients without a status hear
        of its trouble in a message."""
        if result.trouble is not None and not self.session.client.status:
            from lsprotocol import types as lsp

            self.session.show_message(lsp.MessageType.Error, f"not trained: {result.trouble}")

    # --- asking --------------------------------------------------------------------------

    def ask_again(self, uri: str) -> None:
        """After a training: the probes, where that is wanted, and what was asked before."""
        document = self.session.document(uri)
        if document is None or document.path is None:
            return
        probes = self.session.settings.probes_after_training
        questions = self.answers.to_ask_again(document.live, probes=probes)
        if questions:
            self.ask(uri, document.path, "the model has changed", questions, kind="probe")

    def ask(
        self,
        uri: str,
        path: Path,
        cause: str,
        asked: Answers.Asked,
        *,
        kind: JobKind,
        compare: bool = False,
        licence: bool = False,
        done: Callable[[Result], None] = lambda result: None,
    ) -> Job:
        """Ask questions of the document; their results are shown as they come."""

        def ended(result: Result) -> None:
            self.answers.ended(uri, asked, result)
            done(result)

        slot = "probe" if kind == "probe" else "ask " + " ".join(q.key for q in asked)
        params = Ask(str(path), asked, compare, accept_licence=licence)
        job = self.submit(
            kind,
            uri,
            cause,
            "ask",
            params,
            slot,
            done=ended,
            heard=lambda text: self.answers.text(uri, text),
        )
        self.answers.waiting(uri, asked, compare=compare)
        return job

    # --- jobs ----------------------------------------------------------------------------

    def submit(
        self,
        kind: JobKind,
        uri: str,
        cause: str,
        method: str,
        params: object,
        slot: str | None = None,
        content: str = "",
        done: Callable[[Result], None] = lambda result: None,
        heard: Callable[[Text], None] = lambda text: None,
    ) -> Job:
        """Put a job in line; `done` gets its end, also when it never runs, and `heard` more of
        an answer."""
        self._numbers += 1
        job = Job(self._numbers, kind, uri, cause, method, params, slot, content, done, heard)
        replaced = self.queue.request(job)
        if replaced is not None:
            replaced.done(Result(Ending.CANCELLED))
        self._jobs_changed()
        # On the next turn, so that whoever submits has what it returned before the job ends.
        self.session.post(self._pump)
        return job

    def cancel(self, job: Job | None = None) -> int:
        """Cancel `job`, or all there are; returns how many that were."""
        gone = self._withdraw(lambda other: job is None or other is job)
        running = self.queue.running
        if running is not None and (job is None or job is running):
            self.client.cancel()
            return gone + 1
        return gone

    def remark(self, message: str | None) -> None:
        """Say something in the status that no job says."""
        self.note = message
        self._status.mark()

    def _withdraw(self, wanted: Callable[[Job], bool]) -> int:
        gone = self.queue.withdraw(wanted)
        for job in gone:
            job.done(Result(Ending.CANCELLED))
        if gone:
            self._jobs_changed()
        return len(gone)

    def _jobs_changed(self) -> None:
        """Which jobs there are shows in the status, and in the lenses that cancel them."""
        self._status.mark()
        self.session.refresh("codeLens")

    def _pump(self) -> None:
        if not self.client.free or (job := self.queue.start()) is None:
            return
        self._job = JobState(job)
        if job.kind != "prompt":
            title = f"{_TITLES[job.kind]} {Path(job.uri).name}"
            self._shown = self.session.progress(title, lambda: void(self.cancel(job)))
        self.client.run(
            job.method,
            job.params,
            lambda said: self._said(job, said),
            lambda result: self._done(job, result),
        )
        self._jobs_changed()

    def _said(self, job: Job, said: Progress | Text) -> None:
        if isinstance(said, Text):
            job.heard(said)
            return
        assert self._job is not None
        before, self._job = self._job, self._job.heard(said)
        self._status.mark()
        if self._shown is not None:
            self._shown.report(str(self._job), self._job.percentage)
        if job.kind == "train" and said.step is not None:
            same = (said.adapter, said.stage) == (before.adapter, before.stage)
            if before.step is None or said.step <= before.step or not same:
                self._run_id = self._next_run(job)
            self._tell_training(said)

    def _done(self, job: Job, result: Result) -> None:
        self.queue.finish(job)
        self._job = None
        self.last = Last.of(job, result)
        self.note = None
        if self._shown is not None:
            self._shown.end(self.last.message)
            self._shown = None
        self._jobs_changed()
        try:
            job.done(result)
            if self.session.store_watch is not None:
                self.session.store_watch.told(job.uri)
        finally:
            self.session.post(self._pump)

    # --- telling -------------------------------------------------------------------------

    def _client_changed(self) -> None:
        self._status.mark()

    def status(self) -> dict[str, Any]:
        """What `dlm/status` says now."""
        message = self.client.message or self.note
        waiting = len(self.queue.waiting)
        return status_json(self.client.state, message, self._job, waiting, self.last)

    def _tell_status(self) -> None:
        if self.session.client.status:
            self.session.notify("dlm/status", self.status())

    def _tell_training(self, said: Progress) -> None:
        told: dict[str, Any] = {
            "run_id": self._run_id,
            "step": said.step,
            "total_steps": said.steps,
            "phase": said.stage,
        }
        if said.loss is not None:
            told["loss"] = said.loss
        if said.adapter is not None:
            # The second as dlm-lsp has it.
            told["adapter"] = told["adapter_name"] = said.adapter
        self.session.notify("dlm/trainingProgress", told)

    def _next_run(self, job: Job) -> int:
        """The number the run that trains now will have in the store."""
        from dlm_engine.errors import StoreError
        from dlm_engine.store import Store

        document = self.session.document(job.uri)
        frontmatter = document.live.frontmatter if document else None
        if frontmatter is None:
            return job.id
        try:
            manifest = Store(self.home, frontmatter.dlm_id).read_manifest()
        except StoreError:
            return job.id
        return manifest.next_run_id() if manifest else 1

    # --- starting ------------------------------------------------------------------------

    def _launch(self) -> Launch:
        settings = self.session.settings
        limit = settings.engine_memory_limit_gib
        return Launch(
            # -P: a folder named like a library, where the editor was started, is not one.
            (settings.engine_python or sys.executable, "-P", "-m", "dlm_engine.worker"),
            os.environ,
            Initialize(
                os.getpid(),
                str(self.home),
                idle_seconds=settings.engine_idle_minutes * 60,
                memory_limit=None if limit is None else int(limit * 2**30),
            ),
        )

    def _settings_changed(self, old: Settings, new: Settings) -> None:
        if not new.trusted:
            self.cancel()
        how = ("home", "engine_python", "engine_idle_minutes", "engine_memory_limit_gib")
        there = self.client.pid or self.client.state is State.FAILED
        if there and any(getattr(old, name) != getattr(new, name) for name in how):
            self.cancel()
            self.client.stop()

    def closed(self, uri: str) -> None:
        """The client has closed a document."""
        self.reasons.forget(uri)
        timer = self._settling.pop(uri, None)
        if timer is not None:
            timer.cancel()
        self.answers.forget(uri)


def void(value: object) -> None:
    """For callbacks that must return nothing."""


def engine_of(session: Session) -> Engine:
    """The engine of a session, made when first asked for. Making it starts nothing."""
    if session.engine is None:
        session.engine = Engine(session)
    return session.engine
