"""The one thread that owns the session: what arrives, timers, and work for when nothing waits.

Handlers run here one after another, so nothing needs a lock and the order of messages is the
order of effects. Everything that has arrived is taken in before anything is handled: a
cancellation overtakes the question it is about, and a question can be seen to be out of date.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Protocol

log = logging.getLogger(__name__)

#: a turn of the loop that takes longer is worth a line in the log
LONG_TURN_SECONDS = 0.1
#: work for idle times runs after this long at the latest
PATIENCE_SECONDS = 1.0


class Consumer(Protocol):
    """Who handles the messages."""

    def take(self, message: Any) -> None:
        """Note that a message has arrived."""

    def step(self) -> bool:
        """Handle the oldest message; False when none waits."""


class Timer:
    """Runs once, unless cancelled before."""

    __slots__ = ("act", "cancelled")

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """Runs what it is given, on the thread that called `run`, until `stop`."""

    def __init__(self) -> None:
        self._arrived: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._idle: deque[tuple[float, Timer]] = deque()
        self._stopped = False

    def post(self, act: Callable[[], None]) -> None:
        """Run `act` soon. Any thread may call this."""
        self._arrived.put((False, act))

    def deliver(self, message: Any) -> None:
        """Hand over a message from the client. Any thread may call this."""
        self._arrived.put((True, message))

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        timer = Timer(act)
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._order), timer))
        return timer

    def when_idle(self, act: Callable[[], None]) -> Timer:
        """Run `act` when no message waits, or when it has waited long enough itself."""
        timer = Timer(act)
        self._idle.append((time.monotonic() + PATIENCE_SECONDS, timer))
        return timer

    def stop(self) -> None:
        self._stopped = True

    def run(self, consumer: Consumer) -> None:
        while not self._stopped:
            self._take_in(consumer)
            began = time.monotonic()
            if not self._turn(consumer, began):
                self._wait(consumer)
                continue
            if (took := time.monotonic() - began) > LONG_TURN_SECONDS:
                log.info("a turn of the loop took %.0f ms", took * 1000)

    def _take_in(self, consumer: Consumer) -> None:
        """Everything that has arrived, without waiting."""
        while not self._stopped:
            try:
                item = self._arrived.get_nowait()
            except Empty:
                return
            self._take(consumer, item)

    def _take(self, consumer: Consumer, item: tuple[bool, Any]) -> None:
        is_message, value = item
        if is_message:
            consumer.take(value)
        else:
            self._guarded(value)

    def _turn(self, consumer: Consumer, now: float) -> bool:
        """Do one thing; False when there is nothing to do."""
        if self._timers and self._timers[0][0] <= now:
            self._run(heapq.heappop(self._timers)[2])
            return True
        if self._idle and self._idle[0][0] <= now:
            self._run(self._idle.popleft()[1])
            return True
        if consumer.step():
            return True
        if self._idle:
            self._run(self._idle.popleft()[1])
            return True
        return False

    def _wait(self, consumer: Consumer) -> None:
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        try:
            item = self._arrived.get(timeout=timeout)
        except Empty:
            return
        self._take(consumer, item)

    def _run(self, timer: Timer) -> None:
        if not timer.cancelled:
            self._guarded(timer.act)

    def _guarded(self, act: Callable[[], None]) -> None:
        # One fault must not end the server: whatever is open in the editor stays served.
        try:
            act()
        except Exception:
            log.exception("work on the loop failed")
