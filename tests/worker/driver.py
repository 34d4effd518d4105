"""A client of the real worker for tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.peer import Peer

from dlm_engine.worker.wire import Message


class Worker(Peer):
    """A running worker; use it as a context, which ends in no process left."""

    seconds = 120.0
    command: tuple[str, ...] = ("-P", "-m", "dlm_engine.worker")

    def __init__(self, home: Path, *, initialize: bool = True, **limits: Any) -> None:
        super().__init__(*self.command, threads="1")
        if initialize:
            self.initialize(home, **limits)

    def initialize(self, home: Path, parent: int | None = None, **limits: Any) -> Message:
        params = {"parent": parent or os.getpid(), "home": str(home), **limits}
        return self.ask("initialize", **params)

    def ask(self, method: str, **params: Any) -> Message:
        """The whole answer to a request."""
        return self.answer(self.send(method, **params))

    def job(self, method: str, **params: Any) -> Message:
        """The result of a job."""
        result: Message = self.ask(method, **params)["result"]
        return result

    def progress(self, check: Callable[[Message], bool] = lambda params: True) -> Message:
        found: Message = self.wait(lambda m: m.get("method") == "progress" and check(m["params"]))[
            "params"
        ]
        return found
