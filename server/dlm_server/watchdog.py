"""Ends the server when the editor that started it has died.

An editor that is killed often leaves stdin open, because another of its children holds the
pipe's other end; then only its process tells. On Linux the kernel is asked to tell (a process
descriptor, which cannot be mistaken for a later process with the same number); elsewhere the
process is looked for every second.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
#: how long the server may take to end in good order
GRACE_SECONDS = 1.0


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def watch(process: int, died: Callable[[], None]) -> None:
    """Call `died`, on another thread, when `process` ends; then end the server by force.

    A process that is not there to begin with is not watched: the client may live in another
    container, where its number means nothing here, and the end of stdin tells as well.
    """
    if process <= 0 or not alive(process):
        log.info("the client's process %d is not visible and is not watched", process)
        return

    def wait() -> None:
        _until_ended(process)
        log.warning("the client's process %d has ended", process)
        force_end_after(GRACE_SECONDS)
        died()

    threading.Thread(target=wait, name="watchdog", daemon=True).start()


def force_end_after(seconds: float) -> None:
    """End this process in `seconds` whatever it is doing then."""

    def end() -> None:
        time.sleep(seconds)
        os._exit(1)

    threading.Thread(target=end, name="end", daemon=True).start()


def _until_ended(process: int) -> None:
    opened = _descriptor(process)
    if opened is not None:
        try:
            select.select([opened], [], [])
            return
        finally:
            os.close(opened)
    while alive(process):
        time.sleep(POLL_SECONDS)


def _descriptor(process: int) -> int | None:
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
