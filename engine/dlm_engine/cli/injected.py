"""What was sent to be learned: what waits for the next cycle, and what the cycles so far took.

The invariant: what was accepted is learned by every cycle from the next one on, since a cycle
without it would forget it; and each ends as one line in the store, which says what learned it.
Nothing here blocks: those who send put, the one who trains takes.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from dlm_engine.data.rows import ChatRow
from dlm_engine.jobs import Injected
from dlm_engine.store import InjectedLine, Store, learned_by, record_injected

#: Waiting at most; and with what was taken before, which lives in memory.
MOST_WAITING: Final = 1000
MOST_HELD: Final = 10_000
#: A cycle begins when nothing came for so long, or something waits for so long (seconds).
_QUIET: Final = 0.3
_LONGEST_WAIT: Final = 3.0


class QueueFull(Exception):
    """No more is taken for now."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A question that was sent, its answer, and where it came from."""

    prompt: str
    reference: str
    tags: tuple[str, ...]
    source: str
    accepted_at: str


class Injections:
    """Shared by the threads that receive and the one that trains."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[Probe] = []
        self._since = self._last = 0.0
        self._held: dict[str, Probe] = {}
        self._unrecorded: list[Probe] = []
        self._began: float | None = None
        self._took = 0.0
        self._closed = False

    def put(self, probe: Probe) -> int:
        """Keep `probe` for the next cycle; returns how many wait.

        Raises:
            QueueFull: there are too many, or no cycle will come any more.
        """
        with self._lock:
            waiting = len(self._waiting)
            if self._closed or waiting >= MOST_WAITING or waiting + len(self._held) >= MOST_HELD:
                raise QueueFull
            self._last = self._clock()
            if not waiting:
                self._since = self._last
            self._waiting.append(probe)
            return waiting + 1

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def due(self) -> bool:
        """Whether a cycle should begin for what waits."""
        with self._lock:
            now = self._clock()
            settled = now - self._last >= _QUIET or now - self._since >= _LONGEST_WAIT
            return bool(self._waiting) and settled

    def seconds_to_next_cycle(self) -> int:
        """An estimate: the rest of the cycle that runs, if it takes as long as the last one."""
        with self._lock:
            rest = 0.0 if self._began is None else self._took - (self._clock() - self._began)
            return math.ceil(max(0.0, rest) + _QUIET)

    def take(self) -> tuple[Injected, ...]:
        """Everything that the cycle which begins now is to learn; of one question the newest."""
        with self._lock:
            for probe in self._waiting:
                words = " ".join(probe.prompt.split())
                self._held.pop(words, None)
                self._held[words] = probe
            self._unrecorded += self._waiting
            self._waiting = []
            return tuple(Injected(p.prompt, p.reference) for p in self._held.values())

    @contextmanager
    def cycle(self) -> Iterator[None]:
        """Know that a cycle runs, and how long it took."""
        began = self._began = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._took, self._began = self._clock() - began, None

    def close(self) -> None:
        """Take no more."""
        with self._lock:
            self._closed = True

    def record(self, store: Store) -> int:
        """Write down what became of what the cycles took; returns how many lines it were.

        Raises:
            StoreError: it could not be written; the next call tries again.
        """
        with self._lock:
            probes = self._unrecorded
        if not probes:
            return 0
        record_injected(store, _lines(store, probes))
        with self._lock:
            self._unrecorded = self._unrecorded[len(probes) :]
        return len(probes)

    def record_rest(self, store: Store) -> int:
        """At the end: write down everything else too; returns how many nothing learned."""
        with self._lock:
            rest = [*self._unrecorded, *self._waiting]
            self._unrecorded, self._waiting = [], []
        if rest:
            record_injected(store, lines := _lines(store, rest))
            return sum(line.adapter_version is None for line in lines)
        return 0


def _lines(store: Store, probes: Iterable[Probe]) -> list[InjectedLine]:
    """What is to be written of `probes`, each with the current version that was taught it."""
    learned: dict[str, tuple[int | None, int]] = {}
    for adapter in (None, *store.adapters()):
        current = store.current(adapter)
        if current is not None:
            record = current.run_record()
            run = record.run.run_id if record else None
            for row in learned_by(current) or ():
                learned.setdefault(row.key, (run, current.number))
    lines = []
    for probe in probes:
        key = ChatRow("", probe.prompt, probe.reference).key
        run, version = learned.get(key, (None, None))
        lines.append(
            InjectedLine(
                prompt=probe.prompt,
                reference=probe.reference,
                tags=probe.tags,
                source_addr=probe.source,
                accepted_at=probe.accepted_at,
                run_id=run,
                adapter_version=version,
            )
        )
    return lines
