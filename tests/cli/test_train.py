"""`dlm train`: what it asks of the job, how it shows its progress, and how it ends.

The job itself is replaced; training for real is tested end to end.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.cli.commands.train import UNKNOWN
from dlm_engine.cli.console import Console
from dlm_engine.cli.entry import main
from dlm_engine.cli.progress import EventPrinter
from dlm_engine.errors import LockDrift
from dlm_engine.jobs import (
    Choice,
    Dashboards,
    Ending,
    Listener,
    Phase,
    PhaseBegan,
    Preferred,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.store import LockMode
from dlm_engine.training.model import Losses

DOCUMENT = """\
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

TRAINED = TrainOutcome(
    Ending.TRAINED,
    version=3,
    path=Path("/s/v0003"),
    adapter_sha256="ab" * 32,
    steps=21,
    learned=11,
    rows=12,
    loss=0.04,
    seconds=38.2,
    seed=42,
    determinism="bitwise",
)


@dataclass
class Job:
    """Stands in for the training job: keeps its request, says `events`, ends in `outcome`."""

    outcome: TrainOutcome | BaseException = TRAINED
    events: list[Choice | Progress | Status] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    requests: list[TrainRequest] = field(default_factory=list)
    saw_cancelled: list[bool] = field(default_factory=list)

    def __call__(
        self,
        request: TrainRequest,
        tell: Listener,
        cancelled: Callable[[], bool],
        resident: object = None,
    ) -> TrainOutcome:
        self.requests.append(request)
        for event in self.events:
            tell(event)
        self.during()
        self.saw_cancelled.append(cancelled())
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    monkeypatch.setattr("dlm_engine.cli.commands.train.train", job)
    return job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(DOCUMENT)
    return path


def step(number: int, *, elapsed: float, learned: int = 0) -> Progress:
    return Progress(number, 72, 1.5, 0.01, learned, 12, 1e-3, elapsed, 400.0)


def test_without_flags_the_job_decides(job: Job, path: Path, own_home: Path) -> None:
    assert main(["train", str(path)]) == 0
    assert job.requests == [TrainRequest(path=path, home=own_home)]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--resume"], {"start": Start.RESUME}),
        (["--fresh"], {"start": Start.FRESH}),
        (["--further"], {"start": Start.FURTHER}),
        (["--phase", "preference"], {"phase": Phase.PREFERENCE}),
        (["--phase", "sft", "--resume"], {"phase": Phase.SFT, "start": Start.RESUME}),
        (["--seed", "7"], {"seed": 7}),
        (["--max-steps", "5"], {"max_steps": 5}),
        (["--time-limit", "1.5"], {"time_limit": 1.5}),
        (["--early-stop", "3"], {"early_stop": 3}),
        (["--all-layers"], {"all_layers": True}),
        (["--tensorboard", "tb"], {"dashboards": Dashboards(tensorboard=Path("tb"))}),
        (["--wandb", "facts"], {"dashboards": Dashboards(wandb="facts")}),
        (["--strict-lock"], {"lock_mode": LockMode.STRICT}),
        (["--update-lock"], {"lock_mode": LockMode.UPDATE}),
        (["--ignore-lock"], {"lock_mode": LockMode.IGNORE}),
        (["--i-accept-license"], {"accept_licence": True}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_every_flag_reaches_the_job(
    job: Job, path: Path, flags: list[str], expected: dict[str, object]
) -> None:
    assert main(["train", str(path), *flags]) == 0
    (request,) = job.requests
    assert {name: getattr(request, name) for name in expected} == expected


@pytest.mark.parametrize(
    "flags",
    [
        ["--resume", "--fresh"],
        ["--fresh", "--further"],
        ["--further", "--phase", "sft"],
        ["--phase", "dpo"],
        ["--strict-lock", "--update-lock"],
        ["--update-lock", "--ignore-lock"],
        ["--time-limit", "0"],
        ["--time-limit", "nan"],
        ["--max-steps", "0"],
        ["--early-stop", "0"],
        ["--early-stop", "3", "--resume"],
        ["--early-stop", "3", "--further"],
        ["--early-stop", "3", "--watch"],
        ["--early-stop", "3", "--phase", "preference"],
        ["--seed", "-1"],
        ["--seed", "x"],
    ],
    ids=" ".join,
)
def test_flags_that_cannot_be_obeyed(
    job: Job, path: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(path), *flags]) == 2
    assert job.requests == []
    assert capsys.readouterr().err.startswith("error: ")


