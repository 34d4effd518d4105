"""`dlm train` in several processes: its flags, and that they end together whatever ends one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from dlm_engine.cli import launching
from dlm_engine.cli.entry import main
from dlm_engine.cli.launching import launch
from dlm_engine.cli.processes import Crowd, Wanted, shard_wanted
from dlm_engine.errors import HardwareRefusal, UsageError
from dlm_engine.jobs import Place, place_of

TEXT = """\
---
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 15
base_model: smollm2-135m
---

::instruction::
### Q
Who?
### A
Amira.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(TEXT)
    return path


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], Crowd]]:
    """What would have been launched."""
    found: list[tuple[list[str], Crowd]] = []

    def launch(arguments: list[str], crowd: Crowd, say: object) -> int:
        found.append((arguments, crowd))
        return 7

    def train(*arguments: object) -> object:
        raise AssertionError("trained in this process")

    monkeypatch.setattr("dlm_engine.cli.commands.train.launch", launch)
    monkeypatch.setattr("dlm_engine.cli.commands.train.train", train)
    return found


def test_the_same_command_is_run_again_without_the_flags_that_are_obeyed(
    launched: list[tuple[list[str], Crowd]], path: Path, tmp_path: Path
) -> None:
    flags = ["--fresh", "--seed=7", "--phase", "sft", "--processes", "3", "--json"]
    assert main(["--home", str(tmp_path / "h"), "train", str(path), *flags, "-v"]) == 7
    ((arguments, crowd),) = launched
    before, after = arguments[: arguments.index("train")], arguments[arguments.index("train") + 1 :]
    assert before == [f"--home={tmp_path / 'h'}", "--verbose"]
    assert sorted(after[:-2]) == ["--fresh", "--json", "--phase=sft", "--seed=7"]
    assert arguments[-2:] == ["--", str(path)]
    assert crowd == Crowd(("", "", ""), 1, 0, None, 29500)


