"""The frame around every command: options, exit codes, and one way to show what went wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import typer

from dlm_engine import __version__
from dlm_engine.cli.app import LazyCommands, globals_of, hoist_global_options, run
from dlm_engine.cli.catalogue import COMMANDS
from dlm_engine.cli.console import Verbosity, visible
from dlm_engine.cli.entry import main
from dlm_engine.errors import (
    BaseModelError,
    DlmError,
    DocumentError,
    LicenceRequired,
    StoreLocked,
    UsageError,
)


@pytest.fixture
def show_does(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[typer.Context], None]], None]:
    """Puts a function of the test in the place of `dlm show`."""

    def replace(body: Callable[[typer.Context], None]) -> None:
        def command(context: typer.Context) -> None:
            """Stand-in."""
            body(context)

        module = ModuleType("dlm_engine.cli.commands.show")
        module.command = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return replace


Replace = Callable[[Callable[[typer.Context], None]], None]


def raising(error: BaseException) -> Callable[[typer.Context], None]:
    def body(context: typer.Context) -> None:
        raise error

    return body


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dlm {__version__}\n"


def test_version_after_other_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "--version"]) == 0
    assert capsys.readouterr().out == f"dlm {__version__}\n"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_with_its_line(
    flag: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main([flag]) == 0
    said = capsys.readouterr().out
    for name, line in COMMANDS.items():
        assert f"  {name} " in said
        assert line in said


def test_the_catalogue_says_what_the_commands_say() -> None:
    commands = LazyCommands()
    assert {name: commands[name].help.split("\n")[0] for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(name: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, flag]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: dlm {name} ")
    assert COMMANDS[name] in " ".join(said.split())


def test_every_command_module_is_in_the_catalogue() -> None:
    from dlm_engine.cli import commands

    folder = Path(commands.__file__ or "").parent
    assert {p.stem for p in folder.glob("*.py")} - {"__init__"} == set(COMMANDS)


def test_no_command_shows_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Usage: dlm")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "x.dlm", "--seed", "9" * 23], "--seed: must fit in 64 bits"),
        (["prompt", "x.dlm", "hi", "--seed", "9" * 23], "--seed: must fit in 64 bits"),
        (["repl", "x.dlm", "--seed", "9" * 23], "--seed: must fit in 64 bits"),
        (["metrics", "show", "x.dlm", "--run", "9" * 23], "--run: must fit in 64 bits"),
        (["cache", "prune", "--older-than", "9" * 23], "--older-than: must fit in 64 bits"),
        (["prompt", "x.dlm", "a\udcff"], "question: is not UTF-8 text"),
        (["prompt", "x.dlm", "a", "--system", "\udcff"], "--system: is not UTF-8 text"),
        (["export", "x.dlm", "--ask", "\udcff"], "--ask: is not UTF-8 text"),
    ],
)
def test_what_no_run_could_take_is_refused(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {expected}: ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "error: dlm: No such command 'trian'. Did you mean 'train'?"),
        (["--nope"], "error: dlm: No such option: --nope"),
        (["show"], "error: dlm show: Missing argument 'PATH'"),
        (["show", "x", "--jsn"], "error: dlm show: No such option: --jsn"),
        (["-v", "-q", "show", "x"], "error: dlm: Invalid value: --verbose and --quiet exclude"),
        (["rollback", "x.dlm", "zero"], "error: dlm rollback: Invalid value for 'NUMBER'"),
        (["rollback", "x.dlm", "0"], "error: dlm rollback: Invalid value for 'NUMBER'"),
        (["check", "--format", "xml"], "error: dlm check: Invalid value for '--format'"),
        (["--home"], "error: dlm: Option '--home' requires an argument"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(expected)
    assert captured.err.count("\n") == 1
    assert captured.err.rstrip().endswith("--help`")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DlmError("a", "b", "c"), 1),
        (DocumentError("a", "b", "c"), 1),
        (StoreLocked("a", "b", "c"), 1),
        (BaseModelError("a", "b", "c"), 1),
        (LicenceRequired("a", "b", "c", "Free", "https://a"), 1),
        (UsageError("a", "b", "c"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_domain_errors_have_one_form(
    error: DlmError, code: int, show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_does(raising(error))
    assert main(["show"]) == code
    assert capsys.readouterr().err == "error: a: b: c\n"


def test_messages_are_not_markup(show_does: Replace, capsys: pytest.CaptureFixture[str]) -> None:
    """A path such as `notes[draft].dlm` reaches the reader as it is."""
    show_does(raising(DocumentError("notes[draft].dlm", "[red]x[/red] :smile:", "see [1]")))
    assert main(["show"]) == 1
    assert capsys.readouterr().err == "error: notes[draft].dlm: [red]x[/red] :smile:: see [1]\n"


def test_messages_do_not_drive_the_terminal(
    show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_does(raising(DocumentError("a\x1b]0;owned\x07.dlm", "b")))
    assert main(["show"]) == 1
    assert capsys.readouterr().err == "error: a\\x1b]0;owned\\x07.dlm: b\n"


def test_a_bug_is_one_line_that_says_how_to_see_more(
    show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_does(raising(ZeroDivisionError("division by zero\nmore")))
    assert main(["show"]) == 1
    assert capsys.readouterr().err == (
        "error: bug in dlm: ZeroDivisionError: division by zero more: "
        "please report it; run again with --verbose for the traceback\n"
    )


@pytest.mark.parametrize("how", ["--verbose", "-v", "DLM_VERBOSE"])
def test_a_bug_shows_its_traceback_on_request(
    how: str,
    show_does: Replace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    show_does(raising(ZeroDivisionError("division by zero")))
    if how == "DLM_VERBOSE":
        monkeypatch.setenv("DLM_VERBOSE", "1")
        assert main(["show"]) == 1
    else:
        assert main(["show", how]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert said.splitlines()[-1].startswith("error: bug in dlm: ZeroDivisionError")


def test_operating_system_errors_are_not_bugs(
    show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_does(raising(PermissionError(13, "Permission denied", "/some/where")))
    assert main(["show"]) == 1
    assert capsys.readouterr().err == (
        "error: /some/where: Permission denied: check the path, its rights and the disk\n"
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()], ids=["ctrl-c", "abort"])
def test_interruption_is_130(
    error: BaseException, show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    show_does(raising(error))
    assert main(["show"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_ctrl_c_in_a_real_process_is_130_and_quiet() -> None:
    """SIGINT while a command waits for its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dlm_engine", "check", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    wait_until_it_reads(process.pid)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")