def test_a_document_with_errors_shows_all_of_them_and_is_not_trained(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(DOCUMENT.replace("::instruction::", "::instructon::") + "\n::nope::\n")
    assert main(["train", str(path)]) == 1
    assert job.requests == []
    said = capsys.readouterr().err
    assert said.count("error[fence-unknown]") == 2
    assert said.endswith(f"error: {path}: has 2 errors, shown above: correct them first\n")


def test_choices_are_told_with_their_reasons(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.events = [Choice("lora_r", "16", "12 rows to tell apart"), Status("loading")]
    main(["train", str(path)])
    assert capsys.readouterr().err.startswith(
        "  lora_r = 16: 12 rows to tell apart\nloading\nversion 3: 11 of 12 known"
    )


def test_nobody_is_sent_to_resume_a_run_without_a_step_left(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.outcome = replace(TRAINED, finished=True)
    main(["train", str(path)])
    assert capsys.readouterr().err.splitlines()[1] == UNKNOWN


def test_the_end_says_what_was_learned_and_what_to_type_next(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", str(path)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "version 3: 11 of 12 known word for word after 21 steps, 38 s\n"
        f"to go on: dlm train {path} --resume\n"
        f'ask it: dlm prompt {path} "..."\n'
    )


def test_the_end_says_what_is_preferred(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Preferred("dpo", 8, -1.5, 2.25, 0.25, 0.875)
    job.outcome = replace(TRAINED, learned=12, preference=found)
    job.events = [replace(step(3, elapsed=1.0, learned=7), phase=Phase.PREFERENCE)]
    main(["train", str(path)])
    said = capsys.readouterr().err
    assert "7 of 12 preferred" in said
    likelier = (
        "7 of 8 wanted answers are likelier than the unwanted ones (before: 2), "
        "by +2.25 nats a token (before: -1.50)"
    )
    assert f"version 3: 12 of 12 known word for word after 21 steps, 38 s\n{likelier}\n" in said
    job.outcome = replace(TRAINED, learned=0, rows=0, preference=found)
    main(["train", str(path)])
    assert f"version 3: {likelier} after 21 steps, 38 s\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        (TrainOutcome(Ending.EMPTY), 0, "nothing to learn"),
        (TrainOutcome(Ending.UNCHANGED, version=2), 0, "version 2 is current"),
        (TrainOutcome(Ending.CANCELLED, steps=4), 130, "--resume"),
    ],
    ids=["empty", "unchanged", "cancelled"],
)
def test_other_endings(
    job: Job,
    path: Path,
    outcome: TrainOutcome,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job.outcome = outcome
    assert main(["train", str(path)]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "stopped", "short"),
    [
        ([], "go on with: dlm train {} --resume", "to go on: dlm train {} --resume"),
        (
            ["--further"],
            "begin again with: dlm train {} --further",
            "to go on: dlm train {} --further",
        ),
        (["--early-stop", "5"], "begin again with: dlm train {} --early-stop 5", None),
    ],
    ids=["plain", "further", "early-stop"],
)
def test_what_is_advised_after_the_end_can_be_done(
    job: Job,
    path: Path,
    flags: list[str],
    stopped: str,
    short: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job.outcome = TrainOutcome(Ending.CANCELLED, steps=4)
    assert main(["train", str(path), *flags]) == 130
    assert f"{path}: stopped; {stopped.format(path)}\n" in capsys.readouterr().err
    job.outcome = TRAINED
    assert main(["train", str(path), *flags]) == 0
    lines = capsys.readouterr().err.splitlines()
    advised = [line for line in lines if line.startswith("to go on")]
    assert advised == ([short.format(path)] if short else [])


def test_json_is_the_outcome_and_nothing_else_is_on_stdout(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.events = [step(1, elapsed=0.5)]
    assert isinstance(job.outcome, TrainOutcome)
    job.outcome = replace(job.outcome, trained=Losses(2.5, 0.03))
    assert main(["train", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "ending": "trained",
        "ended_by": None,
        "version": 3,
        "path": "/s/v0003",
        "adapter_sha256": "ab" * 32,
        "steps": 21,
        "learned": 11,
        "rows": 12,
        "loss": 0.04,
        "validation_loss": None,
        "trained_losses": {"prose": 2.5, "answers": 0.03},
        "held_out_losses": {"prose": None, "answers": None},
        "divergence": None,
        "seconds": 38.2,
        "seed": 42,
        "determinism": "bitwise",
        "kept": None,
        "lost": [],
        "preference": None,
    }


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"trained": Losses(2.5, 0.03)}, "prose 2.500, answers 0.030\n", "held-out"),
        (
            {"trained": Losses(2.5, 0.03), "held_out": Losses(3.1)},
            "prose 2.500, answers 0.030; held-out prose 3.100\n",
            "answers 0.030\n",
        ),
        ({"trained": Losses(None, 0.03)}, "to go on: ", "nats"),
        ({"finished": True}, "ask it: ", "to go on: "),
    ],
)
def test_losses_apart_and_whether_there_is_more_are_said(
    job: Job,
    path: Path,
    changes: dict[str, Any],
    said: str,
    unsaid: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert isinstance(job.outcome, TrainOutcome)
    job.outcome = replace(job.outcome, **changes)
    assert main(["train", str(path)]) == 0
    heard = capsys.readouterr().err
    assert said in heard
    assert unsaid not in heard


@pytest.mark.parametrize(
    ("kept", "lost", "said"),
    [
        (None, (), ""),
        (4, (), "all 4 answers that the version before knew are kept\n"),
        (3, ("Who?",), "no longer known: 'Who?'\n"),
        (3, ("é" * 90,), f"no longer known: '{'é' * 79}…'\n"),
        (0, ("A?", "B?", "C?", "D?", "E?"), "no longer known: 'A?', 'B?', 'C?' and 2 more\n"),
    ],
)
def test_what_was_known_before_and_is_not_now_is_named(
    job: Job,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    kept: int | None,
    lost: tuple[str, ...],
    said: str,
) -> None:
    job.outcome = replace(TRAINED, learned=12, kept=kept, lost=lost)
    assert main(["train", str(path)]) == 0
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert "".join(line for line in lines if "known:" in line or "kept" in line) == said


def test_errors_of_the_job_end_as_one_line(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.outcome = LockDrift("dlm.lock", "torch differs", "use --update-lock")
    assert main(["train", str(path)]) == 1
    assert capsys.readouterr().err == "error: dlm.lock: torch differs: use --update-lock\n"


# stopping


def test_the_first_ctrl_c_lets_the_step_finish(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.events = [step(1, elapsed=0.5)]
    job.during = lambda: os.kill(os.getpid(), signal.SIGINT)
    job.outcome = TrainOutcome(Ending.CANCELLED, steps=1)
    assert main(["train", str(path)]) == 130
    assert job.saw_cancelled == [True]
    assert "stopping after this step; again to stop at once" in capsys.readouterr().err


def test_the_second_ctrl_c_stops_at_once(job: Job, path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    job.events = [step(1, elapsed=0.5)]
    job.during = twice
    assert main(["train", str(path)]) == 130
    assert job.saw_cancelled == []


def test_ctrl_c_before_the_first_step_stops_at_once(job: Job, path: Path) -> None:
    job.during = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert main(["train", str(path)]) == 130
    assert job.saw_cancelled == []


def test_signal_handlers_are_put_back(job: Job, path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    main(["train", str(path)])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# progress


def test_plain_progress_is_a_line_now_and_then_and_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = EventPrinter(Console(), live=False)
    for number in range(1, 9):
        printer(step(number, elapsed=float(number), learned=number))
    printer.finish()
    said = capsys.readouterr().err
    assert [int(n) for n in re.findall(r"^step (\d+) ", said, re.MULTILINE)] == [1, 6, 8]
    assert "\x1b" not in said
    assert "\r" not in said


def test_the_steps_of_a_second_phase_are_told_as_those_of_the_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printer = EventPrinter(Console(), live=False)
    for phase in ("sft", "preference"):
        printer(PhaseBegan(phase))
        for number in (1, 2, 3):
            printer(step(number, elapsed=float(number)))
    printer(Status("saving"))
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in said[:-1]] == ["1", "3", "1", "3"]
    assert said[-1] == "saving"


def test_live_progress_rewrites_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    printer = EventPrinter(Console(), live=True)
    for number in (1, 2):
        printer(step(number, elapsed=float(number)))
    printer(Status("saving"))
    said = capsys.readouterr().err
    assert said.count("\r\x1b[K") == 2
    assert said.count("\n") == 2
    assert said.endswith("\nsaving\n")


# named adapters

TWO = TrainOutcome(
    Ending.TRAINED,
    steps=9,
    learned=4,
    rows=4,
    parts=(
        TrainOutcome(Ending.UNCHANGED, 2, learned=2, rows=2, adapter="harbour"),
        TrainOutcome(Ending.TRAINED, 3, steps=9, learned=2, rows=2, seconds=4.0, adapter="kitchen"),
        TrainOutcome(Ending.EMPTY, adapter="attic"),
    ),
)


def test_each_adapter_says_its_losses_its_preferences_and_what_it_lost(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preferred = Preferred("dpo", 2, -0.5, 0.5, 0.0, 1.0)
    lost = replace(TWO.parts[1], kept=1, lost=("Who?",), trained=Losses(1.5, 0.25))
    job.outcome = replace(
        TWO,
        parts=(
            replace(lost, adapter="harbour", rows=0, learned=0, preference=preferred, lost=()),
            replace(lost, held_out=Losses(prose=2.0), preference=preferred),
        ),
    )
    assert main(["train", str(path)]) == 0
    wanted = "2 of 2 wanted answers are likelier than the unwanted ones (before: 0)"
    margin = f"{wanted}, by +0.50 nats a token (before: -0.50)"
    assert capsys.readouterr().err.splitlines()[-8:-1] == [
        f"harbour version 3: {margin} after 9 steps, 4.0 s",
        "  loss in nats a token: prose 1.500, answers 0.250",
        "  all 1 answers that the version before knew are kept",
        "kitchen version 3: 2 of 2 known word for word after 9 steps, 4.0 s",
        "  loss in nats a token: prose 1.500, answers 0.250; held-out prose 2.000",
        f"  {margin}",
        "  no longer known: 'Who?'",
    ]


@pytest.mark.parametrize(
    ("outcome", "last"),
    [
        (TWO, 'ask it: dlm prompt PATH --adapter NAME "..."'),
        (replace(TWO, gate="trained"), 'ask it: dlm prompt PATH "..."'),
        (replace(TWO, learned=3), "to go on: dlm train PATH --resume"),
        (replace(TWO, learned=3, finished=True), UNKNOWN),
    ],
)
def test_each_adapter_is_reported(
    outcome: TrainOutcome, last: str, job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.outcome = outcome
    assert main(["train", str(path)]) == 0
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "harbour: nothing new to learn, version 2 is current",
        "kitchen version 3: 2 of 2 known word for word after 9 steps, 4.0 s",
        "attic: nothing to learn; route a section to it",
        last.replace("PATH", str(path)),
    ]


def test_a_stopped_job_says_which_adapter_was(
    job: Job, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.outcome = TrainOutcome(
        Ending.CANCELLED, parts=(TrainOutcome(Ending.CANCELLED, steps=1, adapter="kitchen"),)
    )
    assert main(["train", str(path), "--json"]) == 130
    captured = capsys.readouterr()
    assert "kitchen: stopped" in captured.err
    facts = json.loads(captured.out)
    assert [(p["adapter"], p["ending"]) for p in facts["adapters"]] == [("kitchen", "cancelled")]
