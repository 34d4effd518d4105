"""`dlm metrics`: tables, curves, JSON and CSV of what was recorded, and following a run."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dlm_engine.cli.charts import curve, drawable
from dlm_engine.cli.commands.metrics import _json_lines, _plain_lines, follow
from dlm_engine.cli.entry import main
from dlm_engine.store import (
    ChoiceRow,
    EvaluationRow,
    ExportRow,
    MetricsWriter,
    PhaseRow,
    RunRow,
    RunStatus,
    StepRow,
    Store,
)

DLM_ID = "01KADB8Q6NX3V7T0M5E9RCWZ4H"
DOCUMENT = f"---\ndlm_id: {DLM_ID}\ndlm_version: 15\nbase_model: smollm2-135m\n---\n\nText.\n"
MOMENT = "2026-01-02T03:04:05Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(DOCUMENT)
    return path


@pytest.fixture
def root(own_home: Path) -> Path:
    """The store's folder, made."""
    store = Store(own_home, DLM_ID)
    with store.lock("test"):
        return store.root


def step(run: int, number: int) -> StepRow:
    return StepRow(
        run,
        "sft",
        number,
        3.0 / number,
        1e-3,
        0.7,
        0.01,
        number // 5,
        4,
        400.0,
        number / 10,
        MOMENT,
    )


def begun(root: Path) -> tuple[MetricsWriter, int]:
    writer = MetricsWriter(root, pytest.fail, clock=lambda: 0.0)
    return writer, writer.begin_run("further", "smollm2-135m", 42)


def finish(writer: MetricsWriter, number: int, **facts: object) -> None:
    row = RunRow(
        number, MOMENT, MOMENT, RunStatus.TRAINED, "further", "smollm2-135m", 42, adapter_version=7
    )
    writer.end_run(replace(row, **facts))  # type: ignore[arg-type]
    writer.close()


@pytest.fixture
def filled(root: Path) -> Path:
    """A trained run of 20 steps, a failed one, and an export."""
    writer, number = begun(root)
    writer.add(PhaseRow(number, 0, "prepare", MOMENT, 4.0))
    writer.add(ChoiceRow(number, "lora_r", "16", "12 rows to tell apart " * 5))
    for each in range(1, 21):
        writer.add(step(number, each))
    writer.add(EvaluationRow(number, "sft", 20, None, 4, 4, 0.0123, MOMENT))
    finish(writer, number, steps=20, learned=4, rows=4, loss=0.15, seconds=38.0)
    writer, number = begun(root)
    failed = {"status": RunStatus.FAILED, "error": "StoreError", "message": "the disk is full"}
    finish(writer, number, adapter_version=None, **failed)
    writer = MetricsWriter(root, pytest.fail)
    writer.add_export(
        ExportRow(0, MOMENT, "done", "gguf", "Q4_K_M", False, 7, 105_000_000, 21.0, 9)
    )
    writer.close()
    return root


