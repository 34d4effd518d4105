"""Ending on held-out prose: the best step is committed, and only where prose is held out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.tiny import document_text

from dlm_engine.errors import UsageError
from dlm_engine.jobs import Ending, Evaluation, Event, Start, TrainOutcome, TrainRequest, train
from dlm_engine.store import Store, read_run
from dlm_engine.training import anchors

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
PATIENCE = 2


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:2])
    monkeypatch.setenv("DLM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def document(tiny_base: Path, tmp_path: Path) -> Path:
    """Thirty sections of prose, of which some are held out, and six passes at most."""
    prose = "".join(f"::prose::\nBoat {n} lies at pier {n % 7}.\n\n" for n in range(30))
    text = document_text(
        str(tiny_base), extra="training:\n  num_epochs: 6\n  learning_rate: 0.01\n"
    )
    path = tmp_path / "prose.dlm"
    path.write_text(text + "\n" + prose)
    return path


def go(document: Path, tmp_path: Path, **wishes: object) -> tuple[TrainOutcome, list[Event]]:
    events: list[Event] = []
    request = TrainRequest(document, tmp_path / "home", **wishes)  # type: ignore[arg-type]
    return train(request, events.append), events


def measured(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Have held-out prose lose `losses` after the steps, and the last of them from then on."""
    left = iter(losses)
    last = [losses[-1]]

    def loss(portions: object, held_out: object) -> float:
        return next(left, last[0])

    monkeypatch.setattr("dlm_engine.training.early.mean_loss", loss)


def test_the_best_step_is_committed_and_not_the_last(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, _ = go(document, tmp_path, max_steps=3)
    measured(monkeypatch, [5.0, 4.0, 3.0, 3.5, 3.2, 1.0])
    outcome, events = go(document, tmp_path, start=Start.FRESH, early_stop=PATIENCE)
    assert (outcome.ending, outcome.steps) == (Ending.TRAINED, 3)
    assert outcome.adapter_sha256 == straight.adapter_sha256
    assert outcome.loss == straight.loss
    seen = [event.validation_loss for event in events if isinstance(event, Evaluation)]
    assert seen == [5.0, 4.0, 3.0, 3.5, 3.2]
    assert outcome.path is not None
    data = (outcome.path / "adapter_model.safetensors").read_bytes()
    assert hashlib.sha256(data).hexdigest() == straight.adapter_sha256
    figures = read_run(Store(tmp_path / "home", DLM_ID).root)
    assert figures is not None
    # The step that was kept is measured once more, at the end.
    assert [row.step for row in figures.evaluations] == [1, 2, 4, 5, 3]

    again, _ = go(document, tmp_path, early_stop=PATIENCE)
    assert again.ending is Ending.UNCHANGED


def test_what_is_held_out_is_measured_for_real(document: Path, tmp_path: Path) -> None:
    outcome, events = go(document, tmp_path, early_stop=PATIENCE)
    seen = {e.step: e.validation_loss or 0.0 for e in events if isinstance(e, Evaluation)}
    assert outcome.validation_loss == pytest.approx(min(seen.values()))
    assert outcome.steps == min(seen, key=seen.__getitem__)
    assert max(seen) <= outcome.steps + PATIENCE
    (file,) = Store(tmp_path / "home", DLM_ID).logs_dir().glob("*.summary.json")
    summary = json.loads(file.read_text())
    assert summary["final_val_loss"] == outcome.validation_loss
    assert summary["final_val_perplexity"] == math.exp(summary["final_val_loss"])


def test_without_held_out_prose_it_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    document = tmp_path / "facts.dlm"
    document.write_text(document_text(str(tiny_base)))
    with pytest.raises(UsageError, match="too few to hold any out"):
        go(document, tmp_path, early_stop=PATIENCE)
    assert not Store(tmp_path / "home", DLM_ID).exists()