def test_one_process_on_the_cpu_is_kept_from_the_gpus(
    launched: list[tuple[list[str], Crowd]],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", str(path), "--processes", "1"]) == 7
    ((_, crowd),) = launched
    assert crowd == Crowd(("",), 1, 0, None, 29500)
    assert "share" not in capsys.readouterr().err
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    environment = launching._environment(crowd, 0, tmp_path)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert place_of(environment) is None


def test_of_a_folder_they_are_given_its_document(
    launched: list[tuple[list[str], Crowd]], tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("The lamp is lit at nine.")
    flags = ["--base", "smollm2-135m", "--include", "*.md", "--processes", "2"]
    assert main(["train", str(folder), *flags]) == 7
    document = folder / ".dlm" / "corpus.dlm"
    assert launched[0][0] == ["train", "--", str(document)]
    assert document.is_file()


def test_several_machines(launched: list[tuple[list[str], Crowd]], path: Path) -> None:
    where = ["--num-nodes", "3", "--node-rank", "2", "--main-address", "one.example"]
    assert main(["train", str(path), *where, "--main-port", "4000", "--processes", "2"]) == 7
    assert main(["train", str(path), *where]) == 7
    first, second = (crowd for _, crowd in launched)
    assert first == Crowd(("", ""), 3, 2, "one.example", 4000)
    assert (first.world, first.first) == (6, 4)
    assert second == Crowd((None,), 3, 2, "one.example", 29500)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--processes", "0"], "--processes"),
        (["--processes", "2", "--watch"], "--watch runs in one process"),
        (["--processes", "2", "--further"], "--further runs in one process"),
        (["--processes", "2", "--gpus", "all"], "exclude each other"),
        (["--gpus", "some"], "neither all, nor a count"),
        (["--gpus", "0"], "neither all, nor a count"),
        (["--gpus", "1,"], "neither all, nor a count"),
        (["--node-rank", "1"], "--node-rank: goes with --num-nodes"),
        (["--processes", "2", "--main-port", "1"], "--main-port: goes with --num-nodes"),
        (["--num-nodes", "2"], "needs --node-rank"),
        (["--num-nodes", "2", "--node-rank", "0"], "needs --main-address"),
        (["--num-nodes", "2", "--node-rank", "2", "--main-address", "a"], "2 is not below"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_flags_that_cannot_be_obeyed(
    launched: list[object],
    path: Path,
    flags: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", str(path), *flags]) == 2
    assert launched == []
    assert said in capsys.readouterr().err


# --- GPUs ---------------------------------------------------------------------------------------


def wanted(gpus: str) -> Wanted:
    return Wanted(gpus, None, None, None, None, None)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """This machine as one with so many GPUs."""

    def there_are(count: int) -> None:
        hardware = SimpleNamespace(backend="cuda" if count else "cpu", device_name="A")
        monkeypatch.setattr("dlm_engine.hardware.detect", lambda: hardware)
        monkeypatch.setattr("dlm_engine.hardware.gpus", lambda: count)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return there_are


@pytest.mark.parametrize(
    ("asked", "visible", "expected"),
    [
        ("all", "", ("0", "1", "2", "3")),
        ("2", "", ("0", "1")),
        ("3,1", "", ("3", "1")),
        ("0,2", "4,5,6,7", ("4", "6")),
    ],
)
def test_each_gpu_has_one_process(
    gpus: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    asked: str,
    visible: str,
    expected: tuple[str, ...],
) -> None:
    gpus(4)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    crowd = wanted(asked).crowd()
    assert crowd is not None
    assert crowd.devices == expected


def test_one_gpu_needs_no_other_process(gpus: Callable[[int], None]) -> None:
    gpus(1)
    assert wanted("all").crowd() is None


@pytest.mark.parametrize(
    ("asked", "count", "said"),
    [
        ("all", 0, "no NVIDIA GPU: it trains on cpu"),
        ("2", 1, "has one GPU"),
        ("0,2", 2, "has 2 GPUs"),
        ("1,1", 2, "names one twice"),
    ],
)
def test_gpus_that_are_not_there(
    gpus: Callable[[int], None], asked: str, count: int, said: str
) -> None:
    gpus(count)
    with pytest.raises((HardwareRefusal, UsageError), match=said):
        wanted(asked).crowd()


@pytest.mark.parametrize("count", [1, 2])
def test_an_apple_gpu_cannot_be_left_aside(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    found = SimpleNamespace(backend="mps", device_name="A")
    monkeypatch.setattr("dlm_engine.hardware.detect", lambda: found)
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    with pytest.raises(HardwareRefusal, match="takes the Apple GPU"):
        Wanted(None, count, None, None, None, None).crowd()
    found.backend = "cpu"
    crowd = Wanted(None, count, None, None, None, None).crowd()
    assert crowd is not None
    assert crowd.devices == ("",) * count


# --- started by others --------------------------------------------------------------------------


THERE = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"WORLD_SIZE": "4"}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", **THERE}, Place(3, 4, 0, 1)),
        (
            {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **THERE},
            Place(3, 4, 1, 2),
        ),
        ({"RANK": "3", "WORLD_SIZE": "4"}, UsageError),
        ({"RANK": "4", "WORLD_SIZE": "4", **THERE}, UsageError),
        ({"RANK": "x", "WORLD_SIZE": "4", **THERE}, UsageError),
        ({"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "3", **THERE}, UsageError),
    ],
    ids=str,
)
def test_what_torchrun_says_is_understood(environment: dict[str, str], expected: Any) -> None:
    if expected is UsageError:
        with pytest.raises(UsageError):
            place_of(environment)
    else:
        assert place_of(environment) == expected


@pytest.mark.parametrize("flag", [["--processes", "2"], ["--watch"], ["--further"]], ids=" ".join)
def test_one_of_several_processes_starts_no_others(
    launched: list[object], path: Path, flag: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name, value in THERE.items():
        monkeypatch.setenv(name, value)
    assert main(["train", str(path), *flag]) == 2
    assert launched == []


@pytest.mark.parametrize("flag", ["--shard", "--no-shard"])
def test_the_processes_are_told_whether_to_divide_the_base(
    launched: list[tuple[list[str], Crowd]], path: Path, flag: str
) -> None:
    assert main(["train", str(path), "--processes", "2", flag]) == 7
    assert launched[0][0] == ["train", flag, "--", str(path)]


def test_one_process_has_nothing_to_divide(
    launched: list[object], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(path), "--shard"]) == 2
    assert "add --gpus or --processes" in capsys.readouterr().err


FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "false"}


@pytest.mark.parametrize(
    ("flag", "environment", "world", "expected"),
    [
        (None, {}, 2, None),
        (True, {}, 2, True),
        (None, FSDP, 2, True),
        (False, FSDP, 2, False),
        (None, FSDP, 1, None),
        (None, {**FSDP, "FSDP_OFFLOAD_PARAMS": "true"}, 2, UsageError),
        (None, {"ACCELERATE_USE_DEEPSPEED": "true"}, 2, UsageError),
    ],
    ids=str,
)
def test_what_accelerate_was_told_of_fsdp(
    flag: bool | None, environment: dict[str, str], world: int, expected: Any
) -> None:
    if expected is UsageError:
        with pytest.raises(UsageError):
            shard_wanted(flag, environment, world)
    else:
        assert shard_wanted(flag, environment, world) == expected


#: Writes which process it is.
SAYS = """
import json, os, sys
from dataclasses import asdict
from dlm_engine.jobs import place_of
from dlm_engine.cli.processes import shard_wanted
place = place_of(os.environ)
told = {**asdict(place), "shard": shard_wanted(None, os.environ, place.world)}
open(os.path.join(sys.argv[1], str(place.rank)), "w").write(json.dumps(told))
"""


@pytest.mark.parametrize("how", ["--use_fsdp", "--cpu"])
def test_accelerate_launches_it(tmp_path: Path, how: str) -> None:
    script = tmp_path / "says.py"
    script.write_text(SAYS)
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    flags = [how, "--num_processes", "2", "--main_process_port", "0"]
    own = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [*command, *flags, str(script), str(tmp_path)],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
    )
    if how == "--cpu":
        # It starts one, whatever it was asked for.
        assert "was asked for several processes and with --cpu started one" in done.stderr
        return
    told = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(2)]
    assert told == [
        {"rank": rank, "world": 2, "local": rank, "local_world": 2, "shard": True}
        for rank in range(2)
    ]


# --- together to the end ------------------------------------------------------------------------

#: Says that it is there, then what the test gave for its number; it ends with the launcher.
PROCESS = """
import os, signal, sys, time
from dlm_engine.cli.launching import end_with_launcher
end_with_launcher()
rank = int(os.environ["RANK"])
here = os.path.join(os.environ["THERE"], "here-%d")
open(here % rank + "-new", "w").write(str(os.getpid()))
os.rename(here % rank + "-new", here % rank)
while not all(os.path.exists(here % each) for each in range(int(os.environ["WORLD_SIZE"]))):
    time.sleep(0.01)
exec(os.environ[f"DO_{rank}"])
"""
WAIT = "time.sleep(600)"
NOTICE = """
import psutil
while psutil.pid_exists(int(open(here % (1 - rank)).read())): time.sleep(0.01)
sys.exit(75)
"""
STOPS = """
def stop(*_): print("stopping", flush=True); sys.exit(130)
signal.signal(signal.SIGINT, stop)
open(here % 9, "w").close()
time.sleep(600)
"""


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes say that they are there; they run `PROCESS` in place of dlm."""
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    start = subprocess.Popen

    def instead(command: list[str], **wishes: Any) -> Any:
        return start([sys.executable, str(script)], **wishes)

    monkeypatch.setattr(subprocess, "Popen", instead)
    monkeypatch.setenv("THERE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    return tmp_path


def ending(
    monkeypatch: pytest.MonkeyPatch, *each: str, nodes: int = 1, node: int = 0
) -> tuple[int, list[str]]:
    """The exit code of a launch of processes that do `each`, and what was said."""
    said: list[str] = []
    for rank, action in enumerate(each):
        monkeypatch.setenv(f"DO_{rank}", action)
    crowd = Crowd((None,) * (len(each) // nodes), nodes, node, None, 0)
    return launch([], crowd, said.append), said


def gone(there: Path) -> bool:
    numbers = [int(path.read_text()) for path in there.glob("here-[01]")]
    assert len(numbers) == 2
    return not any(map(psutil.pid_exists, numbers))


@pytest.mark.parametrize(
    ("first", "second", "code", "said"),
    [
        ("pass", "pass", 0, []),
        ("sys.exit(130)", "pass", 130, []),
        ("sys.exit(2)", WAIT, 2, []),
        ("sys.exit(1)", "sys.exit('error: the same')", 1, []),
        (NOTICE, "sys.exit('error: x: is wrong')", 1, ["process 1: x: is wrong"]),
        (NOTICE, "os.kill(os.getpid(), 9)", 1, ["process 1: was ended by SIGKILL"]),
        (WAIT, "sys.exit('error: x: is wrong')", 1, ["process 1: x: is wrong"]),
    ],
    ids=["well", "stopped", "refused", "both", "second", "second killed", "nobody notices"],
)
def test_they_end_together(
    there: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
    code: int,
    said: list[str],
) -> None:
    monkeypatch.setattr(launching, "_LEADER_SECONDS", 0.2 if first == WAIT else 30.0)
    monkeypatch.setattr(launching, "_OTHERS_SECONDS", 0.2)
    assert ending(monkeypatch, first, second) == (code, said)
    assert gone(there)


def test_when_the_first_is_killed_it_is_said_how_to_go_on(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_OTHERS_SECONDS", 0.2)
    code, said = ending(monkeypatch, "os.kill(os.getpid(), 9)", WAIT)
    assert code == 1
    assert said == [
        "process 0: was ended by SIGKILL: --resume goes on from the last state that was kept"
    ]
    assert gone(there)


@contextmanager
def signals(there: Path, mark: str, count: int = 1) -> Iterator[None]:
    """So many of Ctrl-C come to this process, once `mark` is there and each after the other."""

    def send() -> None:
        for name in (mark, "here-8")[:count]:
            while not (there / name).exists():
                threading.Event().wait(0.01)
            os.kill(os.getpid(), signal.SIGINT)

    sending = threading.Thread(target=send)
    sending.start()
    yield
    sending.join()


def test_ctrl_c_is_for_the_first_to_stop_well(
    there: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with signals(there, "here-9"):
        code, said = ending(monkeypatch, STOPS, "signal.signal(2, signal.SIG_DFL);" + NOTICE)
    assert (code, said) == (130, [])
    assert capfd.readouterr().out == "stopping\n"
    assert gone(there)


def test_a_second_ctrl_c_ends_all_at_once(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = STOPS.replace('print("stopping", flush=True); sys.exit(130)', 'open(here % 8, "w")')
    with signals(there, "here-9", 2):
        assert ending(monkeypatch, deaf, WAIT)[0] == 130
    assert gone(there)


def test_they_end_with_the_launcher(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_0", WAIT)
    monkeypatch.setenv("DO_1", WAIT)
    child = os.fork()
    if child == 0:
        try:
            launch([], Crowd((None, None), 1, 0, None, 0), print)
        finally:
            os._exit(1)
    while len(list(there.glob("here-[01]"))) < 2:
        threading.Event().wait(0.01)
    started = [psutil.Process(int(path.read_text())) for path in there.glob("here-[01]")]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []


def test_on_another_machine_nothing_waits_for_a_first_process(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "_OTHERS_SECONDS", 0.2)
    for rank in (0, 1):
        (there / f"here-{rank}").write_text("0")
    lost = "sys.exit(75)"
    assert ending(monkeypatch, "", "", lost, lost, nodes=2, node=1) == (
        1,
        ["the run was ended elsewhere"],
    )
