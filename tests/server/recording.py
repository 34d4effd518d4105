"""A recorded session of an editor, and playing its half to a server that is there now.

The client's messages are sent in their order, each one once everything has come that the
server had said before it. What must be the same is what does not change with every wording:
which requests are answered, with what kind of answer, which problems are shown. Where the
recording itself was a race (an answer that was cancelled, problems of a text that had already
changed) either end of it is right.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlm_server.framing import Framer, encoded
from dlm_server.from_proto import path_of

Json = dict[str, Any]
RECORDINGS = Path(__file__).with_name("recordings")
#: stands in a recording for the folder of its session
FOLDER = "{folder}"
PATIENCE = 60.0
_PUBLISH = "textDocument/publishDiagnostics"
_CANCELLED = -32800


@dataclass(frozen=True, slots=True)
class Entry:
    """One message; `key` is what finds its like in another session, `saved` what a file holds
    when the client tells of it."""

    client: bool
    message: Json
    key: tuple[object, ...]
    saved: str | None = None


@dataclass(slots=True)
class Keys:
    """Keys of the messages of one session, in the order in which they came."""

    count: Counter[str] = field(default_factory=Counter)

    def key(self, message: Json) -> tuple[object, ...]:
        method = message.get("method")
        if method is None:
            return ("answer", message["id"])
        if method == _PUBLISH:
            return (method, message["params"]["uri"], message["params"].get("version"))
        self.count[method] += 1
        return (method, self.count[method])


def load(path: Path, folder: Path) -> list[Entry]:
    """The messages of a recording, as said in `folder`."""
    entries: list[Entry] = []
    keys = {"client": Keys(), "server": Keys()}
    for line in path.read_text(encoding="utf-8").splitlines():
        said = json.loads(line.replace(FOLDER, str(folder)))
        message = said["message"]
        side = said["from"]
        entries.append(Entry(side == "client", message, keys[side].key(message), said.get("saved")))
    return entries


def raced(entries: Sequence[Entry]) -> set[tuple[object, ...]]:
    """Keys of what the server might as well have said otherwise, or not at all."""
    cancelled = {
        ("answer", e.message["params"]["id"])
        for e in entries
        if e.client and e.message.get("method") == "$/cancelRequest"
    }
    newest: dict[str, int | None] = {}
    stale: set[tuple[object, ...]] = set()
    for entry in entries:
        method, params = entry.message.get("method"), entry.message.get("params") or {}
        if entry.client and method in {"textDocument/didOpen", "textDocument/didChange"}:
            newest[params["textDocument"]["uri"]] = params["textDocument"]["version"]
        elif entry.client and method == "textDocument/didClose":
            newest.pop(params["textDocument"]["uri"], None)
        elif method == _PUBLISH and newest.get(params["uri"]) != params.get("version"):
            stale.add(entry.key)
    return cancelled | stale


class Server:
    """A server process that is told the client's half."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env=dict(environment), stdin=pipe, stdout=pipe, stderr=pipe
        )
        self.said: dict[tuple[object, ...], Json] = {}
        self.twice: list[Json] = []
        self._keys = Keys()
        self._changed = threading.Condition()
        self._over = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        framer = Framer()
        while data := os.read(self.process.stdout.fileno(), 1 << 16):
            for message in framer.feed(data):
                with self._changed:
                    key = self._keys.key(message)
                    if key in self.said:
                        self.twice.append(message)
                    self.said[key] = message
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def tell(self, message: Json) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(encoded(message))
        self.process.stdin.flush()

    def heard(self, key: tuple[object, ...]) -> Json:
        """The message of this key, once it has come."""
        with self._changed:
            self._changed.wait_for(lambda: key in self.said or self._over, PATIENCE)
            assert key in self.said, f"never said: {key}; said: {list(self.said)}"
            return self.said[key]

    def ended(self) -> tuple[int, str]:
        """Exit code and standard error."""
        code = self.process.wait(PATIENCE)
        with self._changed:
            assert self._changed.wait_for(lambda: self._over, PATIENCE)
        assert self.process.stderr is not None
        return code, self.process.stderr.read().decode()


def play(entries: Sequence[Entry], server: Server) -> None:
    """Tell `server` what the client said, and wait wherever the client had been answered."""
    uncertain = raced(entries)
    numbers: dict[object, object] = {}
    for entry in entries:
        if not entry.client:
            if entry.key not in uncertain or entry.key[0] == "answer":
                heard = server.heard(entry.key)
                if "method" in heard and "id" in heard:
                    numbers[entry.message["id"]] = heard["id"]
            continue
        message = entry.message
        if entry.saved is not None:
            path = path_of(message["params"]["textDocument"]["uri"])
            assert path is not None
            path.write_bytes(entry.saved.encode())
        if "method" not in message:
            message = {**message, "id": numbers[message["id"]]}
        server.tell(message)


def differences(entries: Sequence[Entry], said: Mapping[tuple[object, ...], Json]) -> list[str]:
    """What the server said otherwise than in the recording, in words."""
    uncertain = raced(entries)
    asked = {e.message["id"]: e.message["method"] for e in entries if e.client and _asks(e)}
    recorded = {e.key: e.message for e in entries if not e.client}
    found = []
    for key, old in recorded.items():
        new = said.get(key)
        if new is None:
            if key not in uncertain:
                found.append(f"not said: {key}")
            continue
        if key in uncertain and _CANCELLED in {_error(old), _error(new)}:
            continue
        what = asked.get(old.get("id"), key) if key[0] == "answer" else key
        if _error(new) != _error(old):
            found.append(f"{what}: {new}")
        elif _problems(new) != _problems(old):
            found.append(f"{what}: {_problems(new)} instead of {_problems(old)}")
        elif _kind(_content(new)) != _kind(_content(old)):
            found.append(f"{what}: {_kind(_content(new))} instead of {_kind(_content(old))}")
    unexpected = said.keys() - recorded.keys()
    return found + [f"unexpected: {said[key]}" for key in unexpected if not _early(key, recorded)]


def _asks(entry: Entry) -> bool:
    return "method" in entry.message and "id" in entry.message


def _early(key: tuple[object, ...], recorded: Mapping[tuple[object, ...], Json]) -> bool:
    """Whether these are problems of a text for which the recorded server had no time."""
    return key[0] == _PUBLISH and any(
        other[:2] == key[:2] and other[2] > key[2]  # type: ignore[operator]
        for other in recorded
    )


def _error(message: Json) -> int | None:
    code: int | None = message.get("error", {}).get("code")
    return code


def _content(message: Json) -> Any:
    return message.get("result", message.get("params"))


def _problems(message: Json) -> list[tuple[object, ...]] | None:
    content = _content(message)
    if not isinstance(content, dict):
        return None
    shown = content.get("diagnostics" if message.get("method") == _PUBLISH else "items")
    if not shown or "severity" not in shown[0]:
        return None
    return sorted((d["code"], d["severity"], json.dumps(d["range"], sort_keys=True)) for d in shown)


def _kind(content: Any) -> object:
    """What an answer is made of, without what stands in it."""
    if isinstance(content, dict):
        return {name: _name(value) for name, value in content.items()}
    if isinstance(content, list):
        return sorted({_name(item) for item in content})
    return _name(content)


def _name(value: object) -> str:
    if isinstance(value, list):
        return f"list of {sorted({type(item).__name__ for item in value})}"
    return type(value).__name__
