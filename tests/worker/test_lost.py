"""What a training lost goes with its result, also what single adapters of it did."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dlm_engine import jobs
from dlm_engine.worker import jobs_adapter
from dlm_engine.worker.messages import Train


def test_what_was_lost_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    part = jobs.TrainOutcome(jobs.Ending.TRAINED, lost=("Where?",), adapter="tone")
    outcome = jobs.TrainOutcome(jobs.Ending.TRAINED, lost=("Who?", "Where?"), parts=(part,))
    monkeypatch.setattr(jobs, "train", lambda *_: outcome)
    monkeypatch.setattr(jobs_adapter, "_with_store", lambda _context, _wait, act: act())
    monkeypatch.setattr(jobs_adapter, "_resident", lambda: None)
    context = cast(
        "jobs_adapter.Context",
        SimpleNamespace(home=tmp_path, id=1, cancelled=threading.Event().is_set),
    )
    told = jobs_adapter.train(Train("notes.dlm"), context)
    assert told.lost == ("Who?", "Where?")
