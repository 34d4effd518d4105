"""The one place where the worker calls the engine's jobs and puts their words on the wire.

The invariant: a job begins with its first step or its first word. Trouble before that means
that it could not run (`unavailable`), after that that it ran and failed; a cancel before
that is obeyed at the next word the job says, after that within a step or a token.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Final, TypeVar

from dlm_engine import jobs
from dlm_engine.errors import StoreLocked, UsageError
from dlm_engine.store import LockMode
from dlm_engine.worker.messages import (
    Answer,
    Ask,
    Ending,
    Export,
    Phase,
    Progress,
    Prompt,
    Result,
    Rollback,
    Side,
    Text,
    Train,
)
from dlm_engine.worker.throttle import Throttle
from dlm_engine.worker.words import for_editors

if TYPE_CHECKING:
    from dlm_engine.jobs import Resident

#: How often a store that somebody else holds is tried again.
_RETRY_SECONDS: Final = 0.25


T = TypeVar("T")


@cache
def _resident() -> Resident:
    """The base of this process: it lives as long as the worker, whose jobs take turns."""
    return jobs.make_resident()


class Stopped(Exception):
    """The job was cancelled before it had anything to keep."""


@dataclass
class Context:
    """What a running job may do: speak, and look whether it is still wanted."""

    id: int
    home: Path
    send: Callable[[Progress | Text], None]
    cancel: Flag = field(default_factory=Flag)
    begun: bool = False
    _progress: Throttle[Progress] = field(init=False)
    _text: Throttle[Text] = field(init=False)

    def __post_init__(self) -> None:
        self._progress = Throttle(self.send)
        self._text = Throttle(
            self.send, lambda old, new: Text(new.id, new.key, new.side, old.text + new.text)
        )

    def progress(self, progress: Progress) -> None:
        self._progress.offer(progress)

    def phase(self, phase: Phase, message: str) -> None:
        """Say what takes a moment; raises `Stopped` for a job that never began to do more."""
        self.go_on()
        # A change of phase is never merged away: it may stand for seconds.
        self._progress.flush()
        self.send(Progress(self.id, phase, for_editors(message)))

    def say(self, key: str, side: Side, text: str) -> None:
        self.begun = True
        self._text.offer(Text(self.id, key, side, text))

    def settle(self) -> None:
        """Send what was kept back; called before the answer and between two texts."""
        self._text.flush()
        self._progress.flush()

    def go_on(self) -> None:
        if self.cancel.is_set() and not self.begun:
            raise Stopped

    def cancelled(self) -> bool:
        return self.cancel.is_set()


def train(params: Train, context: Context) -> Result:
    """Train; see `jobs.train`."""

    adapter: str | None = None
    late = False

    def tell(event: jobs.Event) -> None:
        nonlocal adapter, late
        if isinstance(event, jobs.Choice) and event.name == "adapter":
            adapter = event.value
        if isinstance(event, jobs.Progress):
            context.begun = True
            in_time = event.elapsed < (params.max_seconds or math.inf)
            late = not in_time or event.step == params.max_steps
            context.progress(_step(params, event, context.id, adapter))
        elif isinstance(event, jobs.Status):
            context.phase(Phase.TRAINING if context.begun else Phase.PREPARING, event.message)
        else:
            context.go_on()

    accept = params.accept
    request = jobs.TrainRequest(
        Path(params.path),
        context.home,
        start=jobs.Start.FRESH if accept.fresh else jobs.Start.FURTHER,
        max_steps=params.max_steps,
        time_limit=params.max_seconds,
        lock_mode=LockMode(accept.lock) if accept.lock else LockMode.DEFAULT,
        accept_licence=accept.licence,
        made_by=jobs.MadeBy(params.made_by),
        keep_saved=params.keep_saved,
    )
    outcome = _with_store(
        context,
        params.wait_seconds,
        lambda: jobs.train(request, tell, context.cancelled, _resident()),
    )
    if outcome.ending is jobs.Ending.CANCELLED:
        return Result(Ending.CANCELLED, steps=outcome.steps)
    return Result(
        Ending.DONE,
        outcome=str(outcome.ending),
        version=outcome.version,
        content=outcome.content,
        steps=outcome.steps,
        known=outcome.learned,
        rows=outcome.rows,
        loss=outcome.loss,
        seconds=outcome.seconds,
        text="" if outcome.preference is None else str(outcome.preference),
        lost=outcome.lost,
        # An addition cannot be resumed, and calls itself finished; what it lacks is added anew.
        limited=outcome.ending is not jobs.Ending.EMPTY
        and (not outcome.finished or (late and outcome.learned < outcome.rows)),
    )


def _step(params: Train, event: jobs.Progress, job: int, adapter: str | None) -> Progress:
    steps = min(event.cap, params.max_steps or event.cap)
    left = max(0, steps - event.step) * event.elapsed / max(1, event.step)
    if params.max_seconds is not None:
        left = min(left, max(0.0, params.max_seconds - event.elapsed))
    knowing = event.phase is not jobs.Phase.PREFERENCE
    return Progress(
        job,
        Phase.TRAINING,
        "" if knowing else f"{event.learned} of {event.rows} preferred",
        step=event.step,
        steps=steps,
        known=event.learned if knowing else None,
        rows=event.rows if knowing else None,
        loss=event.loss if event.loss == event.loss else None,
        seconds_left=left,
        adapter=adapter,
        stage="sft" if knowing else "preference",
    )


def prompt(params: Prompt, context: Context) -> Result:
    """One answer, streamed under the key ""."""
    began = time.monotonic()
    side: Side = "base" if params.version == "base" else "adapted"
    outcome = _ask(params, context, "", side)
    return Result(
        Ending.CANCELLED if context.cancelled() else Ending.DONE,
        version=outcome.version,
        text=outcome.answer,
        seconds=time.monotonic() - began,
        shares=outcome.shares,
    )


def ask(params: Ask, context: Context) -> Result:
    """Each question in turn, of the base first; those not yet asked are left out on a cancel."""
    from dlm_engine.inference.judge import right

    began = time.monotonic()
    answers: list[Answer] = []
    for question in params.questions:
        if context.cancelled():
            break
        base, adapter = None, question.adapter
        asked = Prompt(
            params.path,
            question.question,
            max_tokens=params.max_tokens,
            accept_licence=params.accept_licence,
        )
        if params.compare:
            base = _ask(replace(asked, version="base"), context, question.key, "base").answer
        asked = replace(asked, adapter=adapter)
        outcome = _ask(asked, context, question.key, "adapted")
        if context.cancelled():
            break
        judged = None
        if question.reference is not None:
            judged = right(outcome.answer, question.reference, question.question)
        answered = outcome.version, adapter
        answers.append(Answer(question.key, outcome.answer, base, judged, *answered))
    by = {(answer.version, answer.adapter) for answer in answers}
    return Result(
        Ending.CANCELLED if context.cancelled() else Ending.DONE,
        version=answers[0].version if len(by) == 1 else None,
        answers=tuple(answers),
        seconds=time.monotonic() - began,
    )


def _ask(params: Prompt, context: Context, key: str, side: Side) -> jobs.PromptOutcome:
    if context.cancelled():
        raise Stopped
    request = jobs.PromptRequest(
        Path(params.path),
        context.home,
        params.question,
        version=params.version,
        max_tokens=params.max_tokens,
        adapter=params.adapter,
        mix=_mix(params.mix),
        accept_licence=params.accept_licence,
    )

    def on_text(text: str) -> None:
        context.say(key, side, text)
        if context.cancelled():
            raise Stopped

    def report(message: str) -> None:
        context.phase(Phase.PREPARING, message)

    context.send(Progress(context.id, Phase.ANSWERING, params.question))
    try:
        return jobs.prompt(request, on_text, report, _resident(), context.cancelled)
    finally:
        context.settle()


def _mix(text: str | None) -> jobs.Mix | None:
    return None if text is None else jobs.Mix.read(text)


def export(params: Export, context: Context) -> Result:
    """Export; see `jobs.export`."""
    from dlm_engine.export import Quant, Target

    try:
        options = jobs.ExportOptions(
            quant=None if params.quant is None else Quant(params.quant),
            target=Target(params.target),
        )
    except ValueError as error:
        raise UsageError("export", str(error), "see `dlm export --help`") from None
    job = jobs.ExportJob(
        Path(params.path),
        context.home,
        options,
        version=params.version,
        adapter=params.adapter,
        mix=_mix(params.mix),
        accept_licence=params.accept_licence,
    )

    def report(message: str) -> None:
        context.phase(Phase.EXPORTING, message)

    began = time.monotonic()
    result = _with_store(context, params.wait_seconds, lambda: jobs.export(job, report))
    return Result(
        Ending.DONE,
        folder=str(result.folder),
        files=tuple(str(result.folder / a.path) for a in result.manifest.artifacts),
        text=result.answer or "",
        seconds=time.monotonic() - began,
    )


def rollback(params: Rollback, context: Context) -> Result:
    """Make an earlier version the current one; see `store.rollback`."""
    from dlm_engine.case import open_case
    from dlm_engine.store import rollback as go_back

    path, licence = Path(params.path), params.accept_licence
    case = open_case(path, context.home, accept_licence=licence).part(params.adapter)
    report = _with_store(
        context, params.wait_seconds, lambda: go_back(case.store, params.version, case.adapter)
    )
    number = report.after.number
    shares = (jobs.Share(case.adapter, number, 1.0),) if case.adapter else ()
    return Result(Ending.DONE, version=number, shares=shares)


def _with_store(context: Context, seconds: float, job: Callable[[], T]) -> T:
    """Run `job`, waiting up to `seconds` for a store that another process holds."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            return job()
        except StoreLocked as error:
            if context.begun or time.monotonic() >= deadline:
                raise
            if error.problem != said:
                said = error.problem
                context.phase(Phase.WAITING, f"waiting: the store {said}")
        context.cancel.wait(_RETRY_SECONDS)
        context.go_on()


#: What each request runs.
RUNNERS: Final[dict[type, Callable[..., Result]]] = {
    Train: train,
    Prompt: prompt,
    Ask: ask,
    Export: export,
    Rollback: rollback,
}

#: Those of them that start processes of their own, whose memory is the worker's.
STARTS_OTHERS: Final[frozenset[type]] = frozenset({Export})
