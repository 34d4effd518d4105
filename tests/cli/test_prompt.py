"""`dlm prompt`: what it asks of the job, where the question comes from, what it prints."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dlm_engine.cli.entry import main
from dlm_engine.jobs import PromptOutcome, PromptRequest

PARTS = ["The spare ", "oars [are] ", "in the shed."]
OUTCOME = PromptOutcome(
    answer="".join(PARTS),
    version=2,
    base_model="smollm2-135m",
    prompt_tokens=30,
    answer_tokens=9,
    stopped="end",
    temperature=0.0,
    seconds=1.25,
    notes=("the document changed since version 2 was trained",),
)


@dataclass
class Job:
    requests: list[PromptRequest] = field(default_factory=list)
    outcome: PromptOutcome = OUTCOME

    def __call__(
        self,
        request: PromptRequest,
        on_text: Callable[[str], None] = lambda text: None,
        report: Callable[[str], None] = lambda message: None,
    ) -> PromptOutcome:
        self.requests.append(request)
        report("loading")
        for part in PARTS:
            on_text(part)
        return self.outcome


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    monkeypatch.setattr("dlm_engine.cli.commands.prompt.prompt", job)
    return job


@pytest.mark.parametrize("flags", [[], ["--no-stream"]], ids=["streamed", "at once"])
def test_the_answer_alone_goes_to_stdout(
    job: Job, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prompt", "a.dlm", "Where?", *flags]) == 0
    captured = capsys.readouterr()
    assert captured.out == "The spare oars [are] in the shed.\n"
    assert captured.err == "loading\nthe document changed since version 2 was trained\n"


def test_an_answer_that_was_cut_is_said_to_be(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.outcome = replace(OUTCOME, stopped="length", notes=())
    assert main(["prompt", "a.dlm", "Where?", "--max-tokens", "9"]) == 0
    assert capsys.readouterr().err == "loading\n(cut at 9 tokens; --max-tokens changes that)\n"


def test_json(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompt", "a.dlm", "Where?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "answer": "The spare oars [are] in the shed.",
        "version": 2,
        "base_model": "smollm2-135m",
        "prompt_tokens": 30,
        "answer_tokens": 9,
        "stopped": "end",
        "temperature": 0.0,
        "seconds": 1.25,
        "notes": ["the document changed since version 2 was trained"],
    }


def test_the_question_may_come_from_standard_input(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("  Where are\nthe oars?\n"))
    assert main(["prompt", "a.dlm"]) == 0
    assert job.requests[0].question == "Where are\nthe oars?"


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_wrong_usage(
    job: Job, question: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(question))
    assert main(["prompt", "a.dlm"]) == 2
    assert main(["prompt", "a.dlm", question]) == 2
    assert job.requests == []
    assert capsys.readouterr().err.count("error: dlm prompt: the question is empty") == 2


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"version": None, "temperature": None, "top_p": None, "max_tokens": 256}),
        (["--base"], {"version": "base"}),
        (["--version-number", "3"], {"version": 3}),
        (["--max-tokens", "9"], {"max_tokens": 9}),
        (["--temp", "0"], {"temperature": 0.0}),
        (["--top-p", "0.9"], {"top_p": 0.9}),
        (["--seed", "5"], {"seed": 5}),
        (["--system", "Be brief."], {"system": "Be brief."}),
        (["--i-accept-license"], {"accept_licence": True}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_every_flag_reaches_the_job(
    job: Job, flags: list[str], expected: dict[str, object]
) -> None:
    assert main(["prompt", "a.dlm", "Where?", *flags]) == 0
    assert {name: getattr(job.requests[0], name) for name in expected} == expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--base", "--version-number", "1"],
        ["--temp", "-1"],
        ["--top-p", "0"],
        ["--top-p", "1.5"],
        ["--max-tokens", "0"],
        ["--version-number", "0"],
    ],
    ids=" ".join,
)
def test_flags_that_cannot_be_obeyed(job: Job, flags: list[str]) -> None:
    assert main(["prompt", "a.dlm", "Where?", *flags]) == 2
    assert job.requests == []


def test_an_untrained_document_says_what_to_do(
    tmp_path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real job: it ends before anything heavy is imported or written."""
    path = tmp_path / "notes.dlm"
    assert main(["-q", "init", str(path)]) == 0
    assert main(["prompt", str(path), "Where?"]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"error: {path}: has not been trained yet: "
        f"run `dlm train {path}`, or ask the base with --base\n"
    )
    assert not own_home.exists()


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_is_piped_has_to_be_text(
    job: Job, errors: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    piped = io.TextIOWrapper(io.BytesIO(b"Gr\xfc\xdfe?\n"), "utf-8", errors)
    monkeypatch.setattr("sys.stdin", piped)
    assert main(["prompt", "a.dlm"]) == 2
    assert capsys.readouterr().err == (
        "error: standard input: is not UTF-8 text: convert it first\n"
    )
    assert job.requests == []
