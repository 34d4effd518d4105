"""What the worker answers without doing anything heavy, and everything that ends it."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.worker.driver import Worker

from dlm_engine.worker import guards, main
from dlm_engine.worker.jobs_adapter import RUNNERS, Context
from dlm_engine.worker.messages import (
    EXIT_OUT_OF_MEMORY,
    OUT_OF_MEMORY,
    PROTOCOL,
    Prompt,
    Result,
    Rollback,
    Train,
    read,
)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        ({"method": "dance", "params": {}}, -32601, "no method 'dance'"),
        ({"method": "train", "params": {}}, -32602, "Train.path"),
        ({"method": "train", "params": {"path": "x", "max_steps": "many"}}, -32602, "max_steps"),
        ({"method": "ask", "params": {"path": "x", "questions": [{}]}}, -32602, "questions.0"),
        ({"method": "initialize", "params": {"parent": 1}}, -32602, "home"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(
    request_: dict[str, Any], code: int, said: str, tmp_path: Path
) -> None:
    with Worker(tmp_path) as worker:
        worker.write({"jsonrpc": "2.0", "id": "x", **request_})
        error = worker.wait(lambda m: m.get("id") == "x")["error"]
        assert error["code"] == code
        assert said in error["message"]
        assert worker.ask("status")["result"]["job"] is None


def test_nothing_is_done_before_initialize(tmp_path: Path) -> None:
    with Worker(tmp_path, initialize=False) as worker:
        assert worker.ask("train", path="x")["error"]["code"] == -32002
        assert "protocol" in worker.initialize(tmp_path, protocol=PROTOCOL + 1)["error"]["message"]
        assert worker.initialize(tmp_path)["result"]["pid"] == worker.process.pid


def test_heavy_libraries_wait_for_the_first_job(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        status = worker.ask("status")["result"]
        assert status["heavy"] is False
        assert 0 < status["memory"] < 200 * 2**20


def test_cancelling_what_is_not_there_says_so(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        assert worker.ask("cancel", id=99)["result"] == {"cancelled": False}
        assert worker.ask("cancel", id=[1])["result"] == {"cancelled": False}


def test_shutdown_is_answered_and_ends_it(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        assert worker.ask("shutdown")["result"] is None
        assert worker.end() == 0


@pytest.mark.parametrize(
    "garbage", [b"hello\r\n\r\n", b"Content-Length: 5\r\n\r\n{oops", b"\xff\n"]
)
def test_garbage_ends_it(garbage: bytes, tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        worker.write(garbage)
        assert worker.wait(lambda m: "error" in m)["error"]["code"] == -32700
        assert worker.end() == 0


def test_the_end_of_its_input_ends_it(tmp_path: Path) -> None:
    with Worker(tmp_path) as worker:
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        assert worker.end(3) == 0


def test_it_leaves_when_there_is_nothing_to_do(tmp_path: Path) -> None:
    with Worker(tmp_path, idle_seconds=0.1) as worker:
        worker.wait(lambda m: m.get("method") == "exiting" and m["params"]["reason"] == "idle")
        assert worker.end() == 0


def test_more_memory_than_allowed_ends_it_with_a_reason(tmp_path: Path) -> None:
    with Worker(tmp_path, memory_limit=1) as worker:
        worker.wait(lambda m: m.get("params") == {"reason": "out-of-memory"})
        assert worker.end() == EXIT_OUT_OF_MEMORY


#: a worker whose exports start a process that takes 400 MiB and waits
GREEDY = """
import subprocess, sys
from dlm_engine.worker import jobs_adapter, messages
def start(params, context):
    code = "x = b'x' * (400 << 20); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as child:
        context.phase(messages.Phase.EXPORTING, str(child.pid))
        child.stdout.readline()
        context.phase(messages.Phase.EXPORTING, "taken")
        context.cancel.wait()
        child.kill()
    return messages.Result(messages.Ending.CANCELLED)