def test_nothing_yet_is_said_and_makes_nothing(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert f"dlm train {path}" in said.err
    assert main(["metrics", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": [], "exports": []}
    assert not own_home.exists()


def test_runs_and_exports_in_tables_of_a_terminals_width(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path)]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^1 .*further +20 +4 of 4 +0\.150 +38 s +version 7$", said, re.MULTILINE)
    assert re.search(r"^2 .*failed: StoreError$", said, re.MULTILINE)
    assert re.search(r"^1 .* gguf +Q4_K_M .* 9 checks$", said, re.MULTILINE)
    assert all(len(line) <= 79 for line in said.splitlines())
    assert "\x1b" not in said


def test_losses_of_prose_and_of_answers_are_shown_apart(
    root: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer, number = begun(root)
    finish(writer, number, loss=0.5, prose_loss=1.25, answers_loss=0.0625, val_loss=2.5)
    said = "as it ended: prose 1.250, answers 0.062, held-out prose 2.500"
    assert main(["metrics", "show", str(path)]) == 0
    assert f"loss of run 1 {said}" in capsys.readouterr().out
    assert main(["metrics", "show", str(path), "--run", "1"]) == 0
    assert f"losses    {said}" in capsys.readouterr().out
    assert main(["metrics", "show", str(path), "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert (run["prose_loss"], run["answers_loss"], run["val_loss"]) == (1.25, 0.0625, 2.5)
    assert main(["metrics", "show", str(path), "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["prose_loss"], row["answers_loss"]) == ("1.25", "0.0625")


def test_a_run_of_a_named_adapter_says_which(
    root: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer, number = begun(root)
    writer.add(ChoiceRow(number, "adapter", "kitchen", "2 rows teach it"))
    finish(writer, number)
    assert main(["metrics", "show", str(path)]) == 0
    assert main(["metrics", "show", str(path), "--run", str(number)]) == 0
    assert capsys.readouterr().out.count("kitchen version 7") == 2
    assert main(["metrics", "show", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["adapter"] == "kitchen"


def test_one_run_with_everything(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), "--run", "1"]) == 0
    said = capsys.readouterr().out
    assert "run 1: version 7" in said
    assert "prepare 4.0 s" in said
    assert "sft, after step 20, 4 of 4 known, drift 0.0123" in said
    assert "lora_r = 16: 12 rows" in said
    assert "loss of run 1, sft" in said
    assert re.search(r"^20 +sft +0\.150 ", said, re.MULTILINE)
    assert all(len(line) <= 79 for line in said.splitlines())
    assert main(["metrics", "show", str(path), "--run", "2"]) == 0
    assert "failed: StoreError: the disk is full" in capsys.readouterr().out


def test_a_run_that_is_not_there_is_named(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), "--run", "9"]) == 1
    assert "error: run 9: is not recorded: see `dlm metrics show" in capsys.readouterr().err


def test_json_and_csv_have_every_step(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), "--run", "1", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in facts["steps"]] == list(range(1, 21))
    assert facts["run"]["status"] == "trained"
    assert facts["evaluations"][0]["learned"] == 4
    assert main(["metrics", "show", str(path), "--run", "1", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in facts["steps"]]
    assert main(["metrics", "show", str(path), "--csv", "--limit", "1"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["run_id"], row["message"]) for row in rows] == [("2", "the disk is full")]


@pytest.fixture
def phased(root: Path) -> Path:
    """A run of questions, then of preferences."""
    writer, number = begun(root)
    writer.add(PhaseRow(number, 0, "prepare", MOMENT, 4.0))
    writer.add(PhaseRow(number, 1, "sft", MOMENT, 9.0, 6))
    writer.add(PhaseRow(number, 2, "save", MOMENT, 0.5))
    writer.add(PhaseRow(number, 3, "preference", MOMENT, 5.0, 7))
    writer.add(step(number, 1))
    writer.add(replace(step(number, 1), phase="preference"))
    writer.add(EvaluationRow(number, "sft", 2, None, 4, 4, 0.0123, MOMENT))
    none = (None, None, None, None)
    writer.add(EvaluationRow(number, "preference", 0, *none, MOMENT, 2, -0.25, 0.0))
    writer.add(EvaluationRow(number, "preference", 3, None, 4, 4, 0.02, MOMENT, 2, 0.75, 0.5))
    finish(writer, number, steps=5)
    return root


def test_each_phase_is_shown_with_its_version_and_figures(
    path: Path, phased: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path)]) == 0
    assert re.search(r"versions 6, 7$", capsys.readouterr().out, re.MULTILINE)
    assert main(["metrics", "show", str(path), "--run", "1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "sft 9.0 s (version 6), save 0.5 s, preference 5.0 s (version 7)" in said
    assert "measured sft, after step 2, 4 of 4 known, drift 0.0123" in said
    assert "preference, before it, 0 of 2 wanted answers likelier (margin -0.250)" in said
    assert "after step 3, 4 of 4 known, 1 of 2 wanted answers likelier (margin +0.750)" in said
    assert main(["metrics", "show", str(path), "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["runs"][0]
    assert [p["adapter_version"] for p in run["phases"]] == [None, 6, None, 7]
    assert main(["metrics", "show", str(path), "--run", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["evaluations"]
    assert [(row["step"], row["margin"], row["accuracy"]) for row in rows] == [
        (2, None, None),
        (0, -0.25, 0.0),
        (3, 0.75, 0.5),
    ]


@pytest.mark.parametrize("run", [(), ("--run", "1")])
@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("phases", "adapter_version", ["", "6", "", "7"]),
        ("evaluations", "margin", ["", "-0.25", "0.75"]),
        ("steps", "phase", ["sft", "preference"]),
    ],
)
def test_every_table_is_to_be_had_as_csv(
    path: Path,
    phased: Path,
    capsys: pytest.CaptureFixture[str],
    run: tuple[str, ...],
    table: str,
    column: str,
    values: list[str],
) -> None:
    assert main(["metrics", "show", str(path), "--csv", "--table", table, *run]) == 0
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert [row[column] for row in rows] == values


def test_a_table_that_is_not_to_be_had_is_refused(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), "--csv", "--table", "exports"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["quant"] == "Q4_K_M"
    assert main(["metrics", "show", str(path), "--table", "steps"]) == 2
    assert "--table: goes with --csv" in capsys.readouterr().err
    wrong = ["--csv", "--run", "1", "--table", "exports"]
    assert main(["metrics", "show", str(path), *wrong]) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_runs_of_a_phase_and_of_late(
    path: Path, phased: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer, number = begun(phased)  # began now, and came to no preferences
    writer.add(PhaseRow(number, 0, "sft", MOMENT, 1.0))
    writer.close()

    def runs(*arguments: str) -> list[int]:
        assert main(["metrics", "show", str(path), "--json", *arguments]) == 0
        return [run["run_id"] for run in json.loads(capsys.readouterr().out)["runs"]]

    assert runs() == [1, 2]
    assert runs("--phase", "sft", "--limit", "1") == [2]
    assert runs("--phase", "preference", "--limit", "1") == [1]
    assert runs("--phase", "gate") == []
    for since in ("24h", "90m", "7d", "3600s", "2026-01-03", "2026-01-02T03:04:06"):
        assert runs("--since", since) == [2], since
    for since in ("400000d", "2026-01-02", "2026-01-02T04:04:05+01:00"):
        assert runs("--since", since) == [1, 2], since


def test_one_phase_of_a_run(path: Path, phased: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = ["metrics", "show", str(path), "--run", "1"]
    assert main([*shown, "--phase", "preference", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in facts["evaluations"]] == [0, 3]
    assert {row["phase"] for row in facts["steps"]} == {"preference"}
    assert [row["adapter_version"] for row in facts["phases"]] == [7]
    assert main([*shown, "--phase", "gate"]) == 1
    assert "error: run 1: had no phase gate" in capsys.readouterr().err


@pytest.mark.parametrize("since", ["yesterday", "7", "-3d", "2026-13-01", "9999999999d"])
def test_a_time_that_is_none_is_refused(
    path: Path, filled: Path, since: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), f"--since={since}"]) == 2
    assert "--since" in capsys.readouterr().err


def test_what_has_not_been_recorded_since_is_said(
    path: Path, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "show", str(path), "--since", "2999-01-01"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "nothing of that kind is recorded" in said.err
    assert main(["metrics", "show", str(path), "--since", "7d", "--run", "1"]) == 2
    assert "--since and --run exclude each other" in capsys.readouterr().err


def test_exports_say_which_adapter_or_mix_they_are_of(
    root: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = MetricsWriter(root, pytest.fail)
    one = ExportRow(0, MOMENT, "done", "gguf", "F16", False, 1, 1000, 2.0, 9)
    writer.add_export(replace(one, adapter="kitchen"))
    mix = "harbour version 2 x 0.7, kitchen version 1 x 0.3"
    writer.add_export(replace(one, adapter_version=None, mix=mix))
    writer.close()
    assert main(["metrics", "show", str(path)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert " kitchen 1 gguf " in said
    assert " mix - gguf " in said
    assert f"export 2: {mix}" in said
    assert main(["metrics", "show", str(path), "--json"]) == 0
    exports = json.loads(capsys.readouterr().out)["exports"]
    assert [(row["adapter"], row["mix"]) for row in exports] == [("kitchen", None), (None, mix)]


def test_held_out_prose_has_a_curve_of_its_own(
    path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer, number = begun(root)
    for each in (1, 2, 3, 2):  # the step that was kept comes last
        writer.add(step(number, each))
        writer.add(EvaluationRow(number, "sft", each, 3.0 + each, 1, 4, 0.01, MOMENT))
    finish(writer, number)
    assert main(["metrics", "show", str(path), "--run", "1"]) == 0
    said = capsys.readouterr().out
    assert "loss on held-out prose, sft\n" in said
    assert "measured  sft, after step 2, 1 of 4 known, loss on held-out prose 5.000" in said


@pytest.mark.parametrize("command", ["show", "watch"])
def test_one_form_at_a_time(command: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", command, str(path), "--json", "--csv"]) == 2
    assert "exclude each other" in capsys.readouterr().err


# --- following ---------------------------------------------------------------------------


Act = Callable[[], None]


def followed(root: Path, acts: Iterator[Act], *, until_end: bool = True) -> list[str]:
    """The lines of a watch between whose looks `acts` happen; it ends with them."""

    class Over(Exception):
        pass

    def wait() -> None:
        act = next(acts, None)
        if act is None:
            raise Over
        act()

    said: list[str] = []
    try:
        for lines in follow(root, _plain_lines, wait, until_end=until_end):
            said += lines.splitlines()
    except Over:
        said.append("(still watching)")
    return said


def some_steps(writer: MetricsWriter, number: int, first: int) -> None:
    for each in range(first, first + 16):
        writer.add(step(number, each))


def test_a_watch_begun_before_the_first_run_sees_it_from_start_to_end(root: Path) -> None:
    def run() -> Iterator[Act]:
        yield lambda: None
        writer, number = begun(root)
        some_steps(writer, number, 1)
        yield lambda: None
        some_steps(writer, number, 17)
        yield lambda: finish(writer, number)
        pytest.fail("the run has ended")

    said = followed(root, run())
    assert said[0].startswith("run 1 (further), since ")
    assert [line.split()[1] for line in said[1:-1]] == [str(n) for n in range(1, 33)]
    assert said[-1] == "run 1: version 7"


def test_a_watch_tells_of_what_comes_and_not_of_what_was(filled: Path) -> None:
    def later() -> Iterator[Act]:
        writer, number = begun(filled)
        some_steps(writer, number, 1)
        finish(writer, number)
        writer, number = begun(filled)
        finish(writer, number, status=RunStatus.CANCELLED)
        yield lambda: None
        yield lambda: None

    said = followed(filled, later(), until_end=False)
    assert [line for line in said if not line.startswith("step ")] == [
        *[said[0]],
        "run 3: version 7",
        *[said[18]],
        "run 4: cancelled",
        "(still watching)",
    ]
    assert said[18].startswith("run 4 (further), since ")


def test_json_lines_tell_of_begin_steps_and_end_once(root: Path) -> None:
    writer, number = begun(root)
    some_steps(writer, number, 1)
    acts = iter([lambda: finish(writer, number)])
    lines = [
        json.loads(line)
        for text in follow(root, _json_lines, lambda: next(acts)(), until_end=True)
        for line in text.splitlines()
    ]
    assert [line["type"] for line in lines] == ["run", *["step"] * 16, "run"]
    assert [line["status"] for line in lines if line["type"] == "run"] == ["running", "trained"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_ends_watching_quietly(path: Path, root: Path) -> None:
    writer, number = begun(root)
    some_steps(writer, number, 1)
    command = [sys.executable, "-m", "dlm_engine", "metrics", "watch", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith(b"run 1 (further)")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    writer.close()
    assert watching.returncode == 0
    assert errors == b"no longer watching\n"


# --- the curve ---------------------------------------------------------------------------


@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("width", [20, 79, 100])
def test_a_curve_fits_its_width_and_falls(width: int, ascii_only: bool) -> None:
    points = [(n, 10.0 / n) for n in range(1, 60)]
    lines = curve("loss", points, width=width, ascii_only=ascii_only).splitlines()
    assert len(lines) == 13
    assert max(map(len, lines)) <= width
    marks = [re.sub(r"^[ \d.]*[|│]", "", line) for line in lines[1:11]]
    assert all(marks[0].strip() and marks[-1].strip() for _ in marks)
    left = [len(mark) - len(mark.lstrip(" ⠀")) for mark in marks if mark.strip()]
    assert left == sorted(left)
    assert lines[1].startswith("  10.000")
    assert lines[-1].split() == ["step", "1", "59"]
    assert ascii_only == "\n".join(lines).isascii()


def test_a_curve_of_equal_or_too_few_values() -> None:
    assert curve("loss", [(1, 2.0)]) == ""
    flat = curve("loss", [(1, 2.0), (2, 2.0)]).splitlines()
    assert sum(bool(re.sub(r"[ \d.│]", "", line)) for line in flat[1:11]) == 1


@pytest.mark.parametrize(
    ("encoding", "can"), [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False)]
)
def test_braille_only_where_it_can_be_written(encoding: str | None, can: bool) -> None:
    assert drawable(encoding) is can
