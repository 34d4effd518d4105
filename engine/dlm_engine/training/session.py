"""One training job from the document to a committed version.

The order is the promise: everything that can be refused is refused before anything is
written or loaded; the store is held for the whole run; the version is committed in one
rename; `dlm.lock` is written last. Whatever stops the run in between leaves the store
with the version it had and, where steps were taken, a state to resume from.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dlm_engine.bases import BaseSpec, Weights
from dlm_engine.case import Case, open_case
from dlm_engine.document import content_digest
from dlm_engine.errors import StoreError, TrainingError, UsageError
from dlm_engine.store import (
    LEARNED_NAME,
    STOPPED_RUN,
    LockMode,
    MadeBy,
    RunLog,
    Staging,
    Step,
    Version,
    check_lock,
    ensure_space,
    learned_file,
    now,
    prune_saved,
    read_lock,
    timestamp,
    write_atomic,
    write_lock,
)
from dlm_engine.training import polite
from dlm_engine.training.model import (
    Choice,
    Ending,
    Evaluation,
    Listener,
    Phase,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.recording import recording
from dlm_engine.training.sinks import sinks_of
from dlm_engine.training.support import require_supported

if TYPE_CHECKING:
    from dlm_engine.data import Row
    from dlm_engine.data.sources import Expansion
    from dlm_engine.inference.resident import Resident
    from dlm_engine.training import checkpoint
    from dlm_engine.training.building import Built
    from dlm_engine.training.checkpoint import StateFacts
    from dlm_engine.training.further import Addition
    from dlm_engine.training.sft import Run

_CHECKPOINT_SECONDS = 10.0


def train(
    request: TrainRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
) -> TrainOutcome:
    """Train what the document says into the next version of its adapter.

    `cancelled` is asked after every step; when it says so the state is kept and the
    outcome is `cancelled`.

    Raises:
        DlmError: with what is wrong and what to do; nothing is lost.
    """
    case = open_case(request.path, request.home, accept_licence=request.accept_licence)
    case.require_sound()
    for remark in require_supported(case.document, case.frontmatter):
        tell(Status(remark))
    sinks_of(request.dashboards)
    polite.prepare()
    from dlm_engine.data import rows_of
    from dlm_engine.data.sources import expand, require_usable, source_rows, summary

    sources = expand(case.frontmatter.training, case.path)
    require_usable(sources)
    if sources.found:
        tell(Status(summary(sources)))
    content = content_digest(case.document)
    rows = (*rows_of(case.document), *source_rows(sources))
    if not rows:
        return TrainOutcome(Ending.EMPTY, content=content)
    polite.threads_wanted()
    weights = case.weights(lambda message: tell(Status(message)))
    session = _Session(case, request, weights, rows, sources, tell, cancelled, resident)
    with case.store.lock("training"):
        case.store.recover()
        ensure_space(case.store.root, _space_needed(case.spec))
        return replace(session.run(), content=content)


def _space_needed(spec: BaseSpec) -> int:
    """Bytes for adapter, moments and their second copy while the version is sealed."""
    return 4 * max(16 * 2**20, int(spec.size_gb_fp16 * 2**30) // 40)


class _Session:
    """The heavy half: everything from here on needs torch."""

    def __init__(
        self,
        case: Case,
        request: TrainRequest,
        weights: Weights,
        rows: Sequence[Row],
        sources: Expansion,
        tell: Listener,
        cancelled: Callable[[], bool],
        resident: Resident | None,
    ) -> None:
        from dlm_engine.inference.resident import Resident
        from dlm_engine.training.given import given_by
        from dlm_engine.training.records import Records

        self.case = case
        self.request = request
        self.weights = weights
        self.rows = rows
        self.tell = tell
        self.cancelled = cancelled
        self.resident = resident or Resident()
        self.began = time.monotonic()
        started = now()
        threads = polite.settle_in()
        chat = self.resident.chat(weights, case.frontmatter.system_prompt)
        self.given = given_by(case, weights, chat, rows, request.seed)
        self.plan = self.given.plan
        self.settings = self.given.settings
        self.split = self.given.split
        self.questions = self.given.questions
        if request.early_stop is not None and not self.split.validation:
            raise UsageError("--early-stop", self.split.reason, "leave it out")
        self.records = Records(
            case,
            weights,
            self.given.hardware,
            self.plan,
            self.settings,
            threads,
            started,
            sources,
        )

    def run(self) -> TrainOutcome:
        from dlm_engine.training import checkpoint

        store, request = self.case.store, self.request
        fingerprint = self.given.fingerprint(request.early_stop)
        current = store.current()
        facts = checkpoint.read_facts(current.path) if current else None
        if current and facts and facts.fingerprint == fingerprint and facts.finished:
            current.verify()
            if request.start is not Start.FRESH:
                return self._unchanged(current, facts)
        state = self._state_to_resume(current, fingerprint)
        last = request.max_steps
        if current and facts and state and last is not None and last <= state.step == facts.step:
            return self._unchanged(current, facts)
        # The class is earned once the base is loaded; what else drifted is said before that.
        compared = request.lock_mode in (LockMode.DEFAULT, LockMode.STRICT)
        locked = read_lock(store) if compared else None
        klass = locked.determinism_class if locked else "best-effort"
        check = check_lock(store, self.records.lock_file(klass), request.lock_mode)
        for drift in check.warnings:
            self.tell(Status(f"dlm.lock: {drift.message}"))
        facts_of_run = (request.start, self.case.spec.key, self.settings.seed)
        with recording(store.root, *facts_of_run, request.dashboards, self.tell) as recorder:
            self.tell = recorder.tell
            added = self._addition(current, facts)
            self._explain(added)
            return recorder.ended(self._train(state, current, facts, added, fingerprint))

    def _addition(self, current: Version | None, facts: StateFacts | None) -> Addition | None:
        """What to add to the current version; None for a whole run, which says why."""
        from dlm_engine.training.further import addition, earlier_shape

        if self.request.start is not Start.FURTHER:
            return None
        if current is None or facts is None:
            why = "there is no version to go on from"
        elif facts.basis != self.given.basis():
            why = "the settings or the base changed"
        elif not self.settings.grows:
            why = "the document fixes the rank or the number of epochs, or asks for DoRA"
        else:
            current.verify()
            shape = earlier_shape(current.path)
            found = addition(self.split.train, self.questions, facts, *shape, self.settings.rank)
            if not isinstance(found, str):
                return found
            why = found
        self.tell(Choice("start", "anew", why))
        return None

    def _train(
        self,
        state: checkpoint.State | None,
        current: Version | None,
        facts: StateFacts | None,
        added: Addition | None,
        fingerprint: str,
    ) -> TrainOutcome:
        import torch

        from dlm_engine.training import checkpoint, determinism
        from dlm_engine.training.early import Best
        from dlm_engine.training.sft import mean_loss

        store, request = self.case.store, self.request
        self.tell(Status(f"loading {self.case.spec.key}"))
        built = self._build(current, added)
        run = built.run
        klass = self.resident.keep(
            "determinism",
            (self.settings.layers, self.settings.target_modules, self.settings.kind),
            lambda: determinism.earn(run.trainee, run.packs[0].pack),
        )
        check = check_lock(store, self.records.lock_file(klass), request.lock_mode)
        for drift in check.warnings:
            if drift.name == "determinism_class":
                self.tell(Status(f"dlm.lock: {drift.message}"))
        if state is not None:
            run.resume(state)
            self.tell(Status(f"resuming after step {state.step}"))
        folder = store.root / STOPPED_RUN
        run_id = self.records.manifest().next_run_id()
        began = saved = time.monotonic()
        report = None
        best = Best(run, built.held, request.early_stop) if request.early_stop else None
        self.tell(Phase("sft"))
        with RunLog.create(store, run_id, datetime.now(UTC)) as log:
            log.write(self.records.banner(run_id, klass))
            log.write(self.records.delta())
            for report in run.steps(request.max_steps):
                elapsed = time.monotonic() - began
                speed = report.tokens / report.seconds if report.seconds else 0.0
                held_out = best.look(report) if best else None
                log.write(
                    Step(
                        step=report.step,
                        loss=report.loss,
                        lr=report.rate,
                        grad_norm=report.gradient_norm,
                        tokens_per_sec=speed,
                        val_loss=held_out,
                        timestamp=timestamp(),
                    )
                )
                self.tell(
                    Progress(
                        report.step,
                        run.settings.cap,
                        report.loss,
                        report.divergence,
                        report.learned,
                        report.rows,
                        report.rate,
                        elapsed,
                        speed,
                        report.gradient_norm,
                    )
                )
                if best:
                    known = report.learned, report.rows
                    self.tell(Evaluation(report.step, held_out, *known, report.divergence))
                stop = self.cancelled()
                due = stop or time.monotonic() - saved > _CHECKPOINT_SECONDS
                if due and added is None:
                    checkpoint.write_state(folder, self._state(run, fingerprint))
                    saved = time.monotonic()
                if stop:
                    return TrainOutcome(
                        Ending.CANCELLED,
                        steps=run.step,
                        learned=run.knowledge.count,
                        rows=run.rows,
                        loss=report.loss,
                        seconds=time.monotonic() - self.began,
                        seed=self.settings.seed,
                    )
                if request.time_limit is not None and elapsed >= request.time_limit:
                    self.tell(Status(f"time limit of {request.time_limit:g} s reached"))
                    break
                if best and best.over:
                    break
            if best:
                best.restore()
                report = best.report
                self.tell(Status(f"held-out prose did best after step {run.step}, which is kept"))
            self.tell(Phase("save"))
            run.look()
            val_loss = mean_loss(run.trainee, built.held)
            with store.stage() as staging:
                if not all(bool(torch.isfinite(p).all()) for p in run.parameters.values()):
                    self._write_adapter(staging, run, fingerprint)
                    staging.reject("the adapter holds numbers that are not finite")
                    raise TrainingError(
                        str(request.path),
                        "training ended in numbers that are not finite; nothing was replaced",
                        "lower training.learning_rate",
                    )
                digest = self._write_adapter(staging, run, fingerprint)
                summary = self.records.summary(staging.number, run_id, run, report, val_loss, log)
                version = staging.commit(self.records.run_record(summary, request.made_by))
            self.resident.attached(run.trainee.model, digest)
            outcome = TrainOutcome(
                Ending.TRAINED,
                version.number,
                version.path,
                digest,
                run.step,
                run.knowledge.count,
                run.rows,
                report.loss if report else None,
                val_loss,
                report.divergence if report else None,
                time.monotonic() - self.began,
                self.settings.seed,
                klass,
                *self._retention(facts, run),
            )
            with self._after_the_commit():
                self.records.write_reports(log, summary, outcome, klass)
        if check.writes:
            with self._after_the_commit():
                write_lock(store, self.records.lock_file(klass, run_id))
        shutil.rmtree(folder, ignore_errors=True)
        if request.made_by is MadeBy.SAVE and request.keep_saved:
            with self._after_the_commit():
                prune_saved(store, request.keep_saved)
        return outcome

    @contextmanager
    def _after_the_commit(self) -> Iterator[None]:
        """The version is there and current: trouble with what is written about it is only said."""
        try:
            yield
        except StoreError as error:
            self.tell(Status(str(error)))

    def _build(self, current: Version | None, added: Addition | None) -> Built:
        """The run; with `added`, one that goes on from the `current` version."""
        from dlm_engine.training import building

        def say(message: str) -> None:
            self.tell(Status(message))

        if added is None or current is None:
            return building.build(self.given, self.resident, say)
        return building.build_further(self.given, self.resident, say, current, added)

    def _state_to_resume(
        self, current: Version | None, fingerprint: str
    ) -> checkpoint.State | None:
        from dlm_engine.training import checkpoint

        if self.request.start is not Start.RESUME:
            return None
        state = checkpoint.read_state(self.case.store.root / STOPPED_RUN)
        if state is None and current is not None:
            current.verify()
            state = checkpoint.read_state(current.path)
        if state is None:
            raise TrainingError(
                "--resume", "there is no run to go on with", "run it without --resume"
            )
        if state.fingerprint != fingerprint:
            raise TrainingError(
                "--resume",
                "the document, the settings or the base changed since that run",
                "run it without --resume to learn the document as it is now",
            )
        return state

    def _state(self, run: Run, fingerprint: str) -> checkpoint.State:
        rows = {row.key: self.questions[row.key] for row in self.split.train}
        return replace(run.state(fingerprint), basis=self.given.basis(), rows=rows)

    def _retention(
        self, earlier: StateFacts | None, run: Run
    ) -> tuple[int | None, tuple[str, ...]]:
        """How much of what the `earlier` version knew, and the document still says, is known now;
        and the questions of what is not."""
        if earlier is None:
            return None, ()
        known = run.knowledge.known
        asked = {key for key, well in earlier.known.items() if well and key in known}
        lost = sorted(self.questions[key] for key in asked if not known[key])
        return len(asked) - len(lost), tuple(lost)

    # --- what is written ------------------------------------------------------------------

    def _write_adapter(self, staging: Staging, run: Run, fingerprint: str) -> str:
        """Fill the staging folder; returns the SHA-256 of the adapter's tensors file."""
        from dlm_engine.training import checkpoint
        from dlm_engine.training.network import adapter_files

        files = adapter_files(run.trainee, self.weights)
        for name, data in files.items():
            write_atomic(staging.path / name, data)
        checkpoint.write_state(staging.path, self._state(run, fingerprint))
        write_atomic(staging.path / LEARNED_NAME, learned_file(self.records.learned(self.rows)))
        return hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()

    # --- what is said ---------------------------------------------------------------------

    def _explain(self, added: Addition | None) -> None:
        if self.case.spec.capability_warning:
            self.tell(Status(self.case.spec.capability_warning))
        for reason in self.plan.reasons:
            name, _, why = reason.partition(": ")
            self.tell(Choice("plan", name, why))
        if added is not None:
            rows = "row" if len(added.new) == 1 else "rows"
            self.tell(
                Choice(
                    "start",
                    f"from the current version, {len(added.new)} new {rows}",
                    f"what it knows stays; rank {added.rank} grows to {added.grown_rank}",
                )
            )
            return
        for choice in self.settings.choices:
            self.tell(choice)
        self.tell(Choice("validation", f"{len(self.split.validation)} rows", self.split.reason))

    def _unchanged(self, current: Version, facts: StateFacts) -> TrainOutcome:
        record = current.run_record()
        return TrainOutcome(
            Ending.UNCHANGED,
            current.number,
            current.path,
            steps=facts.step,
            learned=sum(facts.known.values()),
            rows=len(facts.known),
            loss=record.run.final_train_loss if record else None,
            seed=self.settings.seed,
        )
