"""A loop for tests: the same promises as the server's, turned by hand until something is so."""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable

SECONDS = 60.0


class Timer:
    def __init__(self, act: Callable[[], None]) -> None:
        self.act: Callable[[], None] | None = act

    def cancel(self) -> None:
        self.act = None


class TurnedLoop:
    """Runs what is posted and timers that are due, within `until`. `hurry` makes time pass
    faster for the timers."""

    def __init__(self, hurry: float = 1.0) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread = threading.get_ident()
        self.hurry = hurry
        #: every delay that was asked for
        self.delays: list[float] = []

    def post(self, act: Callable[[], None]) -> None:
        self._posted.put(act)

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        assert threading.get_ident() == self._thread
        self.delays.append(seconds)
        timer = Timer(act)
        due = time.monotonic() + seconds / self.hurry
        heapq.heappush(self._timers, (due, next(self._order), timer))
        return timer

    def until(self, so: Callable[[], object], seconds: float = SECONDS) -> None:
        """Turn until `so()`, which fails the test after `seconds`."""
        deadline = time.monotonic() + seconds
        while not so():
            now = time.monotonic()
            assert now < deadline, "it never came to be"
            due = self._timers[0][0] if self._timers else deadline
            try:
                self._posted.get(timeout=max(0.0, min(due, deadline) - now))()
            except queue.Empty:
                self._fire()

    def drain(self) -> None:
        """Run what has been posted already."""
        while True:
            try:
                self._posted.get_nowait()()
            except queue.Empty:
                return

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= time.monotonic():
            act = heapq.heappop(self._timers)[2].act
            if act is not None:
                act()
