"""Several real processes of `dlm train`: two machines that are this one, and one that is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tests.tiny import FACTS, document_text, write_base

from dlm_engine.jobs import Ending, Start, TrainRequest, train
from dlm_engine.store import Store, read_metrics
from dlm_engine.store.layout import checkpoint_path
from dlm_engine.training.checkpoint import read_facts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


def document(folder: Path, epochs: int) -> Path:
    path = folder / "facts.dlm"
    extra = f"training:\n  num_epochs: {epochs}\n  micro_batch_size: 1\n  grad_accum: 3\n"
    path.write_text(document_text(str(write_base(folder / "base")), FACTS, extra))
    return path


def start(path: Path, home: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dlm_engine.cli.entry", f"--home={home}", "train", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, text=True, env=environment)


def test_two_machines_share_a_run_and_the_first_keeps_it(tmp_path: Path) -> None:
    path = document(tmp_path, 3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ["--num-nodes=2", "--main-address=127.0.0.1", f"--main-port={port}"]
    homes = [tmp_path / "one", tmp_path / "two"]
    nodes = [
        start(path, home, *where, f"--node-rank={rank}", "--processes=1")
        for rank, home in enumerate(homes)
    ]
    said = [node.communicate(timeout=240)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "2 processes share each step" in said[0]
    assert "step 3" in said[0]
    assert said[1].splitlines() == ["2 processes share each step"]
    store = Store(homes[0], DLM_ID)
    assert store.current() is not None
    assert not Store(homes[1], DLM_ID).exists()
    (run,) = read_metrics(store.root).runs
    assert run.steps == 3


def test_after_the_kill_of_one_nothing_runs_on_and_the_run_can(tmp_path: Path) -> None:
    path, home = document(tmp_path, 400), tmp_path / "home"
    with start(path, home, "--processes=2") as launcher:
        assert launcher.stderr is not None
        while not launcher.stderr.readline().startswith("step "):
            assert launcher.poll() is None
        children = psutil.Process(launcher.pid).children(recursive=True)
        second = next(child for child in children if child.environ().get("RANK") == "1")
        second.kill()
        said = launcher.stderr.read()
        assert launcher.wait(timeout=60) == 1
    assert "process 1: was ended by SIGKILL" in said
    _, alive = psutil.wait_procs(children, timeout=5)
    assert alive == []
    facts = read_facts(checkpoint_path(Store(home, DLM_ID).root, None))
    assert facts is not None
    assert facts.step >= 1
    outcome = train(
        TrainRequest(path, home, Start.RESUME, max_steps=facts.step + 1),
    )
    assert (outcome.ending, outcome.steps) == (Ending.TRAINED, facts.step + 1)
