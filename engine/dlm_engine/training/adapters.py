"""A document with named adapters: one run after another over its parts, as one job.

The invariant: everything that can be refused for any adapter is refused before the first one
begins, the store is held once for all of them, and each is committed by itself, so a job that
is stopped keeps the adapters that are done and the next one goes on with the rest. One adapter
is trained exactly as a document of its part alone would be: it has its own fingerprint, so an
edit in one topic trains that one adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from dlm_engine.case import Case
from dlm_engine.errors import TrainingError
from dlm_engine.store import Store, ensure_space
from dlm_engine.store.layout import checkpoint_path
from dlm_engine.training.checkpoint import STATE_NAME
from dlm_engine.training.model import (
    Ending,
    Event,
    Listener,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)


class Session(Protocol):
    """The run of one adapter, ready to begin."""

    began: float

    def goes_on(self) -> bool: ...

    def run(self, request: TrainRequest, tell: Listener) -> TrainOutcome: ...


def train_adapters(
    case: Case,
    request: TrainRequest,
    session_for: Callable[[Case], Session | None],
    gate_for: Callable[[], Literal["trained", "uniform"] | None],
    space_needed: int,
    tell: Listener,
    cancelled: Callable[[], bool],
) -> TrainOutcome:
    """Train each declared adapter in order, then the gate if there is to be one.

    `session_for` gives None for an adapter without rows, `gate_for` trains what the document says.

    Limits of time are those of the whole job, of steps those of each adapter.

    Raises:
        DlmError: as `session.train`; adapters that were finished before it stay.
    """
    began = time.monotonic()
    parts = case.parts()
    sessions = [(part, session_for(part)) for part in parts]
    outcomes: list[TrainOutcome] = []
    clock = _Clock(request.time_limit)
    waiting = False
    with case.store.lock("training"):
        case.store.recover()
        ensure_space(case.store.root, space_needed * len(parts))
        starts = _starts(case.store, sessions, request.start)
        for number, (part, session) in enumerate(sessions, 1):
            assert part.adapter is not None
            if session is None:
                tell(Status(f"adapter {part.adapter}: nothing to learn"))
                outcomes.append(TrainOutcome(Ending.EMPTY, adapter=part.adapter))
                continue
            if clock.over:
                tell(Status(f"adapter {part.adapter}: no time left, not trained now"))
                waiting = True
                continue
            if outcomes and cancelled():
                outcomes.append(TrainOutcome(Ending.CANCELLED, adapter=part.adapter))
                break
            tell(Status(f"adapter {part.adapter}, {number} of {len(parts)}"))
            session.began = time.monotonic()
            own = replace(request, start=starts[part.adapter], time_limit=clock.left)
            outcome = _run(session, part.adapter, own, clock.listener(tell))
            outcomes.append(outcome)
            if outcome.ending is Ending.CANCELLED:
                break
        whole = _together(outcomes, time.monotonic() - began)
        whole = replace(whole, finished=whole.finished and not waiting)
        if whole.ending is Ending.CANCELLED or not case.frontmatter.training.gate.enabled:
            return whole
        gate = gate_for()
    return replace(whole, gate=gate, seconds=time.monotonic() - began)


def _run(session: Session, adapter: str, request: TrainRequest, tell: Listener) -> TrainOutcome:
    try:
        return session.run(request, tell)
    except TrainingError as error:
        subject = f"adapter {adapter}: {error.subject}"
        raise TrainingError(subject, error.problem, error.remedy) from error


def _starts(
    store: Store, sessions: Sequence[tuple[Case, Session | None]], wanted: Start
) -> dict[str | None, Start]:
    """Where each begins: on a resume, those that a stopped job had not come to begin anew."""
    starts = {part.adapter: wanted for part, _ in sessions}
    if wanted is not Start.RESUME:
        return starts
    stopped = {part.adapter for part, _ in sessions if _stopped(store, part.adapter)}
    begun = {part.adapter for part, _ in sessions if store.current(part.adapter) is not None}
    if not stopped | begun:
        return starts
    for part, session in sessions:
        # With one that was stopped, the version of another may be of a job before it.
        earlier = stopped and session is not None and not session.goes_on()
        if part.adapter not in stopped and (part.adapter not in begun or earlier):
            starts[part.adapter] = Start.AUTO
    return starts


def _stopped(store: Store, adapter: str | None) -> bool:
    return (checkpoint_path(store.root, adapter) / STATE_NAME).is_file()


class _Clock:
    """Seconds of training that are left to the job, by what its runs say they took."""

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._before = self._now = 0.0

    @property
    def left(self) -> float | None:
        return None if self._limit is None else self._limit - self._before - self._now

    @property
    def over(self) -> bool:
        return self.left is not None and self.left <= 0

    def listener(self, tell: Listener) -> Listener:
        self._before, self._now = self._before + self._now, 0.0

        def listen(event: Event) -> None:
            if isinstance(event, Progress):
                self._now = event.elapsed
            tell(event)

        return listen


def _together(outcomes: list[TrainOutcome], seconds: float) -> TrainOutcome:
    endings = {outcome.ending for outcome in outcomes}
    order = (Ending.CANCELLED, Ending.TRAINED, Ending.UNCHANGED)
    kept = [outcome.kept for outcome in outcomes if outcome.kept is not None]
    return TrainOutcome(
        next((ending for ending in order if ending in endings), Ending.EMPTY),
        steps=sum(outcome.steps for outcome in outcomes),
        learned=sum(outcome.learned for outcome in outcomes),
        rows=sum(outcome.rows for outcome in outcomes),
        seconds=seconds,
        seed=next((o.seed for o in outcomes if o.seed is not None), None),
        kept=sum(kept) if kept else None,
        lost=tuple(question for outcome in outcomes for question in outcome.lost),
        parts=tuple(outcomes),
        finished=all(o.finished for o in outcomes if o.ending is not Ending.EMPTY),
    )
