"""A process that writes to a store is killed with SIGKILL at 50 random moments.

Whatever it was doing, the store opens with a complete version at least as new as the
last one the process had said was committed, and the next process goes on from there.
The writers are forked from one small process, which pays for the imports once.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.nursery import Nursery

from dlm_engine.store import Manifest, Store

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
MOMENTS = 50
KILLS_PER_STORE = 5

NURSERY = """
import os, sys
from datetime import datetime
from pathlib import Path
from dlm_engine.store import Manifest, RunRecord, Store, TrainingRunSummary, collect_garbage

def write_for_ever(home, dlm_id):
    store = Store(home, dlm_id)
    while True:
        with store.lock("training"):
            with store.stage() as staging:
                number = staging.number
                body = number.to_bytes(4, "big") * 16384
                (staging.path / "adapter_model.safetensors").write_bytes(body)
                (staging.path / "adapter_config.json").write_bytes(b"{}")
                run = TrainingRunSummary(
                    run_id=store.read_manifest().next_run_id(),
                    started_at=datetime(2026, 1, 2),
                    adapter_version=number,
                    seed=1,
                )
                staging.commit(RunRecord(run=run, base_model="smollm2-135m"))
            os.write(1, b"committed %d\\n" % number)
            if number % 4 == 0:
                collect_garbage(store, 2)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        write_for_ever(Path(line.strip()), sys.argv[1])
    os.write(1, b"started %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", NURSERY, DLM_ID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        yield Nursery(process)
        process.kill()


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(
    nursery: Nursery, tmp_path: Path
) -> None:
    chance = random.Random(20260102)
    repaired = 0
    numbers: list[int] = []
    for moment in range(MOMENTS):
        home = tmp_path / f"home-{moment // KILLS_PER_STORE}"
        store = Store(home, DLM_ID)
        if moment % KILLS_PER_STORE == 0:
            store.write_manifest(Manifest(dlm_id=DLM_ID, base_model="smollm2-135m"))
        already = store.current()
        acknowledged = already.number if already else 0

        writer = nursery.start(home)
        # The first commit also says that the writer is at work; the moment counts from there.
        acknowledged = max(acknowledged, number_in(nursery.line(60)))
        deadline = time.monotonic() + chance.uniform(0, 0.12)
        while (left := deadline - time.monotonic()) > 0 and (line := nursery.line(left)):
            acknowledged = max(acknowledged, number_in(line))
        os.kill(writer, signal.SIGKILL)
        while (line := nursery.line(60)) != "gone":
            acknowledged = max(acknowledged, number_in(line))

        seen = whole_number(store)
        assert seen >= acknowledged
        repaired += bool(store.recover().actions)
        assert store.recover().actions == []
        assert whole_number(store) >= seen
        assert [path for path in store.root.rglob("*") if "tmp-" in path.name] == []
        manifest = store.read_manifest()
        assert manifest is not None
        runs = [run.adapter_version for run in manifest.training_runs]
        assert runs == list(range(1, whole_number(store) + 1))
        assert [run.run_id for run in manifest.training_runs] == runs
        numbers.append(acknowledged)
    with contextlib.suppress(ProcessLookupError):
        os.kill(writer, 0)
        pytest.fail("the last writer still runs")
    # Otherwise the kills all fell between two commits, and nothing was tested.
    assert repaired >= 5
    assert numbers[-1] >= KILLS_PER_STORE


def number_in(line: str) -> int:
    word, _, number = line.partition(" ")
    assert word == "committed"
    return int(number)


def whole_number(store: Store) -> int:
    version = store.current()
    assert version is not None
    version.verify()
    body = (version.path / "adapter_model.safetensors").read_bytes()
    assert body == version.number.to_bytes(4, "big") * 16384
    return version.number
