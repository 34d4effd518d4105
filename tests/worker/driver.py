"""A client of the real worker for tests: sends requests, waits for what comes back.

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
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from dlm_engine.worker.wire import Message, WireError, frame, read_frame

SECONDS = 120.0


class Worker:
    """A running worker; use it as a context, which ends in no process left."""

    def __init__(self, home: Path, *, initialize: bool = True, **limits: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dlm_engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "DLM_THREADS": "1"},
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
        if initialize:
            self.initialize(home, **limits)

    def initialize(self, home: Path, parent: int | None = None, **limits: Any) -> Message:
        params = {"parent": parent or os.getpid(), "home": str(home), **limits}
        return self.ask("initialize", **params)

    def send(self, method: str, **params: Any) -> int:
        self._numbers += 1
        self.write({"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": params})
        return self._numbers

    def write(self, message: Message | bytes) -> None:
        assert self.process.stdin is not None
        data = message if isinstance(message, bytes) else frame(message)
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def ask(self, method: str, **params: Any) -> Message:
        """The whole answer to a request."""
        return self.answer(self.send(method, **params))

    def job(self, method: str, **params: Any) -> Message:
        """The result of a job."""
        result: Message = self.ask(method, **params)["result"]
        return result

    def answer(self, request: int) -> Message:
        return self.wait(lambda m: m.get("id") == request and "method" not in m)

    def progress(self, check: Callable[[Message], bool] = lambda params: True) -> Message:
        found: Message = self.wait(lambda m: m.get("method") == "progress" and check(m["params"]))[
            "params"
        ]
        return found

    def wait(self, check: Callable[[Message], bool], seconds: float = SECONDS) -> Message:
        """The first message that `check` accepts, among those that came or will come."""
        deadline = time.monotonic() + seconds
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
