"""A small process that forks the ones to be killed, so that imports are paid for once."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.crash.lines import Lines


class Nursery:
    """Starts processes and reads what they acknowledge."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input = process.stdin
        self._lines = Lines(process.stdout.fileno())

    def start(self, home: Path) -> int:
        """The process number of the one just started."""
        self._input.write(os.fsencode(home) + b"\n")
        self._input.flush()
        while not (line := self.line(120)).startswith("started "):
            assert line, "nothing was started"
        return int(line.split()[1])

    def line(self, seconds: float) -> str:
        """The next line, or "" when none came in time."""
        return self._lines.next(seconds)

    def kill(self, child: int) -> int:
        """End the run; returns the last version it told of that had not been read, or 0."""
        os.kill(child, signal.SIGKILL)
        told = 0
        while (line := self.line(60)) != "gone":
            told = number_in(line)
        return told


def number_in(line: str) -> int:
    word, _, number = line.partition(" ")
    assert word == "committed", line
    return int(number)
