"""An editor for tests: starts the real server, answers what it asks, keeps all it says."""

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

from dlm_engine.worker.wire import Message, frame, read_frame

SECONDS = 60.0
MANUAL, AFTER_DELAY, FOCUS_OUT = 1, 2, 3

CAPABILITIES: dict[str, Any] = {
    "general": {"positionEncodings": ["utf-32"]},
    "window": {"workDoneProgress": True, "showMessage": {"messageActionItem": {}}},
    "workspace": {
        "applyEdit": True,
        "codeLens": {"refreshSupport": True},
        "configuration": True,
        "workspaceEdit": {"documentChanges": True},
    },
}


class Editor:
    """One editor and its server; use it as a context. `settings` are those below `dlm`.

    Its engine takes one thread, so that tests leave a core to each other; None for all.
    `shows` are the extensions it knows.
    """

    def __init__(
        self,
        home: Path,
        settings: dict[str, Any] | None = None,
        threads: int | None = 1,
        shows: tuple[str, ...] = ("sectionResults", "status"),
        capabilities: dict[str, Any] | None = None,
    ) -> None:
        self.settings: dict[str, Any] = {
            "home": str(home),
            "train": {"settleMilliseconds": 0},
            **(settings or {}),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dlm_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "DLM_THREADS": "" if threads is None else str(threads)},
        )
        self.messages: list[Message] = []
        #: which of the offered actions this user takes
        self.choice: str | None = None
        self.errors = b""
        self.ended = False
        self.versions: dict[str, int] = {}
        self._arrived = threading.Condition()
        self._numbers = 0
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        able = {
            **(capabilities or CAPABILITIES),
            "experimental": {"dlm": dict.fromkeys(shows, True)},
        }
        self.ask("initialize", processId=os.getpid(), rootUri=None, capabilities=able)
        self.tell("initialized")

    # --- asking and telling --------------------------------------------------------------

    def tell(self, method: str, **params: Any) -> None:
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def send(self, method: str, **params: Any) -> int:
        self._numbers += 1
        request = {"jsonrpc": "2.0", "id": self._numbers, "method": method, "params": params}
        self._write(request)
        return self._numbers

    def ask(self, method: str, **params: Any) -> Any:
        """The answer's result; fails on an error."""
        answer = self.answer(self.send(method, **params))
        assert "error" not in answer, answer
        return answer["result"]

    def answer(self, request: int) -> Message:
        return self.wait(lambda m: m.get("id") == request and "method" not in m)

    def send_command(self, command: str, **argument: Any) -> int:
        return self.send("workspace/executeCommand", command=command, arguments=[argument])

    def command(self, name: str, **argument: Any) -> Any:
        return self.ask("workspace/executeCommand", command=name, arguments=[argument])

    def refused(self, name: str, **argument: Any) -> str:
        """The message of the error that a command ends in."""
        answer = self.answer(self.send_command(name, **argument))
        return str(answer["error"]["message"])

    # --- documents -----------------------------------------------------------------------

    def open(self, path: Path) -> str:
        """The URI of the file, opened."""
        uri = path.as_uri()
        self.versions[uri] = 1
        item = {"uri": uri, "languageId": "dlm", "version": 1, "text": path.read_text()}
        self.tell("textDocument/didOpen", textDocument=item)
        return uri

    def edit(self, uri: str, text: str) -> None:
        """Replace the whole text."""
        self.versions[uri] += 1
        self.tell(
            "textDocument/didChange",
            textDocument={"uri": uri, "version": self.versions[uri]},
            contentChanges=[{"text": text}],
        )

    def save(self, uri: str, path: Path, text: str, reason: int | None = MANUAL) -> None:
        """Edit and save; without a reason nothing is said before the save."""
        self.edit(uri, text)
        path.write_text(text)
        if reason is not None:
            self.tell("textDocument/willSave", textDocument={"uri": uri}, reason=reason)
        self.tell("textDocument/didSave", textDocument={"uri": uri})

    # --- listening -----------------------------------------------------------------------

    def forget(self) -> None:
        """What came until now is not found any more."""
        with self._arrived:
            self.messages.clear()

    def told(self, method: str) -> list[Any]:
        """The parameters of every notification so far."""
        with self._arrived:
            return [m["params"] for m in self.messages if m.get("method") == method]

    def status(self, check: Callable[[Any], bool], after: int = 0) -> Any:
        """The first status past the first `after` that `check` accepts."""
        return self._nth("dlm/status", check, after)

    def results(self, check: Callable[[Any], bool], after: int = 0) -> Any:
        return self._nth("dlm/sectionResults", check, after)

    def count(self, method: str) -> int:
        with self._arrived:
            return sum(message.get("method") == method for message in self.messages)

    def _nth(self, method: str, check: Callable[[Any], bool], after: int) -> Any:
        found: list[Any] = []

        def look(message: Message) -> bool:
            mine = [m["params"] for m in self.messages if m.get("method") == method][after:]
            found[:] = [params for params in mine if check(params)]
            return bool(found)

        self.wait(look)
        return found[0]

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
                        f"it never came; there were {self.messages[-4:]}, "
                        f"{self.errors.decode(errors='replace')[-3000:]}"
                    )
                self._arrived.wait(left)

    def worker(self) -> int | None:
        """The process number of the engine's worker."""
        found = self.command("dlm.debugInformation")["engine"]["pid"]
        return int(found) if found is not None else None

    # --- inside --------------------------------------------------------------------------

    def _write(self, message: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frame(message))
        self.process.stdin.flush()

    def _read(self) -> None:
        stream = cast("BinaryIO", self.process.stdout)
        while (message := read_frame(stream)) is not None:
            if "id" in message and "method" in message:
                self._reply(message)
            with self._arrived:
                self.messages.append(message)
                self._arrived.notify_all()
        with self._arrived:
            self.ended = True
            self._arrived.notify_all()

    def _reply(self, message: Message) -> None:
        result: Any = None
        if message["method"] == "workspace/configuration":
            result = [self.settings]
        elif message["method"] == "workspace/applyEdit":
            result = {"applied": True}
        elif message["method"] == "window/showMessageRequest":
            actions = message["params"]["actions"]
            result = next((a for a in actions if a["title"] == self.choice), None)
        self._write({"jsonrpc": "2.0", "id": message["id"], "result": result})

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
        if self.process.poll() is None:
            if error is None:
                self.ask("shutdown")
                self.tell("exit")
                self.process.wait(10)
            else:
                self.process.kill()
        self.process.wait(10)
        for reader in self._readers:
            reader.join(10)
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert error is not None or b"Traceback" not in self.errors, self.errors.decode()
