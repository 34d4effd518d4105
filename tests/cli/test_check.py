"""`dlm check` on real files: which are found, what is said, and the exit code."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from dlm_engine.cli.entry import main

HEAD = "---\ndlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H\ndlm_version: 15\nbase_model: smollm2-135m\n---\n\n"
GOOD = HEAD + "::instruction::\n### Q\nWho?\n### A\nAmira.\n"
WARNED = HEAD + "text\n\n:: instruction ::\n"
BAD = HEAD + "::instructon::\n### Q\nWho?\n### A\nAmira.\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.dlm").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "arguments", "code"),
    [
        (GOOD, [], 0),
        (GOOD, ["--strict"], 0),
        (WARNED, [], 0),
        (WARNED, ["--strict"], 1),
        (BAD, [], 1),
        ("", [], 1),
    ],
    ids=["good", "good strict", "warning", "warning strict", "error", "empty file"],
)
def test_exit_code(here: Path, text: str, arguments: list[str], code: int) -> None:
    write(here, a=text)
    assert main(["check", "a.dlm", *arguments]) == code


def test_an_error_is_shown_with_its_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, a=BAD)
    main(["check", "a.dlm"])
    captured = capsys.readouterr()
    assert captured.out.startswith("a.dlm:7:")
    assert "error[fence-unknown]" in captured.out
    assert "    7 | ::instructon::\n" in captured.out
    assert "1 error and 0 warnings in 1 file" in captured.err


def test_all_problems_of_all_files_are_shown(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, a=BAD, b=BAD + "\n::nope::\n")
    assert main(["check", "a.dlm", "b.dlm"]) == 1
    assert capsys.readouterr().out.count("error[fence-unknown]") == 3


def test_folders_are_searched(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden folders are left out, but `.dlm/` may hold a folder's own document."""
    for name in ("x/y", "x/.git", "x/node_modules/z", "x/.dlm"):
        (here / name).mkdir(parents=True)
        write(here / name, doc=GOOD)
    (here / "x" / "notes.txt").write_text("no")
    assert main(["check", "x", "--json"]) == 0
    found = [f["path"] for f in json.loads(capsys.readouterr().out)["files"]]
    assert found == ["x/.dlm/doc.dlm", "x/y/doc.dlm"]


def test_without_paths_the_current_folder_is_searched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, a=GOOD)
    assert main(["check"]) == 0
    assert capsys.readouterr().err == "1 file checked, no problems\n"


def test_standard_input(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    assert main(["check", "-"]) == 1
    assert capsys.readouterr().out.startswith("<stdin>:7:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.dlm"], "error: gone.dlm: there is no such file or folder: check the name\n"),
        ([], "error: .: there is no .dlm file here: name one, or write one with `dlm init`\n"),
    ],
)
def test_nothing_to_check_is_wrong_usage(
    here: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    assert capsys.readouterr().err == said


def test_an_unreadable_file_does_not_hide_the_others(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a.dlm").write_bytes(b"---\n\xff\n")
    write(here, b=BAD)
    assert main(["check", "a.dlm", "b.dlm"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("a.dlm: error[file-unreadable]: ")
    assert "b.dlm:7:3: error[fence-unknown]" in said


@pytest.mark.parametrize("form", ["json", "sarif"])
def test_machine_formats_are_json_even_when_all_is_well(
    here: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, a=GOOD)
    assert main(["check", "a.dlm", "--format", form]) == 0
    assert json.loads(capsys.readouterr().out)


def test_github_format(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, a=BAD)
    assert main(["check", "a.dlm", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=a.dlm,line=7,endLine=7,col=")


def test_checking_writes_nothing(here: Path, own_home: Path) -> None:
    write(here, a=BAD, b=GOOD)
    before = {p: p.stat().st_mtime_ns for p in here.rglob("*")}
    main(["check", "."])
    assert {p: p.stat().st_mtime_ns for p in here.rglob("*")} == before
    assert not own_home.exists()
