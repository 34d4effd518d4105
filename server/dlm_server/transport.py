"""The two pipes to the client: fd 1 kept for the protocol, stdin read by a thread of its own.

`claim` runs before anything else is imported: it moves the protocol to private descriptors,
points fd 1 at stderr and fd 0 at nothing, so that a `print`, a library's banner or a child
process can neither write into the protocol nor eat from it. The reader shares no pool with
anything, so no work can keep the server from noticing that the client has gone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

_CHUNK = 1 << 18


def claim() -> tuple[int, int]:
    """(descriptor to read the protocol from, descriptor to write it to)."""
    incoming, outgoing = os.dup(0), os.dup(1)
    for descriptor in (incoming, outgoing):
        os.set_inheritable(descriptor, False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


class Writer:
    """Writes whole messages. Once the client has gone, what is written is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.broken = False

    def __call__(self, data: bytes) -> None:
        if self.broken:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self.broken = True


def start_reader(
    descriptor: int, deliver: Callable[[Any], None], at_end: Callable[[], None]
) -> threading.Thread:
    """A thread that delivers every message from `descriptor`, and then tells that it ended."""
    from dlm_server.framing import Framer

    def read() -> None:
        framer = Framer()
        try:
            while data := os.read(descriptor, _CHUNK):
                for message in framer.feed(data):
                    deliver(message)
        except OSError:
            pass
        finally:
            at_end()

    thread = threading.Thread(target=read, name="stdin", daemon=True)
    thread.start()
    return thread
