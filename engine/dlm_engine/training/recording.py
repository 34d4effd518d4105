"""A run's words on their way to whoever listens, written down as they pass.

Every front hears a run through one listener, so a listener in front of it records them all:
the command line, `--watch` and the editor's worker. The invariant: what is recorded never
changes, delays or ends the run. A run is recorded from the moment it begins to load its base;
what is refused before that has begun nothing and leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from dlm_engine.store import (
    ChoiceRow,
    EvaluationRow,
    LostRow,
    MetricsWriter,
    PhaseRow,
    RunRow,
    RunStatus,
    StepRow,
    timestamp,
)
from dlm_engine.training.model import (
    Choice,
    Ending,
    Evaluation,
    Event,
    Listener,
    PhaseBegan,
    PhaseEnded,
    Progress,
    Status,
    TrainOutcome,
)
from dlm_engine.training.sinks import Dashboards, Sinks, sinks_of

#: Before the first phase says its name.
_PREPARING = "prepare"


@dataclass
class Recorder:
    """`tell` for the run, and how it ended. Made by `recording`."""

    listener: Listener
    writer: MetricsWriter
    sinks: Sinks
    run: RunRow
    outcome: TrainOutcome | None = None
    _phase: PhaseRow = field(init=False)
    #: those that are over, by their names
    _phases: dict[str, PhaseRow] = field(default_factory=dict)
    #: the last version that was made
    _made: int | None = None
    _began: float = field(init=False)
    #: the phase that steps were last taken in
    _stepping: str = "sft"
    #: what the listener itself raised: whoever started the run wants it no more
    _unwanted: BaseException | None = None

    def __post_init__(self) -> None:
        self._phase = PhaseRow(self.run.run_id, 0, _PREPARING, timestamp())
        self._began = time.monotonic()
        self.writer.add(self._phase)

    def tell(self, event: Event) -> None:
        self.note(event)
        try:
            self.listener(event)
        except BaseException as error:
            self._unwanted = error
            raise

    def ended(self, outcome: TrainOutcome) -> TrainOutcome:
        """Note the outcome of all phases."""
        self.outcome = outcome
        return outcome

    def close(self, error: BaseException | None) -> None:
        try:
            self._end_phase()
            self.writer.end_run(self._as_ended(error))
        finally:
            self.writer.close()
        self.sinks.close(failed=error is not None)

    def note(self, event: Event) -> None:
        """Record `event` without telling it."""
        number, phase = self.run.run_id, self._phase.phase
        if isinstance(event, Progress):
            self._stepping = phase
            row = StepRow(
                number,
                phase,
                event.step,
                event.loss,
                event.rate,
                event.gradient_norm,
                event.divergence,
                event.learned,
                event.rows,
                event.tokens_per_second,
                event.elapsed,
                timestamp(),
            )
            self.writer.add(row)
            self.sinks.step(row)
        elif isinstance(event, Evaluation):
            self._measured(self._evaluated(self._stepping, event))
        elif isinstance(event, Choice):
            self.writer.add(ChoiceRow(number, event.name, event.value, event.reason))
        elif isinstance(event, PhaseBegan):
            self._end_phase()
            self._began = time.monotonic()
            self._phase = PhaseRow(number, self._phase.position + 1, event.name, timestamp())
            self.writer.add(self._phase)
        elif isinstance(event, PhaseEnded):
            self._end_with(event.name, event.outcome)

    def _end_with(self, phase: str, outcome: TrainOutcome) -> None:
        """Note the version that `phase` made, and what was measured of it at the end."""
        self._made = outcome.version
        row = self._phases.get(phase, self._phase)
        row = replace(row, adapter_version=outcome.version, ended_by=outcome.ended_by)
        self.writer.add(row)
        known = outcome.learned, outcome.rows
        measured = Evaluation(outcome.steps, outcome.validation_loss, *known, outcome.divergence)
        after = replace(self._evaluated(phase, measured), kept=outcome.kept)
        found = outcome.preference
        if found is not None:
            before = replace(self._evaluated(phase, Evaluation(0, None)), pairs=found.pairs)
            margin, accuracy = found.margin_before, found.accuracy_before
            self._measured(replace(before, margin=margin, accuracy=accuracy))
            margin, accuracy = found.margin_after, found.accuracy_after
            after = replace(after, pairs=found.pairs, margin=margin, accuracy=accuracy)
        self._measured(after)
        for key in outcome.lost_keys:
            self.writer.add(LostRow(self.run.run_id, phase, key))
        # A kill in the next phase must not take the word of this one with it.
        self.writer.flush()

    def _evaluated(self, phase: str, event: Evaluation) -> EvaluationRow:
        return EvaluationRow(
            self.run.run_id,
            phase,
            event.step,
            event.validation_loss,
            event.learned,
            event.rows,
            event.divergence,
            timestamp(),
        )

    def _measured(self, row: EvaluationRow) -> None:
        self.writer.add(row)
        self.sinks.evaluation(row)

    def _end_phase(self) -> None:
        ended = replace(self._phase, seconds=time.monotonic() - self._began)
        self._phases[ended.phase] = ended
        self.writer.add(ended)

    def _as_ended(self, error: BaseException | None) -> RunRow:
        at, outcome = timestamp(), self.outcome
        if outcome is not None and error is None:
            trained = outcome.ending is Ending.TRAINED
            return replace(
                self.run,
                ended_at=at,
                status=RunStatus.TRAINED if trained else RunStatus.CANCELLED,
                adapter_version=outcome.version or self._made,
                steps=outcome.steps,
                learned=outcome.learned,
                rows=outcome.rows,
                loss=outcome.loss,
                val_loss=outcome.validation_loss,
                divergence=outcome.divergence,
                seconds=outcome.seconds,
                determinism_class=outcome.determinism,
                prose_loss=outcome.trained.prose,
                answers_loss=outcome.trained.answers,
            )
        unwanted = isinstance(error, KeyboardInterrupt) or error is self._unwanted
        run = replace(self.run, ended_at=at, adapter_version=self._made)
        if error is None or unwanted:
            return replace(run, status=RunStatus.CANCELLED)
        return replace(
            run,
            status=RunStatus.FAILED,
            error=type(error).__name__,
            message=" ".join(str(error).split())[:2000],
        )


@contextmanager
def recording(
    root: Path, start: str, base_model: str, seed: int, dashboards: Dashboards, listener: Listener
) -> Iterator[Recorder]:
    """Record a run of the store at `root`, which the caller holds; tell it its outcome."""

    def troubled(message: str) -> None:
        # Who no longer listens hears of that from the run itself.
        with suppress(Exception):
            listener(Status(message))

    sinks = sinks_of(dashboards)
    writer = MetricsWriter(root, troubled)
    number = writer.begin_run(start, base_model, seed)
    row = RunRow(number, timestamp(), None, RunStatus.RUNNING, start, base_model, seed)
    recorder = Recorder(listener, writer, sinks, row)
    try:
        sinks.open(root, number, troubled)
        yield recorder
    except BaseException as error:
        recorder.close(error)
        raise
    recorder.close(None)
