"""A process that tests talk to in framed JSON: says things, waits for what comes back.

Reads on a thread into lists under one condition, so a test waits for an event and never for
a length of time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from dlm_engine.worker.wire import Message, WireError, frame, read_frame


class Peer:
    """A running module; use it as a context, at whose end no process is left."""

    #: how long to wait for a message at the most
    seconds = 60.0

    def __init__(self, *command: str, threads: str) -> None:
        """`threads` is how many the engine takes; empty for all. What `heard` needs must be
        there already."""
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "DLM_THREADS": threads},
        )
        self.messages: list[Message] = []
        self.trouble: WireError | None = None
        self.errors = b""
        self.ended = False
        self._arrived = threading.Condition()
        self._numbers = 0
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def write(self, message: Message | bytes) -> None:
        assert self.process.stdin is not None
        data = message if isinstance(message, bytes) else frame(message)
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, method: str, **params: Any) -> int:
        """Ask and do not wait; the number of the question."""
        self._numbers += 1
        self.write({"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": params})
        return self._numbers

    def answer(self, request: int) -> Message:
        """The whole answer to a question."""
        return self.wait(lambda m: m.get("id") == request and "method" not in m)

    def wait(self, check: Callable[[Message], bool], seconds: float | None = None) -> Message:
        """The first message that `check` accepts, among those that came or will come."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        with self._arrived:
            while True:
                for message in self.messages:
                    if check(message):
                        return message
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    raise AssertionError(
                        f"it never came; there were {self.messages[-20:]}, "
                        f"{self.errors.decode(errors='replace')[-3000:]}"
                    )
                self._arrived.wait(left)

    def heard(self, message: Message) -> None:
        """Called on the reading thread with every message, before any test sees it."""

    def end(self, seconds: float = 10) -> int:
        """The exit status, once it has ended by itself."""
        status = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return status

    def _read(self) -> None:
        stream = cast("BinaryIO", self.process.stdout)
        try:
            while (message := read_frame(stream)) is not None:
                self.heard(message)
                with self._arrived:
                    self.messages.append(message)
                    self._arrived.notify_all()
        except WireError as error:
            self.trouble = error
        with self._arrived:
            self.ended = True
            self._arrived.notify_all()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors += line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.end()
        assert self.process.stdin is not None
        self.process.stdin.close()
