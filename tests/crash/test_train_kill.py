"""Training is killed with SIGKILL at 50 random moments, from its first read to its commit.

Whatever it was doing, the store opens with a version that is whole and at least as new as
the last one the run had told of, and training goes on from there. The runs are forked from
one process that has paid for torch once and never used more than one thread, because the
threads of a numerical library do not survive a fork.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.nursery import Nursery, number_in
from tests.tiny import document_text, write_base

from dlm_engine.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
MOMENTS = 50
KILLS_PER_STORE = 10

NURSERY = """
import os, sys
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", DLM_THREADS="1")
from pathlib import Path
from dlm_engine.training import polite
polite.prepare()
import torch
torch.set_num_threads(1)
import peft, transformers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast
from dlm_engine import jobs
from dlm_engine.inference import loading
from dlm_engine.training import aim, anchors, checkpoint, determinism, network, session, sft
# Fewer everyday questions: a run of half a second puts more kills into its commit.
anchors.ANCHORS = anchors.ANCHORS[:2]

def train_for_ever(document, home):
    while True:
        outcome = jobs.train(
            jobs.TrainRequest(document, home, start=jobs.Start.FRESH, max_steps=2)
        )
        os.write(1, b"committed %d\\n" % outcome.version)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            train_for_ever(Path(sys.argv[1]), Path(line.strip()))
        finally:
            os._exit(1)
    os.write(1, b"started %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(write_base(tmp_path / "base"))))
    return path


@pytest.fixture
def nursery(document: Path) -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(document)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        yield Nursery(process)
        process.kill()


def test_a_kill_at_any_moment_of_training_loses_nothing(nursery: Nursery, tmp_path: Path) -> None:
    lap, first = one_run(nursery, tmp_path / "measured")
    chance = random.Random(20260103)
    within_commit, acknowledged_in_all, numbers_after = 0, 0, 0
    for moment in range(MOMENTS):
        home = tmp_path / f"home-{moment // KILLS_PER_STORE}"
        store = Store(home, DLM_ID)
        told = whole_number(store)

        child = nursery.start(home)
        # Each fiftieth of the time a run takes has its kill, so none of its parts is left out.
        share = (moment * 21 % MOMENTS + chance.random()) / MOMENTS
        deadline = time.monotonic() + share * (first + lap / 4)
        while (left := deadline - time.monotonic()) > 0 and (line := nursery.line(left)):
            told = number_in(line)
        told = max(told, nursery.kill(child))

        seen = whole_number(store)
        assert seen >= told
        within_commit += bool(store.recover().actions)
        assert store.recover().actions == []
        assert whole_number(store) >= seen
        assert [path for path in home.rglob("*") if "tmp-" in path.name] == []
        manifest = store.read_manifest()
        runs = [run.adapter_version for run in manifest.training_runs] if manifest else []
        assert runs == list(range(1, whole_number(store) + 1))
        acknowledged_in_all += told
        if moment % KILLS_PER_STORE == KILLS_PER_STORE - 1:
            numbers_after += next_run_succeeds(nursery, home)
    # Otherwise no kill fell into a commit, or none after one, and nothing was tested.
    assert within_commit >= 1
    assert acknowledged_in_all >= 1
    assert numbers_after >= MOMENTS // KILLS_PER_STORE


def one_run(nursery: Nursery, home: Path) -> tuple[float, float]:
    """Seconds of a run in a process that has already made one, and of the first."""
    child = nursery.start(home)
    began = time.monotonic()
    at = []
    for number in (1, 2, 3):
        assert number_in(nursery.line(120)) == number
        at.append(time.monotonic())
    nursery.kill(child)
    return at[2] - at[1], at[0] - began


def next_run_succeeds(nursery: Nursery, home: Path) -> int:
    before = whole_number(Store(home, DLM_ID))
    child = nursery.start(home)
    number = number_in(nursery.line(120))
    nursery.kill(child)
    assert number == before + 1
    return number


def whole_number(store: Store) -> int:
    """The number of the current version, every file of it checked; 0 where there is none yet."""
    version = store.current()
    if version is None:
        return 0
    version.verify()
    return version.number
