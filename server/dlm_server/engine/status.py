"""What the engine is doing, as the editor is told: the shape of `dlm/status`.

See docs/lsp-extensions.md. Plain values in, JSON out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dlm_engine.worker.messages import Ending, Progress, Result
from dlm_engine.worker.words import for_editors
from dlm_server.engine.client import State
from dlm_server.engine.queue import Job, JobKind

_LIMITED: Final = "a limit for saves ended it, press Train to go on"


@dataclass(frozen=True, slots=True)
class JobState:
    """The running job as it was last heard of."""

    job: Job
    phase: str = "starting"
    message: str = ""
    step: int | None = None
    steps: int | None = None
    known: int | None = None
    rows: int | None = None
    loss: float | None = None
    seconds_left: float | None = None
    adapter: str | None = None
    stage: str = "sft"

    def heard(self, progress: Progress) -> JobState:
        """With what `progress` says; a remark does not unsay the figures of the last step."""
        message = progress.message or (self.message if progress.step is None else "")
        if progress.step is None:
            return replace(self, phase=str(progress.phase), message=message)
        return replace(
            self,
            phase=str(progress.phase),
            message=message,
            step=progress.step,
            steps=progress.steps,
            known=progress.known,
            rows=progress.rows,
            loss=progress.loss,
            seconds_left=progress.seconds_left,
            adapter=progress.adapter,
            stage=progress.stage,
        )

    @property
    def percentage(self) -> int | None:
        if self.step is None or not self.steps:
            return None
        return min(100, 100 * self.step // self.steps)

    def __str__(self) -> str:
        if self.step is None:
            return self.message or self.phase
        of = f"{self.adapter}, " if self.adapter else ""
        parts = [f"{of}step {self.step} of at most {self.steps}"]
        if self.known is not None and self.rows:
            parts.append(f"{self.known} of {self.rows} known")
        elif self.message:
            parts.append(self.message)
        if self.loss is not None:
            parts.append(f"loss {self.loss:.2f}")
        if self.seconds_left is not None:
            parts.append(f"at most {self.seconds_left:.0f} s left")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Last:
    """How the last job ended; `id` tells it from one before it that ended alike."""

    id: int
    kind: JobKind
    uri: str
    ending: Ending
    message: str
    version: int | None
    adapter: str | None

    @classmethod
    def of(cls, job: Job, result: Result) -> Last:
        message = message_of(job.kind, result)
        adapter = result.shares[0].adapter if len(result.shares) == 1 else None
        return cls(job.id, job.kind, job.uri, result.ending, message, result.version, adapter)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "uri": self.uri,
            "ending": str(self.ending),
            "message": self.message,
            "version": self.version,
            "adapter": self.adapter,
        }


def message_of(kind: JobKind, result: Result) -> str:
    """The end of a job in one line."""
    if result.trouble is not None:
        return str(result.trouble)
    if result.ending is Ending.CANCELLED:
        return "cancelled"
    if kind != "train":
        return "done"
    if result.outcome == "empty":
        return "nothing to learn"
    if result.outcome == "unchanged":
        said = "nothing new to learn"
        if result.limited:
            return f"not trained further: {_LIMITED}"
        return said if result.version is None else f"{said}, version {result.version} is current"
    known = f"{result.known} of {result.rows} known " if result.rows else ""
    version = "trained" if result.version is None else f"version {result.version}"
    said = f"{version}: {known}after {result.steps} steps, {result.seconds:.1f} s"
    more = [result.text] if result.text else []
    return "; ".join([said, *more, *([_LIMITED] if result.limited else [])])


def forgotten(lost: Sequence[str]) -> str:
    """What a training lost, in one line; at most three questions by name."""
    names = ", ".join(repr(q if len(q) <= 80 else f"{q[:79]}…") for q in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return f"no longer known: {names}{more}"


def status_json(
    state: State, message: str | None, job: JobState | None, queued: int, last: Last | None
) -> dict[str, Any]:
    """The parameters of `dlm/status`."""
    running = None
    if job is not None:
        running = {
            "id": job.job.id,
            "kind": job.job.kind,
            "uri": job.job.uri,
            "cause": job.job.cause,
            "phase": job.phase,
            "message": job.message,
            "step": job.step,
            "steps": job.steps,
            "known": job.known,
            "rows": job.rows,
            "loss": job.loss,
            "secondsLeft": job.seconds_left,
            "adapter": job.adapter,
        }
    return {
        "engine": str(state),
        "job": running,
        "queued": queued,
        "message": for_editors(message) if message else None,
        "last": last.as_json() if last else None,
    }
