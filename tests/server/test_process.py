"""The server as a process: it leaves with its editor, and nothing gets into its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from dlm_server.framing import encoded

SERVER = [sys.executable, "-m", "dlm_server"]
LIMIT = 3.0


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start(started: list[subprocess.Popen[bytes]], *command: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(command or SERVER, stdin=pipe, stdout=pipe, stderr=pipe)
    started.append(process)
    return process


def receive(pipe: IO[bytes]) -> Any:
    length = 0
    while line := pipe.readline().strip():
        name, _, value = line.partition(b":")
        assert name == b"Content-Length", line
        length = int(value)
    return json.loads(pipe.read(length))


def ask(process: subprocess.Popen[bytes], method: str, params: object = None) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(encoded({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    process.stdin.flush()
    return receive(process.stdout)


def tell(process: subprocess.Popen[bytes], method: str, params: object = None) -> None:
    assert process.stdin is not None
    process.stdin.write(encoded({"jsonrpc": "2.0", "method": method, "params": params}))
    process.stdin.flush()


def test_an_orderly_end_is_exit_code_0(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started)
    assert ask(process, "initialize", {"capabilities": {}})["result"]["serverInfo"]["name"] == "dlm"
    assert ask(process, "shutdown")["result"] is None
    tell(process, "exit")
    assert process.wait(LIMIT) == 0


def test_exit_without_shutdown_is_exit_code_1(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started)
    ask(process, "initialize", {"capabilities": {}})
    tell(process, "exit")
    assert process.wait(LIMIT) == 1


def test_the_end_of_stdin_ends_the_server(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started)
    ask(process, "initialize", {"capabilities": {}})
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(LIMIT) == 1


BUSY = """
import time
from dlm_server import main, dispatch

@dispatch.session_request("test/busy")
def busy(session, params):
    print("before the endless loop", flush=True)
    session.notify("test/working", None)
    while True:
        time.sleep(0.01)

raise SystemExit(main.main([]))
"""


def test_a_server_that_is_busy_for_ever_ends_as_well(
    started: list[subprocess.Popen[bytes]],
) -> None:
    process = start(started, sys.executable, "-c", BUSY)
    ask(process, "initialize", {"capabilities": {}})
    assert ask(process, "test/busy", {})["method"] == "test/working"
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(LIMIT) == 1


PRINTING = """
import os, subprocess, sys
from dlm_server import main

def serve():
    from dlm_server import dispatch

    @dispatch.session_request("test/print")
    def noisy(session, params):
        print("a print", flush=True)
        os.write(1, b"bytes on descriptor 1")
        subprocess.run([sys.executable, "-c", "print(input())"])
        return "quiet"

serve()
raise SystemExit(main.main([]))
"""


def test_what_a_handler_prints_goes_to_stderr(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, sys.executable, "-c", PRINTING)
    ask(process, "initialize", {"capabilities": {}})
    assert ask(process, "test/print", {})["result"] == "quiet"
    assert ask(process, "shutdown")["result"] is None
    tell(process, "exit")
    assert process.wait(LIMIT) == 0
    assert process.stderr is not None
    said = process.stderr.read()
    assert b"a print" in said
    assert b"bytes on descriptor 1" in said


#: starts a server that shares its pipes with this test, says its number, and waits to be killed
EDITOR = """
import os, subprocess, sys
server = subprocess.Popen([sys.executable, "-m", "dlm_server"], stderr=subprocess.DEVNULL)
print(os.getpid(), server.pid, file=sys.stderr, flush=True)
server.wait()
"""


def test_the_death_of_the_editor_ends_the_server_though_its_pipes_stay_open(
    started: list[subprocess.Popen[bytes]],
) -> None:
    editor = start(started, sys.executable, "-c", EDITOR)
    assert editor.stderr is not None
    number, server = (int(word) for word in editor.stderr.readline().split())
    ask(editor, "initialize", {"processId": number, "capabilities": {}})
    editor.kill()
    editor.wait()
    end = time.monotonic() + LIMIT
    assert editor.stdout is not None
    # The server's death closes the last other end of the pipe.
    os.set_blocking(editor.stdout.fileno(), True)
    assert editor.stdout.read() == b""
    assert time.monotonic() < end
    assert not running(server)


def running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_parent_that_cannot_be_seen_is_not_waited_for(
    started: list[subprocess.Popen[bytes]],
) -> None:
    process = start(started)
    assert "result" in ask(process, "initialize", {"processId": 2**22 + 1, "capabilities": {}})
    assert ask(process, "shutdown")["result"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, "dlm-server "),
        (["--help"], 0, "language server"),
        (["--tcp"], 2, "stdio only"),
        (["--tcp", "1234"], 2, "stdio only"),
        (["--nope"], 2, "--nope"),
    ],
)
def test_the_command_line(arguments: list[str], code: int, said: str) -> None:
    done = subprocess.run([*SERVER, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


def test_dlm_lsp_serves_and_logs_to_a_file(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    arguments = ["lsp", "--stdio", "--log-level", "debug", "--log-file", str(log)]
    process = start(started, sys.executable, "-m", "dlm_engine", *arguments)
    ask(process, "initialize", {"capabilities": {}})
    assert process.stdin is not None
    process.stdin.write(b"Content-Length: 1\r\n\r\n{")
    process.stdin.flush()
    assert process.stdout is not None
    assert receive(process.stdout)["error"]["code"] == -32700
    assert ask(process, "shutdown")["result"] is None
    tell(process, "exit")
    assert process.wait(LIMIT) == 0
    assert "not JSON" in log.read_text()
