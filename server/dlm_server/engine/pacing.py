"""At most so many calls a second on the loop, and always one after the last change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from dlm_server.engine.process import Loop, Timer

INTERVAL: Final = 0.05


class Paced:
    """`mark` has `act` called: on the next turn, or `interval` seconds after the last call."""

    def __init__(
        self,
        loop: Loop,
        act: Callable[[], None],
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._act = act
        self._interval = interval
        self._clock = clock
        self._acted_at = -interval
        self._timer: Timer | None = None

    def mark(self) -> None:
        if self._timer is not None:
            return
        # Never at once: what changes together is told together, when all of it has changed.
        left = self._acted_at + self._interval - self._clock()
        self._timer = self._loop.after(max(0.0, left), self._fire)

    def flush(self) -> None:
        """Call `act` now if it is due at all."""
        if self._timer is not None:
            self._timer.cancel()
            self._fire()

    def _fire(self) -> None:
        self._timer = None
        self._acted_at = self._clock()
        self._act()
