"""What a run leaves in the metrics and on dashboards: trained, cancelled, failed or killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tests.tiny import document_text

from dlm_engine.errors import TrainingError, UsageError
from dlm_engine.jobs import (
    Dashboards,
    Ending,
    Event,
    PhaseBegan,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
    train,
)
from dlm_engine.store import RunStatus, Store, is_live, read_log, read_metrics, read_run
from dlm_engine.training import anchors, sinks
from dlm_engine.training.sft import Run

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
STEPS = 4
SHORT = f"training:\n  num_epochs: {STEPS}\n"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:2])
    monkeypatch.setenv("DLM_THREADS", "1")
    for name in (sinks.TENSORBOARD, sinks.WANDB):
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def document(tiny_base: Path, tmp_path: Path) -> Path:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Store(tmp_path / "home", DLM_ID).root


Go = Callable[..., TrainOutcome]


@pytest.fixture
def go(document: Path, tmp_path: Path) -> Go:
    def run(
        tell: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        dashboards: Dashboards = sinks.NOWHERE,
    ) -> TrainOutcome:
        request = TrainRequest(
            document, tmp_path / "home", start=Start.FRESH, dashboards=dashboards
        )
        return train(request, tell, cancelled)

    return run


def test_a_trained_run_is_there_from_its_choices_to_its_version(go: Go, root: Path) -> None:
    events: list[Event] = []
    live: list[bool] = []

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, PhaseBegan):
            live.append(is_live(root))

    outcome = go(tell)
    figures = read_run(root)
    assert figures is not None
    run = figures.run
    assert (run.status, run.adapter_version, run.steps) == (RunStatus.TRAINED, 1, STEPS)
    assert (run.start, run.seed, run.loss) == ("fresh", 42, outcome.loss)
    assert run.seconds == outcome.seconds
    assert run.answers_loss == outcome.trained.answers is not None
    assert run.prose_loss is None
    assert live == [True, True]
    assert not is_live(root)
    assert [phase.phase for phase in figures.phases] == ["prepare", "sft", "save"]
    assert all(phase.seconds is not None for phase in figures.phases)
    told = [event for event in events if isinstance(event, Progress)]
    assert [(row.step, row.loss, row.lr) for row in figures.steps] == [
        (event.step, event.loss, event.rate) for event in told
    ]
    # The log that tools follow says the same of each step.
    (log,) = (root / "logs").glob("*.jsonl")
    logged = [record for record in read_log(log) if record["type"] == "step"]
    assert [(r["step"], r["loss"], r["grad_norm"]) for r in logged] == [
        (row.step, row.loss, row.grad_norm) for row in figures.steps
    ]
    assert "learning_rate" in {choice.name for choice in figures.choices}
    (measured,) = figures.evaluations
    assert (measured.phase, measured.step, measured.learned) == ("sft", STEPS, outcome.learned)
    assert measured.divergence == outcome.divergence


def test_losses_of_prose_and_of_answers_are_kept_apart(go: Go, document: Path, root: Path) -> None:
    text = document.read_text()
    document.write_text(text.replace("::instr", "The lamp is lit at dusk.\n\n::instr", 1))
    outcome = go()
    (run,) = read_metrics(root).runs
    assert None not in (run.prose_loss, run.answers_loss)
    assert (run.prose_loss, run.answers_loss) == (outcome.trained.prose, outcome.trained.answers)


def test_a_cancelled_run_is_cancelled_and_keeps_its_steps(go: Go, root: Path) -> None:
    seen: list[Event] = []
    outcome = go(seen.append, lambda: sum(isinstance(e, Progress) for e in seen) >= 2)
    assert outcome.ending is Ending.CANCELLED
    (run,) = read_metrics(root).runs
    assert (run.status, run.steps, run.adapter_version) == (RunStatus.CANCELLED, 2, None)
    assert run.ended_at is not None


class Unwanted(Exception):
    pass


@pytest.mark.parametrize("reason", [KeyboardInterrupt, Unwanted])
def test_a_run_that_nobody_wants_any_more_is_cancelled(
    go: Go, root: Path, reason: type[BaseException]
) -> None:
    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            raise reason

    with pytest.raises(reason):
        go(tell)
    (run,) = read_metrics(root).runs
    assert (run.status, run.steps, run.error) == (RunStatus.CANCELLED, 1, None)


def test_a_failed_run_says_why(go: Go, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(self: Run, until: int | None = None) -> None:
        raise TrainingError("step 1", "the loss\nwas not a number", "lower the rate")

    monkeypatch.setattr(Run, "steps", steps)
    with pytest.raises(TrainingError):
        go()
    (run,) = read_metrics(root).runs
    assert (run.status, run.error) == (RunStatus.FAILED, "TrainingError")
    assert run.message == "step 1: the loss was not a number: lower the rate"
    assert run.ended_at is not None
    assert not is_live(root)


def test_figures_that_cannot_be_recorded_change_nothing(go: Go, root: Path) -> None:
    plain = go()
    (root / "metrics.sqlite").unlink()
    (root / "metrics.sqlite").mkdir()
    said: list[Event] = []
    again = go(said.append)
    assert again.adapter_sha256 == plain.adapter_sha256
    told = [e for e in said if isinstance(e, Status) and "metrics.sqlite" in e.message]
    assert len(told) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from dlm_engine.training import polite
polite.prepare()
from dlm_engine.jobs import Progress, TrainRequest, train
from dlm_engine.training import anchors
anchors.ANCHORS = anchors.ANCHORS[:2]
def tell(event):
    if isinstance(event, Progress) and event.step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
train(TrainRequest(Path(sys.argv[1]), Path(sys.argv[2])), tell)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_shows_as_interrupted(document: Path, root: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, document, tmp_path / "home"], timeout=120)
    assert done.returncode == -signal.SIGKILL
    (run,) = read_metrics(root).runs
    assert (run.status, run.ended_at) == (RunStatus.INTERRUPTED, None)


# --- dashboards --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dashboards", "package"),
    [(Dashboards(tensorboard=Path("tb")), "tensorboard"), (Dashboards(wandb="p"), "wandb")],
    ids=["tensorboard", "wandb"],
)
@pytest.mark.parametrize("by", ["flag", "environment"])
def test_a_dashboard_that_is_not_installed_is_refused_before_anything_is_written(
    go: Go,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    dashboards: Dashboards,
    package: str,
    by: str,
) -> None:
    monkeypatch.setattr(sinks, "find_spec", lambda name: None)
    if by == "environment":
        monkeypatch.setenv(f"DLM_{package.upper()}", "somewhere")
        dashboards = sinks.NOWHERE
    with pytest.raises(UsageError) as caught:
        go(dashboards=dashboards)
    assert f"--{package}: {package} is not installed: pip install {package}" in str(caught.value)
    assert not root.exists()


def test_a_file_in_the_place_of_the_folder_is_refused(go: Go, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        go(dashboards=Dashboards(tmp_path / "taken"))
    assert not root.exists()


@pytest.mark.slow
def test_tensorboard_gets_every_step(go: Go, root: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    go(dashboards=Dashboards(tmp_path / "tb"))
    (folder,) = (tmp_path / "tb").iterdir()
    assert folder.name == f"{DLM_ID}-000001"
    found = EventAccumulator(str(folder)).Reload()
    figures = read_run(root)
    assert figures is not None
    scalars = found.Scalars("sft/loss")
    assert [s.step for s in scalars] == [row.step for row in figures.steps]
    assert [s.value for s in scalars] == pytest.approx([row.loss for row in figures.steps])
    assert {"sft/lr", "sft/grad_norm", "eval/sft/learned"} <= set(found.Tags()["scalars"])


@pytest.mark.slow
@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_gets_the_run_offline(
    go: Go, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    said: list[Event] = []
    go(said.append, dashboards=Dashboards(wandb="facts"))
    assert not [e for e in said if isinstance(e, Status) and "dashboard" in e.message]
    assert [*(root / "logs" / "wandb").glob("offline-run-*/*.wandb")]


def test_a_dashboard_that_fails_is_told_once_and_costs_nothing(
    go: Go, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, folder: Path) -> None:
            pass

        def write(self, figures: object, step: int) -> None:
            raise OSError("gone")

        def close(self, *, failed: bool) -> None:
            raise OSError("gone")

    monkeypatch.setattr(sinks, "find_spec", lambda name: object())
    monkeypatch.setattr(sinks, "_TensorBoard", Broken)
    said: list[Event] = []
    outcome = go(said.append, dashboards=Dashboards(tmp_path / "tb"))
    assert outcome.ending is Ending.TRAINED
    assert len([e for e in said if isinstance(e, Status) and "dashboard" in e.message]) == 1
    figures = read_run(root)
    assert figures is not None
    assert len(figures.steps) == STEPS
