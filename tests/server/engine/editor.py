"""An editor for tests: starts the real server, answers what it asks, keeps all it says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.peer import Peer

from dlm_engine.worker.wire import Message

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


class Editor(Peer):
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
        super().__init__("-m", "dlm_server", threads="" if threads is None else str(threads))
        self.versions: dict[str, int] = {}
        #: which of the offered actions this user takes
        self.choice: str | None = None
        #: and before that, one after the other
        self.choices: list[str] = []
        #: questions for settings that wait for `give_settings`; None: they are answered at once
        self._held: list[Message] | None = None
        able = {
            **(capabilities or CAPABILITIES),
            "experimental": {"dlm": dict.fromkeys(shows, True)},
        }
        self.ask("initialize", processId=os.getpid(), rootUri=None, capabilities=able)
        self.tell("initialized")

    # --- asking and telling --------------------------------------------------------------

    def tell(self, method: str, **params: Any) -> None:
        self.write({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        """The answer's result; fails on an error."""
        answer = self.answer(self.send(method, **params))
        assert "error" not in answer, answer
        return answer["result"]

    def send_command(self, command: str, **argument: Any) -> int:
        return self.send("workspace/executeCommand", command=command, arguments=[argument])

    def command(self, name: str, **argument: Any) -> Any:
        return self.ask("workspace/executeCommand", command=name, arguments=[argument])

    def refused(self, name: str, **argument: Any) -> str:
        """The message of the error that a command ends in."""
        answer = self.answer(self.send_command(name, **argument))
        return str(answer["error"]["message"])

    def cancel(self, request: int) -> None:
        self.tell("$/cancelRequest", id=request)

    def answered(self, request: int) -> bool:
        with self._arrived:
            return any(m.get("id") == request and "method" not in m for m in self.messages)

    def hold_settings(self) -> None:
        """From now on questions for the settings wait."""
        self._held = []

    def give_settings(self) -> None:
        """Answer them."""
        self.wait(lambda message: bool(self._held))
        held, self._held = self._held or [], None
        for message in held:
            self._reply(message)

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

    def worker(self) -> int | None:
        """The process number of the engine's worker."""
        found = self.command("dlm.debugInformation")["engine"]["pid"]
        return int(found) if found is not None else None

    # --- inside --------------------------------------------------------------------------

    def heard(self, message: Message) -> None:
        if "id" in message and "method" in message:
            self._reply(message)

    def _reply(self, message: Message) -> None:
        result: Any = None
        if message["method"] == "workspace/configuration":
            if self._held is not None:
                self._held.append(message)
                return
            result = [self.settings]
        elif message["method"] == "workspace/applyEdit":
            result = {"applied": True}
        elif message["method"] == "window/showMessageRequest":
            actions = message["params"]["actions"]
            choice = self.choices.pop(0) if self.choices else self.choice
            result = next((a for a in actions if a["title"] == choice), None)
        self.write({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self.process.poll() is None:
            self.ask("shutdown")
            self.tell("exit")
            self.process.wait(10)
        super().__exit__(kind, error, trace)
        assert error is not None or b"Traceback" not in self.errors, self.errors.decode()
