"""A client over real pipes to a server in this process, which forgives nothing.

`finish` fails when the server sent a message that no test looked at, or answered a request
twice or never: a duplicate publish or a stray popup is a failure of whatever test caused it.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from dlm_server import transport
from dlm_server.dispatch import PARSE_ERROR
from dlm_server.framing import Framer, encoded
from dlm_server.serving import build, end

Json = dict[str, Any]
PATIENCE = 20.0
ID = "01KPQ9M3000000000000000000"
GOOD = f"---\ndlm_id: {ID}\ndlm_version: 15\nbase_model: smollm2-135m\n---\n"


class RemoteError(Exception):
    """The server answered with an error."""

    def __init__(self, error: Json) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.error = error


class Client:
    """An editor's side of the protocol. Every wait is for a message, never for time."""

    def __init__(self) -> None:
        server_reads, self._writes = os.pipe()
        self._reads, server_writes = os.pipe()
        self.server = build(transport.Writer(server_writes))
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._unread: list[Json] = []
        self._asked: set[int | str] = set()
        self._answers: Counter[int | str] = Counter()
        self._settings: object = None
        self._over = False
        loop = self.server.loop
        transport.start_reader(server_reads, loop.deliver, lambda: loop.post(loop.stop))
        self._loop = threading.Thread(target=self._run, args=(server_writes,), daemon=True)
        self._loop.start()
        threading.Thread(target=self._read, daemon=True).start()

    def _run(self, server_writes: int) -> None:
        self.server.loop.run(self.server.protocol)
        end(self.server)
        os.close(server_writes)

    def _read(self) -> None:
        framer = Framer()
        while data := os.read(self._reads, 1 << 16):
            for message in framer.feed(data):
                with self._changed:
                    self._take(message)
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _take(self, message: Json) -> None:
        assert message.get("jsonrpc") == "2.0", message
        if "method" not in message:
            self._answers[message["id"]] += 1
        elif message["method"] == "workspace/configuration" and self._settings is not None:
            answer = [self._settings for _ in message["params"]["items"]]
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": answer})
            return
        self._unread.append(message)

    # -- what the client says

    def send_bytes(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._writes, view) :]

    def send(self, message: object) -> None:
        self.send_bytes(encoded(message))

    def notify(self, method: str, params: object = None) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, method: str, params: object = None, number: int | str | None = None) -> int | str:
        """Send a request and do not wait; `answer` waits for its answer."""
        number = next(self._numbers) if number is None else number
        self._asked.add(number)
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        self.send(message if params is None else {**message, "params": params})
        return number

    def answer(self, number: int | str | None) -> Any:
        """The result of a request; `RemoteError` if it was answered with an error."""
        message = self._wait(lambda m: "method" not in m and m["id"] == number)
        if "error" in message:
            raise RemoteError(message["error"])
        return message["result"]

    def request(self, method: str, params: object = None) -> Any:
        return self.answer(self.ask(method, params))

    def expect(self, method: str, **wanted: object) -> Any:
        """The parameters of the next unread message with this method (and these values)."""
        return self.expect_message(method, **wanted).get("params")

    def expect_message(self, method: str, **wanted: object) -> Json:
        def fits(m: Json) -> bool:
            params = m.get("params") or {}
            return m.get("method") == method and all(
                params.get(key) == value for key, value in wanted.items()
            )

        return self._wait(fits)

    def reply(self, message: Json, result: object = None) -> None:
        """Answer a request of the server's."""
        self.send({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def _wait(self, fits: Any) -> Json:
        with self._changed:
            while True:
                for i, message in enumerate(self._unread):
                    if fits(message):
                        return self._unread.pop(i)
                if self._over or not self._changed.wait(PATIENCE):
                    raise AssertionError(f"not said; unread: {self._unread}")

    # -- a whole session

    def initialize(
        self,
        capabilities: Mapping[str, Any] | None = None,
        options: object = None,
        settings: object = None,
        **more: object,
    ) -> Any:
        """`initialize` and `initialized`; debounce is off unless `options` say otherwise."""
        self._settings = settings
        if options is None:
            options = {"dlm": {"diagnostics": {"debounceMilliseconds": 0}}}
        params = {
            "processId": None,
            "rootUri": None,
            "capabilities": capabilities or {},
            "initializationOptions": options,
            **more,
        }
        result = self.request("initialize", params)
        self.notify("initialized", {})
        return result

    def open(self, uri: str, text: str, version: int = 1) -> None:
        item = {"uri": uri, "languageId": "dlm", "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})

    def change(self, uri: str, version: int, *changes: Json) -> None:
        document = {"uri": uri, "version": version}
        params = {"textDocument": document, "contentChanges": list(changes)}
        self.notify("textDocument/didChange", params)

    def close(self, uri: str) -> None:
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def published(self, uri: str, version: int | None = None) -> list[Json]:
        """The diagnostics of the next publish for `uri`, which must be for `version`."""
        params = self.expect("textDocument/publishDiagnostics", uri=uri)
        assert params.get("version") == version
        items: list[Json] = params["diagnostics"]
        return items

    def settled(self) -> None:
        """Until everything sent so far has been handled and nothing is left to be published."""
        done = threading.Event()
        loop = self.server.loop
        # The second answer comes after whatever the server asked before the first.
        for _ in range(2):
            with pytest.raises(RemoteError):
                self.request("dlm/no-such-method")

        def rest(times: int) -> None:
            # Publishing may itself wait for a moment in which nothing else is to be done.
            if times:
                loop.when_idle(lambda: rest(times - 1))
            else:
                done.set()

        loop.post(lambda: rest(2))
        assert done.wait(PATIENCE)

    def settled_after_garbage(self) -> None:
        """As `settled`, where what was sent before may be reported as unreadable."""
        self.settled()
        with self._changed:
            self._unread = [
                m for m in self._unread if m.get("error", {}).get("code") != PARSE_ERROR
            ]

    def finish(self) -> None:
        """End the session; nothing may be unread, nothing unanswered, nothing answered twice."""
        answers, unread = self.leave()
        assert unread == []
        assert answers.keys() - {None} == self._asked
        assert all(n == 1 for i, n in answers.items() if i is not None)

    def leave(self) -> tuple[Counter[int | str], list[Json]]:
        """End the session; how often each request was answered, and what nobody looked at."""
        if self._loop.is_alive():
            if self.server.protocol.state.value == "initialized":
                self.answer(self.ask("shutdown", number="the end"))
            self.notify("exit")
        self._loop.join(PATIENCE)
        assert not self._loop.is_alive()
        with self._changed:
            self._changed.wait_for(lambda: self._over, PATIENCE)
        os.close(self._writes)
        return self._answers, self._unread


def insertion(line: int, character: int, text: str, removed: int = 0) -> Json:
    """One incremental change on one line."""
    end = {"line": line, "character": character + removed}
    return {"range": {"start": {"line": line, "character": character}, "end": end}, "text": text}


def codes(items: list[Json]) -> list[str]:
    return [item["code"] for item in items]