def wait_until_it_reads(pid: int) -> None:
    """Until the process blocks in a read of its pipe."""
    import time

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if "pipe_read" in Path(f"/proc/{pid}/wchan").read_text(errors="replace"):
            return
        status = Path(f"/proc/{pid}/syscall").read_text(errors="replace").split()
        if status[:2] == ["0", "0x0"]:  # read(0, ...)
            return
        time.sleep(0.02)
    raise AssertionError("the command never read its standard input")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    document = Path("examples/tidewater.dlm").absolute()
    command = f"{sys.executable} -m dlm_engine check {document} --format sarif | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert "Broken pipe" not in done.stderr


@pytest.mark.parametrize(
    ("given", "hoisted"),
    [
        (["train", "a.dlm", "--verbose"], ["--verbose", "train", "a.dlm"]),
        (["train", "-q", "a.dlm"], ["-q", "train", "a.dlm"]),
        (["train", "a.dlm", "--home", "h"], ["--home", "h", "train", "a.dlm"]),
        (["train", "a.dlm", "--home=h"], ["--home=h", "train", "a.dlm"]),
        (["prompt", "a.dlm", "--", "-v"], ["prompt", "a.dlm", "--", "-v"]),
        (["train", "--home"], ["--home", "train"]),
    ],
)
def test_global_options_may_follow_the_command(given: list[str], hoisted: list[str]) -> None:
    assert hoist_global_options(given) == hoisted


def test_global_options_reach_the_command(show_does: Replace, tmp_path: Path) -> None:
    seen = []
    show_does(lambda context: seen.append(globals_of(context)))
    assert run(["show", "--home", str(tmp_path), "-q"]) == 0
    assert seen[0].home == tmp_path
    assert seen[0].console.verbosity is Verbosity.QUIET


def test_quiet_silences_status_but_not_results_and_warnings(
    show_does: Replace, capsys: pytest.CaptureFixture[str]
) -> None:
    def body(context: typer.Context) -> None:
        console = globals_of(context).console
        console.status("status")
        console.warning("careful")
        console.result("result")

    show_does(body)
    assert main(["-q", "show"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("result\n", "warning: careful\n")


def test_a_narrow_encoding_never_crashes() -> None:
    code = "from dlm_engine.cli.console import *; prepare_streams(); Console().result('語 ok')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
        timeout=30,
    )
    assert done.stdout == "\\u8a9e ok\n"


def test_visible_keeps_tabs_and_newlines() -> None:
    assert visible("a\tb\nc\rd\u202ee") == "a\tb\nc\\x0dd\\x202ee"


def test_completion_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dlm_engine"],
        capture_output=True,
        text=True,
        timeout=30,
        env={
            **os.environ,
            "_DLM_COMPLETE": "complete_bash",
            "COMP_WORDS": "dlm ro",
            "COMP_CWORD": "1",
        },
    )
    assert done.stdout.split() == ["rollback"]
