"""The processes of one run: the same `dlm train` several times over, started and ended together.

Each is told by its environment which one it is, in the variables that torchrun uses as well.
Process 0 speaks for all, and how it ends is how the command ends. The invariant: none outlives
the others or us. Whoever loses another finds out in its next step; who does not is killed after a
while; and all read from a pipe that only we hold open, so that the kernel tells them when we end,
however that was.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import IO, Any, Final

from dlm_engine.cli.processes import Crowd
from dlm_engine.cli.stopping import SIGNALS
from dlm_engine.errors import ProcessLost
from dlm_engine.jobs import MEETING_VARIABLE

LAUNCHED: Final = "DLM_LAUNCHED"
INTERRUPTED: Final = 130
#: So long may process 0 take to notice that another is gone, which can be a step, and to keep
#: its state; and the others, which have nothing to keep, to notice that it is.
_LEADER_SECONDS: Final = 60.0
_OTHERS_SECONDS: Final = 5.0
_LINES: Final = 20


def arguments_again(context: Any, path: Path, left_out: frozenset[str]) -> list[str]:
    """The command line that was given to `dlm train`, with `path` for what it is to train."""
    root = context.find_root().params
    given = [f"--home={root['home']}"] if root.get("home") else []
    given += [f"--{name}" for name in ("verbose", "quiet") if root.get(name)]
    given.append(context.info_name)
    for option in context.command.params:
        value = context.params.get(option.name)
        if option.name in left_out or option.name == "path" or value == option.default:
            continue
        if value is None or option.param_type_name != "option":
            continue
        if option.is_flag:
            given.append((option.opts if value else option.secondary_opts)[0])
        else:
            several = value if isinstance(value, list | tuple) else [value]
            given += [f"{option.opts[0]}={each}" for each in several]
    return [*given, "--", str(path)]


def launch(arguments: Sequence[str], crowd: Crowd, say: Callable[[str], None]) -> int:
    """Run `dlm` with `arguments` in all of this machine's processes; its exit code.

    `say` gets what process 0 cannot say itself: why another ended.
    """
    with TemporaryDirectory(prefix="dlm-processes-") as folder:
        processes = {
            rank: _start(arguments, _environment(crowd, rank, Path(folder)), Path(folder), rank)
            for rank in range(crowd.first, crowd.first + len(crowd.devices))
        }
        with _ended_together(processes), _stopped_by_signals(processes) as asked:
            codes = _wait(processes)
        if len(asked) > 1:
            return INTERRUPTED
        return _outcome(codes, Path(folder), say)


def end_with_launcher() -> None:
    """End this process when whoever launched it ends; nothing where nobody did."""
    if os.environ.get(LAUNCHED):
        threading.Thread(target=_wait_for_launcher, name="dlm-launcher", daemon=True).start()


def _wait_for_launcher() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _environment(crowd: Crowd, rank: int, folder: Path) -> dict[str, str]:
    local = rank - crowd.first
    device = crowd.devices[local]
    own = {
        LAUNCHED: "1",
        "RANK": str(rank),
        "WORLD_SIZE": str(crowd.world),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(len(crowd.devices)),
    }
    if device is not None:
        own["CUDA_VISIBLE_DEVICES"] = device
    if crowd.address is not None:
        own |= {"MASTER_ADDR": crowd.address, "MASTER_PORT": str(crowd.port)}
    else:
        own[MEETING_VARIABLE] = str(folder / "meeting")
        if "GLOO_SOCKET_IFNAME" not in os.environ and os.name == "posix":
            own["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    return {**os.environ, **own}


def _start(
    arguments: Sequence[str], environment: dict[str, str], folder: Path, rank: int
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dlm_engine.cli.entry", *arguments]
    # In a group of their own: Ctrl-C comes to us, and process 0 alone is told.
    own_group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {}
    if rank == 0:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, **own_group)
    with _said_by(folder, rank).open("wb") as said:
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            **own_group,
        )


def _said_by(folder: Path, rank: int) -> Path:
    return folder / f"said-by-{rank}"


@contextmanager
def _ended_together(processes: Mapping[int, subprocess.Popen[bytes]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes.values():
            _kill(process)
            process.wait()
            pipe: IO[bytes] | None = process.stdin
            if pipe is not None:
                pipe.close()


@contextmanager
def _stopped_by_signals(processes: Mapping[int, subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM ask process 0 to stop well, the second one ends all; yields those that
    came. Where process 0 is not, the first one ends what is here."""
    came: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        came.append(number)
        leader = processes.get(0)
        if leader is not None and len(came) == 1:
            # Where there are no process groups, it has heard for itself.
            with suppress(OSError, ValueError):
                leader.send_signal(number)
            return
        came.append(number)
        for process in processes.values():
            _kill(process)

    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Mapping[int, subprocess.Popen[bytes]]) -> dict[int, int]:
    """The exit codes of all, in the order in which they ended."""
    ended: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    for rank, process in processes.items():
        threading.Thread(
            target=lambda r=rank, p=process: ended.put((r, p.wait())), daemon=True
        ).start()
    codes: dict[int, int] = {}
    deadline: float | None = None
    while len(codes) < len(processes):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            rank, code = ended.get(timeout=left)
        except queue.Empty:
            for process in processes.values():
                _kill(process)
            deadline = None
            continue
        codes[rank] = code
        if code or 0 in codes:
            for_leader = 0 in processes and 0 not in codes
            seconds = _LEADER_SECONDS if for_leader else _OTHERS_SECONDS
            deadline = min(deadline or float("inf"), time.monotonic() + seconds)
    return codes


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        process.kill()


def _outcome(codes: Mapping[int, int], folder: Path, say: Callable[[str], None]) -> int:
    leader = codes.get(0)
    if leader is not None and leader >= 0 and leader != ProcessLost.exit_code:
        return leader
    for rank, code in codes.items():
        if code < 0:
            # Those that we killed ourselves come behind the one for which we did.
            on = "" if rank else ": --resume goes on from the last state that was kept"
            say(f"process {rank}: was ended by {signal.Signals(-code).name}{on}")
            break
        if code not in (0, ProcessLost.exit_code):
            said = _said_by(folder, rank)
            lines = said.read_text(errors="replace").splitlines() if said.exists() else []
            for line in lines[-_LINES:]:
                say(f"process {rank}: {line.removeprefix('error: ')}")
            break
    else:
        if leader is None and any(codes.values()):
            say("the run was ended elsewhere")
    return 1 if any(codes.values()) else 0
