"""What ends a worker that should not be there: no parent, nothing to do, no memory.

The invariant: none of it depends on the thread that computes. A thread of its own looks
four times a second and ends the process with `os._exit`, which is safe because the store
is crash-only. On Linux the kernel does the same at once when the parent dies. What a job
starts counts as memory of the worker and ends with it; as finding it means looking at every
process of the machine, it is looked for only while such a job runs.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psutil

_LOOK_SECONDS: Final = 0.25
_PR_SET_PDEATHSIG: Final = 1
_SIGKILL: Final = 9
#: Of the machine's memory, where nobody set a limit.
_SHARE: Final = 0.9


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, where it can (Linux).

    The signal comes when the *thread* that started us ends, so whoever starts a worker does
    it from a thread that lives as long as its process.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if not parent_lives(parent):
        os._exit(0)


def parent_lives(parent: int) -> bool:
    """Whether `parent` is still the process that started us."""
    return os.getppid() == parent


def default_memory_limit() -> int:
    """Bytes: 90 % of what the machine, or our share of it, has."""
    from dlm_engine.hardware.machine import detect_light

    return int(detect_light().ram * _SHARE)


def memory_used() -> int:
    """Bytes of this process in memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def memory_of_children() -> int:
    """Bytes of all that this process has started, and of what those have, in memory."""
    import psutil

    used = 0
    for child in _children():
        with suppress(psutil.Error):
            used += int(child.memory_info().rss)
    return used


def end_children() -> None:
    """Kill all that this process has started; the kernel does so by itself on Linux alone."""
    import psutil

    for child in _children():
        with suppress(psutil.Error):
            child.kill()


def _children() -> list[psutil.Process]:
    import psutil

    try:
        return psutil.Process().children(recursive=True)
    except psutil.Error:
        return []


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes; `idle` in seconds."""

    parent: int
    memory: int
    idle: float


@dataclass(frozen=True, slots=True)
class Reactions:
    """`idle_for`: seconds since there was anything to do, 0 while there is. `starts_others`:
    whether what runs now may start other processes. The others are called once, on the watching
    thread, and do not return."""

    idle_for: Callable[[], float]
    starts_others: Callable[[], bool]
    when_idle: Callable[[], None]
    when_full: Callable[[int], None]


def watch(limits: Limits, reactions: Reactions) -> None:
    """Start watching; returns at once."""
    threading.Thread(
        target=_watch, args=(limits, reactions), name="dlm-worker-guard", daemon=True
    ).start()


def _watch(limits: Limits, reactions: Reactions) -> None:
    pause = threading.Event()
    was_full = False
    while not pause.wait(_LOOK_SECONDS):
        if not parent_lives(limits.parent):
            os._exit(0)
        used = memory_used()
        if used > limits.memory:
            reactions.when_full(used)
        others = memory_of_children() if reactions.starts_others() else 0
        full = used + others > limits.memory
        # A process that is being started has our own memory for a moment.
        if full and was_full:
            reactions.when_full(used + others)
        was_full = full
        if reactions.idle_for() >= limits.idle:
            reactions.when_idle()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error`, or what caused it, is a want of memory, of the machine or its GPU."""
    while error is not None:
        said = str(error)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if "not enough memory" in said or "can't allocate memory" in said:
            return True
        error = error.__cause__ or error.__context__
    return False
