"""What the language server costs beside a bare pygls server and dlm-lsp in the same run.

Run: `python -m tests.bench server [--runs N] [--no-peer] [--other COMMAND]`. Prints the time from
starting a process to its answer to `initialize`, alternating between the servers so that a
busy machine disturbs all alike; resident memory when idle; the time from a one-character
edit to the diagnostics of that version, at 10 KB and at 1 MB, with the debounce off; a burst of
50 edits at 1 MB; and hovers. `--no-peer` leaves dlm-lsp out, which is installed once into
`.cache/peers`; `--other` measures one more server's start. dlm-lsp takes whole documents and
shows at most one problem of the format; making the message is not counted. Medians are held
against the bars below, which are for an otherwise idle machine; the exit code is 1 where one is
missed. Hovers while a training runs are in `python -m tests.bench saves`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.learning.bars import Bar
from tests.bench.peers import dlm_lsp

OURS = [sys.executable, "-m", "dlm_server"]
#: what a server made with pygls does at the least: it publishes that there are no problems
BARE_SERVER = """
from lsprotocol import types
from pygls.lsp.server import LanguageServer

server = LanguageServer("bare", "1")

@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
def did_open(ls, params):
    item = params.text_document
    ls.text_document_publish_diagnostics(types.PublishDiagnosticsParams(item.uri, [], item.version))

