"""Training as a person does it: from a document's path to a version, and what is left behind.

What is under test is the order of things, not the learning.
"""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from tests.training.sessions import STEPS, Place, sha, small_and_polite

from dlm_engine.errors import (
    StoreError,
    TrainingError,
)
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    Progress,
    Start,
)
from dlm_engine.store import read_lock, read_log
from dlm_engine.training.sft import Knowledge, Run


def test_a_run_commits_a_whole_version(trained: Place) -> None:
    outcome, current = trained.outcome, trained.store.current()
    assert outcome is not None
    assert current is not None
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.TRAINED, 1, STEPS)
    current.verify()
    assert {path.name for path in current.path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training_state.safetensors",
        "dlm_run.json",
        "learned.json",
        "COMPLETE.json",
    }
    assert json.loads((current.path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    digest = hashlib.sha256(trained.adapter().read_bytes()).hexdigest()
    assert digest == outcome.adapter_sha256
    assert not (trained.store.root / "checkpoint").exists()


def test_a_run_is_in_the_manifest(trained: Place) -> None:
    manifest = trained.store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_version == 1
    assert manifest.adapter_sha256 == sha(trained)
    assert len(manifest.content_hashes) == 1
    (run,) = manifest.training_runs
    assert (run.run_id, run.adapter_version, run.steps, run.seed) == (1, 1, STEPS, 42)
    assert run.status == "completed"
    assert run.pinned_versions["torch"] == str(torch.__version__)
    assert run.summary_path is not None
    summary = json.loads((trained.store.root / run.summary_path).read_text())
    assert summary["steps"] == STEPS
    assert summary["final_train_loss"] == run.final_train_loss


def test_blank_lines_around_sections_are_nothing_new(trained: Place) -> None:
    """Fault 48: ids depended on them, and untouched sections counted as new."""
    text = trained.document.read_text()
    trained.document.write_text(text.replace("::instruction::", "\n\n::instruction::") + "\n\n\n")
    assert trained.train().ending is Ending.UNCHANGED


def test_a_run_writes_the_lock_with_the_conditions_of_its_promise(trained: Place) -> None:
    lock = read_lock(trained.store)
    assert lock is not None
    assert trained.outcome is not None
    assert lock.determinism_class == trained.outcome.determinism
    assert lock.dlm_sha256 == hashlib.sha256(trained.document.read_bytes()).hexdigest()
    assert lock.conditions.keys() >= {
        "instruction_set",
        "kernels",
        "precision",
        "attention",
        "batch",
        "layers",
        "mkl_branch",
        "threads",
    }
    assert lock.determinism_flags == {
        "cudnn_benchmark": False,
        "cudnn_deterministic": False,
        "deterministic_algorithms": False,
        "float32_matmul_precision": "highest",
    }
    assert lock.conditions["threads"] == "1"
    assert lock.conditions["layers"] == "last 2"


def test_a_run_writes_a_log_line_for_each_step(trained: Place) -> None:
    (path,) = (trained.store.root / "logs").glob("train-*.jsonl")
    records = list(read_log(path))
    assert [record["type"] for record in records] == [
        "banner",
        "delta",
        *["step"] * STEPS,
        "run_complete",
    ]
    assert [record.get("step") for record in records[2:-1]] == [1, 2, 3, 4]
    assert records[-1]["adapter_version"] == 1


def test_a_run_says_what_it_chose_and_how_it_goes(fresh: Place) -> None:
    events: list[Event] = []
    outcome = fresh.train(tell=events.append, max_steps=2)
    names = {event.name for event in events if isinstance(event, Choice)}
    assert names >= {"plan", "lora_r", "learning_rate", "layers", "validation"}
    assert all(event.reason for event in events if isinstance(event, Choice))
    steps = [event for event in events if isinstance(event, Progress)]
    assert [(step.step, step.cap, step.rows) for step in steps] == [(1, STEPS, 3), (2, STEPS, 3)]
    assert outcome.loss == steps[-1].loss
    assert not outcome.finished


def test_an_adapter_that_is_not_finite_is_kept_aside(
    trained: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Run.look

    def spoil(run: Run) -> Knowledge:
        next(iter(run.parameters.values())).data.view(-1)[0] = float("nan")
        return look(run)

    monkeypatch.setattr(Run, "look", spoil)
    with pytest.raises(TrainingError, match="not finite"):
        trained.train(Start.FRESH)
    current = trained.store.current()
    assert current is not None
    assert current.number == 1
    assert [v.number for v in trained.store.versions() if v.rejected] == [2]
    assert trained.ask().version == 1
    monkeypatch.undo()
    small_and_polite(monkeypatch)
    assert trained.train(Start.FRESH, max_steps=1).version == 3


def test_a_changed_adapter_file_is_refused(trained: Place) -> None:
    data = bytearray(trained.adapter().read_bytes())
    data[-1] ^= 1
    trained.adapter().write_bytes(bytes(data))
    with pytest.raises(StoreError, match="was changed after the commit"):
        trained.ask()
    with pytest.raises(StoreError, match="was changed after the commit"):
        trained.train()
