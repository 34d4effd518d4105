"""One phase of a session: from a run that is built to a version that is committed.

Steps are logged and told, the state is kept beside the store's versions while they go, and
whatever ends the steps, the version is committed in one rename or not at all; `dlm.lock` is
written after it, and the kept state removed last.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from dlm_engine.errors import OutOfMemory, ProcessLost, StoreError, TrainingError
from dlm_engine.inference.resident import Resident
from dlm_engine.store import (
    LEARNED_NAME,
    LearnedRow,
    MadeBy,
    RunLog,
    Staging,
    Step,
    check_lock,
    checkpoint_path,
    learned_file,
    prune_saved,
    timestamp,
    write_atomic,
    write_lock,
)
from dlm_engine.training import checkpoint, following
from dlm_engine.training.building import Built, class_of
from dlm_engine.training.early import Best
from dlm_engine.training.following import On
from dlm_engine.training.given import Given
from dlm_engine.training.model import (
    EndedBy,
    Ending,
    Evaluation,
    Listener,
    Losses,
    Phase,
    PhaseBegan,
    PhaseEnded,
    Progress,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.network import adapter_files
from dlm_engine.training.portions import memory_for
from dlm_engine.training.records import Records
from dlm_engine.training.sft import Run, mean_loss
from dlm_engine.training.warmup import WarmUpStopped

_CHECKPOINT_SECONDS = 10.0


@dataclass(frozen=True)
class Around:
    """What all phases of a session have in common. `began` is when the session did, `earlier`
    says what the version before it knew."""

    given: Given
    request: TrainRequest
    taught: tuple[LearnedRow, ...]
    tell: Listener
    cancelled: Callable[[], bool]
    resident: Resident
    began: float
    earlier: checkpoint.StateFacts | None = None
    asked: checkpoint.Asked | None = None


@dataclass(frozen=True)
class Stage:
    """`fingerprint` is of what the phase makes, `pairs` the preferences that has learned, `state`
    what to resume. `keeps`: it can be resumed, so its state is kept. `seconds` may be trained.
    `shape`: rank and alpha of the adapter that it is built upon, if it is."""

    phase: Phase
    build: Callable[[], Built]
    fingerprint: str
    records: Records
    pairs: tuple[str, ...]
    state: checkpoint.State | None
    keeps: bool
    seconds: float | None
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class Ended:
    """`finished`: by itself, with a version; nothing is left to resume."""

    outcome: TrainOutcome
    finished: bool
    trained_seconds: float = 0.0


def carry_out(stage: Stage, around: Around) -> Ended:
    """Train, and commit what came of it.

    Raises:
        DlmError: the base, the disk or the numbers failed; the store has the version it had.
    """
    given, request, tell, records = around.given, around.request, around.tell, stage.records
    store, settings = given.case.store, given.settings
    tell(Status(f"loading {given.case.spec.key}"))
    following.order(given.case.adapter, stage.phase, stage.shape, stage.state)
    with memory_for(given.case.spec.key):
        try:
            built = stage.build()
        except WarmUpStopped:
            return _stopped_early(stage, around)
        run = built.run
        klass = class_of(given, run, around.resident)
        following.share(run.trainee, stage.state)
    check = check_lock(store, records.lock_file(klass), request.lock_mode)
    for drift in check.warnings:
        if drift.name == "determinism_class":
            tell(Status(f"dlm.lock: {drift.message}"))
    if stage.state is not None and stage.state.step:
        run.resume(stage.state)
        tell(Status(f"resuming after step {stage.state.step}"))
    else:
        run.begin()
    adapter = given.case.adapter
    folder = checkpoint_path(store.root, adapter)
    run_id = records.manifest().next_run_id()
    saved = time.monotonic()
    began = saved - built.seconds
    report = None
    patience = request.early_stop if stage.phase is Phase.SFT else None
    best = Best(run, built.held, patience) if patience else None
    tell(PhaseBegan(stage.phase))
    kept = _kept_when_lost(stage, around, run)
    with RunLog.create(store, run_id, datetime.now(UTC)) as log, kept:
        log.write(records.banner(run_id, klass))
        log.write(records.delta())
        late = False
        for report in run.steps(request.max_steps):
            elapsed = time.monotonic() - began
            if report.choice:
                tell(report.choice)
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
            tell(
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
                    stage.phase,
                )
            )
            if best:
                known = report.learned, report.rows
                tell(Evaluation(report.step, held_out, *known, report.divergence))
            # What ends by itself with this step is whole: there is nothing left to stop.
            stop = around.cancelled() and not run.finished
            # Nor can it be resumed: killed before its commit, it goes on from the state before.
            waited = time.monotonic() - saved > _CHECKPOINT_SECONDS
            due = stop or (waited and not run.finished)
            if due and stage.keeps:
                checkpoint.write_state(folder, _state(stage, around, run))
                saved = time.monotonic()
            late = stage.seconds is not None and elapsed >= stage.seconds
            following.tell_how_on(On.STOPPED if stop else On.ENOUGH if late else On.FURTHER)
            if stop:
                outcome = TrainOutcome(
                    Ending.CANCELLED,
                    steps=run.step,
                    learned=run.knowledge.count,
                    rows=run.rows,
                    loss=report.loss,
                    seconds=time.monotonic() - around.began,
                    seed=settings.seed,
                    adapter=adapter,
                )
                return Ended(outcome, finished=False)
            if late:
                tell(Status(f"time limit of {request.time_limit:g} s reached"))
                break
            if best and best.over:
                break
        ended_by = _ended_by(run, best, late=late)
        if best:
            best.restore()
            report = best.report
            tell(Status(f"held-out prose did best after step {run.step}, which is kept"))
        tell(PhaseBegan("save"))
        trained = time.monotonic() - began
        run.look()
        preferred = run.measured()
        val_loss = mean_loss(run.portions, built.held)
        if choice := run.portions.told():
            tell(choice)
        with store.stage(adapter) as staging:
            if not all(bool(torch.isfinite(p).all()) for p in run.parameters.values()):
                _write_adapter(stage, around, staging, run)
                staging.reject("the adapter holds numbers that are not finite")
                raise TrainingError(
                    str(request.path),
                    "training ended in numbers that are not finite; nothing was replaced",
                    "lower training.learning_rate",
                )
            digest = _write_adapter(stage, around, staging, run)
            summary = records.summary(staging.number, run_id, run, report, val_loss, log)
            version = staging.commit(records.run_record(summary, request.made_by))
        around.resident.attached(run.trainee.model, digest)
        still, lost = _retention(around, run)
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
            time.monotonic() - around.began,
            settings.seed,
            klass,
            still,
            tuple(given.questions[key] for key in lost),
            preference=preferred,
            adapter=adapter,
            trained=run.losses,
            # Answers are never held out, so all that is held out is prose.
            held_out=Losses(prose=val_loss),
            finished=run.finished or not stage.keeps,
            lost_keys=lost,
            ended_by=ended_by,
        )
        with _after_the_commit(tell):
            records.write_reports(log, summary, outcome, klass, stage.phase)
    if check.writes:
        with _after_the_commit(tell):
            write_lock(store, records.lock_file(klass, run_id))
    shutil.rmtree(folder, ignore_errors=True)
    if request.made_by is MadeBy.SAVE and request.keep_saved:
        with _after_the_commit(tell):
            prune_saved(store, request.keep_saved)
    tell(PhaseEnded(stage.phase, outcome))
    return Ended(outcome, run.finished, trained)


@contextmanager
def _after_the_commit(tell: Listener) -> Iterator[None]:
    """The version is there and current: trouble with what is written about it is only said."""
    try:
        yield
    except StoreError as error:
        tell(Status(str(error)))


@contextmanager
def _kept_when_lost(stage: Stage, around: Around, run: Run) -> Iterator[None]:
    """Keep the state, where that can be gone on from, when another process of the run is lost or
    the memory does not last for the last look. What ended by itself takes that look again."""
    try:
        yield
    except (ProcessLost, OutOfMemory) as error:
        if isinstance(error, OutOfMemory):
            run.finished = False
        if stage.keeps and run.settled and not run.finished:
            case = around.given.case
            folder = checkpoint_path(case.store.root, case.adapter)
            checkpoint.write_state(folder, _state(stage, around, run))
        raise


def _ended_by(run: Run, best: Best | None, *, late: bool) -> EndedBy:
    """What ended the steps; asked before the best of them is put back."""
    if best and best.over:
        return EndedBy.EARLY_STOP
    if run.finished:
        return EndedBy.LEARNED if run.step < run.settings.cap else EndedBy.CAP
    return EndedBy.TIME_LIMIT if late else EndedBy.MAX_STEPS


def _retention(around: Around, run: Run) -> tuple[int | None, tuple[str, ...]]:
    """How much of what the version before knew, and the document still says, is known now; and
    the keys of what is not, by their questions."""
    if around.earlier is None:
        return None, ()
    known, questions = run.knowledge.known, around.given.questions
    asked = {key for key, well in around.earlier.known.items() if well and key in known}
    lost = sorted((key for key in asked if not known[key]), key=lambda key: (questions[key], key))
    return len(asked) - len(lost), tuple(lost)


def _stopped_early(stage: Stage, around: Around) -> Ended:
    """Before the first step: to resume is to begin anew, with the same flags."""
    case = around.given.case
    if stage.keeps and stage.state is None:
        none = checkpoint.State(0, stage.fingerprint, False, {}, {}, {}, {})
        folder = checkpoint_path(case.store.root, case.adapter)
        checkpoint.write_state(folder, _described(none, stage, around))
    seconds = time.monotonic() - around.began
    seed = around.given.settings.seed
    ending = TrainOutcome(Ending.CANCELLED, seconds=seconds, seed=seed, adapter=case.adapter)
    return Ended(ending, finished=False)


def _state(stage: Stage, around: Around, run: Run) -> checkpoint.State:
    return _described(run.state(stage.fingerprint), stage, around)


def _described(state: checkpoint.State, stage: Stage, around: Around) -> checkpoint.State:
    given = around.given
    return replace(
        state,
        asked=around.asked,
        basis=given.basis(),
        rows={row.key: given.questions[row.key] for row in given.split.train},
        pairs=stage.pairs,
    )


def _write_adapter(stage: Stage, around: Around, staging: Staging, run: Run) -> str:
    """Fill the staging folder; returns the SHA-256 of the adapter's tensors file."""
    given = around.given
    files = adapter_files(run.trainee, given.weights)
    for name, data in files.items():
        write_atomic(staging.path / name, data)
    checkpoint.write_state(staging.path, _state(stage, around, run))
    write_atomic(staging.path / LEARNED_NAME, learned_file(around.taught))
    return hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()