server.start_io()
"""
BARE = [sys.executable, "-c", BARE_SERVER]
URI = "file:///bench/notes.dlm"
HEAD = "---\ndlm_id: 01KPQ9M3000000000000000000\ndlm_version: 15\nbase_model: smollm2-135m\n---\n\n"


#: start to answer, as a multiple of a bare pygls server's
_START: Final = 1.3
#: milliseconds from an edit to its diagnostics, by the size of the document in bytes
_EDIT: Final = {10_000: 1.0, 1_000_000: 8.0}
_BURST: Final = 250.0
_MEGABYTES: Final = 90.0


class Editor:
    """One server process and the pipes to it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._numbers = itertools.count(1)
        self.whole_documents = False

    def send(self, message: dict[str, Any]) -> None:
        self.send_bytes(framed(message))

    def send_bytes(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message

    def request(self, method: str, params: object) -> Any:
        number = next(self._numbers)
        self.send({"id": number, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == number and "method" not in message:
                return message.get("result")

    def notify(self, method: str, params: object) -> None:
        self.send({"method": method, "params": params})

    def initialize(self) -> float:
        """Seconds from the start of the process to the answer."""
        options = {"dlm": {"diagnostics": {"debounceMilliseconds": 0}}}
        params = {
            "processId": os.getpid(),
            "rootUri": None,
            "capabilities": {},
            "initializationOptions": options,
        }
        offered = self.request("initialize", params)["capabilities"]
        took = time.perf_counter() - self.began
        sync = offered.get("textDocumentSync")
        self.whole_documents = (sync.get("change") if isinstance(sync, dict) else sync) == 1
        self.notify("initialized", {})
        return took

    def memory(self) -> float:
        """Resident MB of the process."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000

    def published(self, version: int) -> float:
        """When the diagnostics of `version` came, or of a version that is not said."""
        while True:
            message = self.receive()
            published = message.get("method") == "textDocument/publishDiagnostics"
            if published and message["params"].get("version") in {version, None}:
                return time.perf_counter()

    def leave(self) -> None:
        self.request("shutdown", None)
        self.notify("exit", None)
        self._process.wait(10)


def framed(message: dict[str, Any]) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def document(size: int) -> str:
    parts, length = [HEAD], len(HEAD)
    for number in itertools.count():
        if length >= size:
            return "".join(parts)
        parts.append(
            f"::instruction::\n### Q\nWhat is item {number} and why does it matter?\n\n"
            f"### A\nItem {number} is entry {number} of a list made for measuring.\n\n"
        )
        length += len(parts[-1])
    raise AssertionError


def start_milliseconds(
    commands: Sequence[Sequence[str]], runs: int
) -> list[list[tuple[float, float]]]:
    """(start to answer, start to first diagnostics) of every command, in rounds."""
    times: list[list[tuple[float, float]]] = [[] for _ in commands]
    item = {"uri": URI, "languageId": "dlm", "version": 1, "text": document(10_000)}
    for _ in range(runs):
        for command, taken in zip(commands, times, strict=True):
            editor = Editor(command)
            answer = editor.initialize() * 1000
            editor.notify("textDocument/didOpen", {"textDocument": item})
            taken.append((answer, (editor.published(1) - editor.began) * 1000))
            editor.leave()
    return times


class Typing:
    """One-character edits in the middle of a document, as the server wants to be told of them."""

    def __init__(self, command: Sequence[str], size: int) -> None:
        self.editor = Editor(command)
        self.editor.initialize()
        text = document(size)
        item = {"uri": URI, "languageId": "dlm", "version": 1, "text": text}
        self.editor.notify("textDocument/didOpen", {"textDocument": item})
        self.editor.published(1)
        self._lines = text.split("\n")
        middle = range(len(self._lines) // 2, len(self._lines))
        self._line = next(i for i in middle if self._lines[i].startswith("Item"))

    def edit(self, version: int) -> bytes:
        place = {"line": self._line, "character": 0}
        change: dict[str, Any] = {"range": {"start": place, "end": place}, "text": "x"}
        if self.editor.whole_documents:
            self._lines[self._line] = "x" + self._lines[self._line]
            change = {"text": "\n".join(self._lines)}
        params = {"textDocument": {"uri": URI, "version": version}, "contentChanges": [change]}
        return framed({"method": "textDocument/didChange", "params": params})


def edit_milliseconds(command: Sequence[str], size: int, number: int) -> list[float]:
    """From one-character edits to the diagnostics of their versions."""
    typing = Typing(command, size)
    times = []
    for version in range(2, number + 2):
        said = typing.edit(version)
        began = time.perf_counter()
        typing.editor.send_bytes(said)
        times.append((typing.editor.published(version) - began) * 1000)
    typing.editor.leave()
    # The first ones make what later ones use.
    return times[5:]


def burst_milliseconds(size: int, number: int) -> float:
    """From the first of `number` edits, sent without a pause, to the last one's diagnostics."""
    typing = Typing(OURS, size)
    said = [typing.edit(version) for version in range(2, number + 2)]
    began = time.perf_counter()
    for message in said:
        typing.editor.send_bytes(message)
    took = (typing.editor.published(number + 1) - began) * 1000
    typing.editor.leave()
    return took


def hover_milliseconds(number: int) -> list[float]:
    editor = Typing(OURS, 10_000).editor
    where = {"textDocument": {"uri": URI}, "position": {"line": 3, "character": 2}}
    times = []
    for _ in range(number):
        began = time.perf_counter()
        editor.request("textDocument/hover", where)
        times.append((time.perf_counter() - began) * 1000)
    editor.leave()
    return times[5:]


def idle_megabytes() -> float:
    editor = Editor(OURS)
    editor.initialize()
    # An answer to anything comes after the server has settled.
    editor.request("workspace/symbol", {"query": ""})
    found = editor.memory()
    editor.leave()
    return found


def spread(times: Sequence[float]) -> str:
    ordered = sorted(times)
    late = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return f"median {median(ordered):8.2f} ms   best {ordered[0]:8.2f}   p95 {late:8.2f}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="server", description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--no-peer", action="store_true", help="leave dlm-lsp out")
    parser.add_argument("--other", help="one more server to start")
    options = parser.parse_args(arguments)
    peer = None if options.no_peer else dlm_lsp()
    servers = {"bare pygls": BARE, "dlm-server": OURS}
    if peer is not None:
        servers["dlm-lsp"] = peer
    if options.other:
        servers["other"] = shlex.split(options.other)
    taken = dict(
        zip(servers, start_milliseconds(list(servers.values()), options.runs), strict=True)
    )
    bars: list[Bar] = []
    for which, name in enumerate(("to answer", "to problems")):
        times = {server: [t[which] for t in rounds] for server, rounds in taken.items()}
        for server, of_server in times.items():
            print(f"start {name:12} {server:11} {spread(of_server)}")
        of_bare, of_ours = times["bare pygls"], times["dlm-server"]
        ratio = median(of_ours) / median(of_bare)
        print(f"start {name:12} ratio       median {ratio:.2f}   ", end="")
        print(f"best {min(of_ours) / min(of_bare):.2f}")
        if which == 0:
            bars.append(_at_most("start to answer, of bare pygls", ratio, _START))
    bars.append(_at_most("MB when idle", idle_megabytes(), _MEGABYTES))
    print(f"memory when idle     {bars[-1].found:.0f} MB")
    for size, name in ((10_000, "10 KB"), (1_000_000, "1 MB ")):
        for server in ("dlm-server", "dlm-lsp"):
            if server in servers:
                edits = edit_milliseconds(servers[server], size, 45)
                print(f"edit, {name:12} {server:11} {spread(edits)}")
                if server == "dlm-server":
                    what = f"ms from an edit to its problems, {name.strip()}"
                    bars.append(_at_most(what, median(edits), _EDIT[size]))
    bars.append(_at_most("ms of 50 edits, 1 MB", burst_milliseconds(1_000_000, 50), _BURST))
    print(f"50 edits, 1 MB       {bars[-1].found:8.2f} ms")
    print(f"hover                {spread(hover_milliseconds(105))}")
    for bar in bars:
        print(bar)
    return 0 if all(bar.met for bar in bars) else 1


def _at_most(what: str, found: float, wanted: float) -> Bar:
    return Bar(what, round(found, 2), wanted, most=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