jobs_adapter.RUNNERS[messages.Export] = start
from dlm_engine.worker.__main__ import main
main()
"""


class Greedy(Worker):
    command = ("-c", GREEDY)


@pytest.mark.skipif(sys.platform != "linux", reason="waits for a process that is no child")
def test_what_a_job_starts_counts_and_ends_with_it(tmp_path: Path) -> None:
    with Greedy(tmp_path, memory_limit=350 * 2**20) as worker:
        export = worker.send("export", path="a.dlm", target="gguf")
        child = int(worker.progress()["message"])
        result = worker.answer(export)["result"]
        assert result["ending"] == "failed"
        assert result["trouble"]["kind"] == OUT_OF_MEMORY
        assert worker.end() == EXIT_OUT_OF_MEMORY
        wait_until_gone(child, 3)


def test_other_processes_are_looked_for_only_where_a_job_starts_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 2**50

    asked = iter([False, False, False, True, False, True, True])
    full: list[int] = []

    class Full(Exception):
        pass

    def when_full(used: int) -> None:
        full.append(used)
        raise Full

    monkeypatch.setattr(guards, "memory_of_children", look)
    monkeypatch.setattr(guards, "_LOOK_SECONDS", 0)
    reactions = guards.Reactions(lambda: 0.0, lambda: next(asked), lambda: None, when_full)
    with pytest.raises(Full):
        guards._watch(guards.Limits(os.getppid(), 2**40, 60), reactions)
    # One look alone may have met a process that is just being started.
    assert (looks, len(full)) == (3, 1)
    assert full[0] > 2**50


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("polled", [False, True])
def test_it_dies_with_its_parent(polled: bool, tmp_path: Path) -> None:
    """Also where the kernel does not tell, and although somebody else holds its pipes open."""
    script = f"""
import os, subprocess, sys, json
code = "from dlm_engine.worker import guards; "
if {polled!r}:
    code += "guards.sys = type('S', (), dict(platform='other'))(); "
code += "from dlm_engine.worker.__main__ import main; main()"
worker = subprocess.Popen([sys.executable, "-c", code], stdin=0, stdout=subprocess.PIPE)
body = json.dumps(dict(jsonrpc="2.0", id=1, method="initialize",
    params=dict(parent=os.getpid(), home="/nowhere"))).encode()
os.write({{writer}}, b"Content-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
worker.stdout.readline()
print(worker.pid, flush=True)
worker.wait()
"""
    reader, writer = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", script.replace("{writer}", str(writer))],
            stdin=reader,
            stdout=subprocess.PIPE,
            pass_fds=(writer,),
        ) as parent:
            assert parent.stdout is not None
            worker = int(parent.stdout.readline())
            assert Path(f"/proc/{worker}").exists()
            parent.send_signal(signal.SIGKILL)
            wait_until_gone(worker, 3)
    finally:
        os.close(reader)
        os.close(writer)


def wait_until_gone(process: int, seconds: float) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        assert ready, f"process {process} still lives after {seconds} s"
    finally:
        os.close(descriptor)


def test_what_prints_never_reaches_the_pipe(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from dlm_engine.worker.wire import Writer, take_standard_streams
incoming, outgoing = take_standard_streams()
print("printed")
os.write(1, b"written\\n")
subprocess.run(["echo", "echoed"])
assert os.read(0, 1) == b"" and sys.stdin.read() == ""
Writer(outgoing).write({"heard": incoming.read().decode()})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=b"for the worker", capture_output=True, check=True
    )
    assert done.stdout == b'Content-Length: 26\r\n\r\n{"heard":"for the worker"}'
    assert done.stderr.split() == [b"printed", b"written", b"echoed"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("shape mismatch"), False),
        (OSError("No space left on device"), False),
    ],
)
def test_a_want_of_memory_is_recognised_through_what_wraps_it(
    error: Exception, expected: bool
) -> None:
    outer = ValueError("cannot be loaded")
    outer.__cause__ = error
    assert guards.is_out_of_memory(outer) is expected


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), "the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory"), "No usable temporary"),
    ],
)
def test_what_the_system_refuses_a_library_is_no_bug(
    error: OSError, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(params: Rollback, context: Context) -> Result:
        raise error

    monkeypatch.setitem(RUNNERS, Rollback, refused)
    worker = main.Worker(io.BytesIO(), io.BytesIO())
    job = main._Job(1, Rollback("a.dlm", 1), Context(1, tmp_path, lambda message: None))
    trouble = worker._outcome(job).trouble
    assert trouble is not None
    assert trouble.kind == "StoreError"
    assert problem in trouble.problem
    assert trouble.remedy.endswith(("try again", "earlier versions are untouched"))


def test_messages_say_what_is_wrong_with_them() -> None:
    assert read(Train, {"path": "a", "later": 1}) == Train("a")
    assert read(Prompt, {"path": "a", "question": "q", "version": "base"}).version == "base"
    with pytest.raises(ValueError, match=r"Prompt\.version"):
        read(Prompt, {"path": "a", "question": "q", "version": "newest"})


def test_the_machine_has_a_limit() -> None:
    assert 2**28 < guards.default_memory_limit() < 2**46
