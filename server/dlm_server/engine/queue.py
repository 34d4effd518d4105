"""Which job is next: one slot for each thing that can wait, and the newest takes it.

The invariant: at most one job runs, over all documents, and of a kind that supersedes
itself (a training, the probes, one question) at most one waits per document. Every job
carries its cause in words. Nothing here starts or knows anything; the owner asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from dlm_engine.worker.messages import Result, Text

JobKind = Literal["train", "prompt", "probe", "export", "rollback"]

#: A person waits for an answer; a training waits for a person; probes wait for both.
_ORDER: Final[dict[JobKind, int]] = {
    "prompt": 0,
    "rollback": 1,
    "export": 1,
    "train": 2,
    "probe": 3,
}


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """`method` and `params` are for the worker. `slot` is what a newer job replaces, None for
    jobs that all count. `content` identifies what a training learns."""

    id: int
    kind: JobKind
    uri: str
    cause: str
    method: str
    params: object
    slot: str | None = None
    content: str = ""
    done: Callable[[Result], None] = field(default=lambda result: None)
    #: gets more of an answer
    heard: Callable[[Text], None] = field(default=lambda text: None)


class JobQueue:
    """The waiting jobs and the running one."""

    def __init__(self) -> None:
        self.running: Job | None = None
        self._waiting: list[Job] = []

    @property
    def waiting(self) -> tuple[Job, ...]:
        return tuple(self._waiting)

    def request(self, job: Job) -> Job | None:
        """Put `job` in line; returns the waiting one it replaces."""
        for at, other in enumerate(self._waiting):
            if job.slot is not None and (other.uri, other.slot) == (job.uri, job.slot):
                # The place in line stays: saving again and again must not push a job back.
                self._waiting[at] = job
                return other
        self._waiting.append(job)
        return None

    def start(self) -> Job | None:
        """The next job, which runs from now on; None while one runs or none waits."""
        if self.running is not None or not self._waiting:
            return None
        self.running = min(self._waiting, key=lambda job: _ORDER[job.kind])
        self._waiting.remove(self.running)
        return self.running

    def finish(self, job: Job) -> None:
        """The running job has ended."""
        if self.running is job:
            self.running = None

    def withdraw(self, wanted: Callable[[Job], bool]) -> list[Job]:
        """Take waiting jobs out; returns them."""
        gone = [job for job in self._waiting if wanted(job)]
        self._waiting = [job for job in self._waiting if job not in gone]
        return gone

    def knows(self, uri: str, content: str) -> bool:
        """Whether a training of just this content runs or waits."""
        jobs = [*([self.running] if self.running else []), *self._waiting]
        return any(j.kind == "train" and (j.uri, j.content) == (uri, content) for j in jobs)
