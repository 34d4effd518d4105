"""What the language server costs beside a bare pygls server in the same run.

Run: `python tests/bench/bench_server.py [--runs N] [--other COMMAND]`. Prints the time from
starting a process to its answer to `initialize`, alternating between the servers so that a
busy machine disturbs both alike; resident memory when idle; the time from a one-character
edit to the diagnostics of that version, at 10 KB and at 1 MB, with the debounce off; a burst of
50 edits at 1 MB; and hovers. `--other` measures one more server's start. Targets, on an
otherwise idle machine: start at most 1.2 times bare pygls, edit 1 ms at 10 KB and 8 ms at 1 MB,
burst 250 ms, memory 90 MB.
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
from typing import Any

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


class Editor:
    """One server process and the pipes to it."""

    def __init__(self, command: Sequence[str]) -> None:
        self.began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._numbers = itertools.count(1)

    def send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
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
        self.request("initialize", params)
        took = time.perf_counter() - self.began
        self.notify("initialized", {})
        return took

    def memory(self) -> float:
        """Resident MB of the process."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1000

    def published(self, version: int) -> float:
        """When the diagnostics of `version` came."""
        while True:
            message = self.receive()
            published = message.get("method") == "textDocument/publishDiagnostics"
            if published and message["params"].get("version") == version:
                return time.perf_counter()

    def leave(self) -> None:
        self.request("shutdown", None)
        self.notify("exit", None)
        self._process.wait(10)


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


def edit(version: int, line: int, text: str) -> dict[str, Any]:
    place = {"line": line, "character": 0}
    return {
        "textDocument": {"uri": URI, "version": version},
        "contentChanges": [{"range": {"start": place, "end": place}, "text": text}],
    }


def opened(size: int) -> tuple[Editor, int]:
    """An editor with a document of `size`, and a line of an answer in its middle."""
    editor = Editor(OURS)
    editor.initialize()
    text = document(size)
    item = {"uri": URI, "languageId": "dlm", "version": 1, "text": text}
    editor.notify("textDocument/didOpen", {"textDocument": item})
    editor.published(1)
    lines = text.split("\n")
    middle = next(i for i in range(len(lines) // 2, len(lines)) if lines[i].startswith("Item"))
    return editor, middle


def edit_milliseconds(size: int, number: int) -> list[float]:
    """From one-character edits to the diagnostics of their versions."""
    editor, line = opened(size)
    times = []
    for version in range(2, number + 2):
        began = time.perf_counter()
        editor.notify("textDocument/didChange", edit(version, line, "x"))
        times.append((editor.published(version) - began) * 1000)
    editor.leave()
    # The first ones make what later ones use.
    return times[5:]


def burst_milliseconds(size: int, number: int) -> float:
    """From the first of `number` edits, sent without a pause, to the last one's diagnostics."""
    editor, line = opened(size)
    began = time.perf_counter()
    for version in range(2, number + 2):
        editor.notify("textDocument/didChange", edit(version, line, "x"))
    took = (editor.published(number + 1) - began) * 1000
    editor.leave()
    return took


def hover_milliseconds(number: int) -> list[float]:
    editor, _ = opened(10_000)
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
    parser.add_argument("--other", help="one more server to start")
    options = parser.parse_args(arguments)
    commands = [BARE, OURS, *([shlex.split(options.other)] if options.other else [])]
    bare, ours, *more = start_milliseconds(commands, options.runs)
    for which, name in enumerate(("to answer", "to problems")):
        of_bare, of_ours = [t[which] for t in bare], [t[which] for t in ours]
        print(f"start {name:12} bare pygls  {spread(of_bare)}")
        print(f"start {name:12} dlm-server  {spread(of_ours)}")
        for other in more:
            print(f"start {name:12} other       {spread([t[which] for t in other])}")
        ratio = median(of_ours) / median(of_bare)
        print(f"start {name:12} ratio       median {ratio:.2f}   ", end="")
        print(f"best {min(of_ours) / min(of_bare):.2f}")
    print(f"memory when idle     {idle_megabytes():.0f} MB")
    for size, name in ((10_000, "10 KB"), (1_000_000, "1 MB ")):
        print(f"edit, {name}          {spread(edit_milliseconds(size, 45))}")
    print(f"50 edits, 1 MB       {burst_milliseconds(1_000_000, 50):8.2f} ms")
    print(f"hover                {spread(hover_milliseconds(105))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
