"""Lines of a process's output, each within a time."""

from __future__ import annotations

import os
import select
import time


class Lines:
    """What comes out of the file descriptor `output`, line by line."""

    def __init__(self, output: int) -> None:
        self._output = output
        self._buffer = b""

    def next(self, seconds: float) -> str:
        """The next line, or "" when none came in time."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._output], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return ""
            chunk = os.read(self._output, 65536)
            assert chunk, "the process that is read from died"
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()
