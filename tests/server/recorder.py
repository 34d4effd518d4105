"""Stands between an editor and a server and writes down what they say, a JSON line a message.

Run by an editor in the server's place: `recorder.py OUT COMMAND...`. Each line is
`{"from": "client" or "server", "message": ...}`, in the order in which it was said: a message
is written before it is handed on, so a cause always stands before what it caused. What a file
holds when the client tells that it was saved stands beside that, as `saved`. The bytes
themselves are handed on untouched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from dlm_server.framing import Framer
from dlm_server.from_proto import path_of


class _Log:
    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, side: str, message: dict[str, Any]) -> None:
        said: dict[str, Any] = {"from": side, "message": message}
        if message.get("method") == "textDocument/didSave":
            path = path_of(message["params"]["textDocument"]["uri"])
            assert path is not None
            said["saved"] = path.read_bytes().decode()
        with self._lock:
            self._file.write(json.dumps(said) + "\n")
            self._file.flush()


def _relay(side: str, source: int, target: int, log: _Log) -> None:
    framer = Framer()
    while data := os.read(source, 1 << 16):
        for message in framer.feed(data):
            log.write(side, message)
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]
    os.close(target)


def main(out: Path, command: list[str]) -> int:
    """Serve through `command` until either side leaves; its exit code."""
    with out.open("w", encoding="utf-8") as file:
        log = _Log(file)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            threading.Thread(
                target=_relay, args=("client", 0, os.dup(server.stdin.fileno()), log), daemon=True
            ).start()
            server.stdin.close()
            _relay("server", server.stdout.fileno(), os.dup(1), log)
            return server.wait()


if __name__ == "__main__":
    # The editor asks for the version first, to see whether this is a server at all.
    if "--version" in sys.argv:
        os.execv(sys.argv[2], sys.argv[2:])
    os._exit(main(Path(sys.argv[1]), sys.argv[2:]))
