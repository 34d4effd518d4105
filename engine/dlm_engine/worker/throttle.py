"""At most so many messages a second, and always the last.

What comes too soon is kept; the next one takes its place (`merge` may keep something of
it), and whoever ends the job calls `flush`, so the last state is never lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

INTERVAL = 0.05


class Throttle(Generic[T]):
    """Passes values on to `send`, `interval` seconds apart. For one thread."""

    def __init__(
        self,
        send: Callable[[T], None],
        merge: Callable[[T, T], T] = lambda old, new: new,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._merge = merge
        self._interval = interval
        self._clock = clock
        self._sent_at = -interval
        self._kept: list[T] = []

    def offer(self, value: T) -> None:
        """Send `value` now or keep it, merged with what is kept already."""
        self._kept = [self._merge(self._kept[0], value) if self._kept else value]
        if self._clock() - self._sent_at >= self._interval:
            self.flush()

    def flush(self) -> None:
        """Send what is kept."""
        if self._kept:
            value = self._kept.pop()
            self._sent_at = self._clock()
            self._send(value)
