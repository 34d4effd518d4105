"""Equal inputs give equal bytes: whatever the thread count, and whatever ran before."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import FACTS, document_text
from tests.training.parts import bytes_of, make_run

from dlm_engine.bases import Weights
from dlm_engine.jobs import Start, TrainRequest, train
from dlm_engine.training import anchors, determinism


def test_the_tiny_base_earns_its_class_and_keeps_no_gradient() -> None:
    run = make_run()
    before, threads = bytes_of(run), torch.get_num_threads()
    assert determinism.earn(run.trainee, run.packs[0].pack) == "strong"
    assert bytes_of(run) == before
    assert all(parameter.grad is None for parameter in run.parameters.values())
    assert torch.get_num_threads() == threads


def test_a_class_is_not_earned_where_the_bits_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    digests = iter(["one thread", "all of them", "all of them"])
    monkeypatch.setattr(determinism, "_gradient_digest", lambda *given: next(digests))
    assert determinism.earn(run.trainee, run.packs[0].pack) == "best-effort"


def test_what_drew_random_numbers_before_changes_nothing(
    document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_THREADS", "1")
    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    text = document.read_text()
    document.write_text(text.replace("\n---\n\n", "\ntraining:\n  lora_dropout: 0.2\n---\n\n"))
    made = []
    for seed in (1, 2):
        random.seed(seed)
        torch.manual_seed(seed)
        torch.rand(seed * 1000)
        request = TrainRequest(document, tmp_path / f"home-{seed}", Start.FRESH, max_steps=2)
        made.append(train(request).adapter_sha256)
    assert made[0] is not None
    assert made[0] == made[1]


@pytest.mark.model
def test_one_thread_and_two_in_two_processes_make_the_same_adapter(
    base_weights: Weights, tmp_path: Path
) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("smollm2-135m", FACTS))
    one, two = (trained_by_command(path, tmp_path / f"home-{n}", n) for n in (1, 2))
    assert one["steps"] == two["steps"] == 2
    assert one["adapter_sha256"] == two["adapter_sha256"]
    assert (one["determinism"], two["determinism"]) == ("strong", "strong")


def trained_by_command(path: Path, home: Path, threads: int) -> dict[str, Any]:
    """What `dlm train` reports, in a process of its own with so many threads."""
    environment = {
        **os.environ,
        "DLM_HOME": str(home),
        "DLM_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    command = [sys.executable, "-m", "dlm_engine", "train", str(path)]
    done = subprocess.run(
        [*command, "--max-steps", "2", "--fresh", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
