"""Ctrl-C and SIGTERM while a job runs: the first asks it to stop well, the second stops it.

A job that has begun its steps can end after the one it is in and keep what it has; before
that there is nothing to keep, so stopping at once is best.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = tuple(
    number for name in ("SIGINT", "SIGTERM") if (number := getattr(signal, name, None)) is not None
)


@dataclass
class Stop:
    """`asked` turns true at the first signal after `begun` was set."""

    tell: Callable[[str], None]
    begun: bool = False
    asked: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.asked or not self.begun:
            raise KeyboardInterrupt
        self.asked = True
        self.tell("stopping after this step; again to stop at once")


@contextmanager
def stopping(tell: Callable[[str], None]) -> Iterator[Stop]:
    """Handle the signals while the block runs."""
    stop = Stop(tell)
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
