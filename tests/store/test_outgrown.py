"""What each run adds to a store is bounded: logs go with versions, the manifest's list ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from tests.store.conftest import fill, run_record

from dlm_engine.store import (
    LEARNED_NAME,
    LearnedRow,
    MadeBy,
    RunLog,
    Step,
    Store,
    TrainingSummary,
    collect_garbage,
    learned_file,
    plan_garbage,
    prune_saved,
    purge_store,
    read_summary,
)
from dlm_engine.store.outgrown import KEPT_RUNS, KEPT_STOPPED, TRIMMED_AT_ONCE

WHEN = datetime(2026, 1, 2, 3, 4, 5)
Snapshot = Callable[[Path], dict[str, str]]


def run(store: Store, adapter: str | None = None, row: str = "k") -> int:
    """A run of a save, with its log and its summary, as training leaves it; its number."""
    manifest = store.read_manifest()
    assert manifest is not None
    number = manifest.next_run_id()
    with store.stage(adapter) as staging, RunLog.create(store, number, WHEN) as log:
        fill(staging.path, f"weights {staging.number}")
        known = LearnedRow(kind="text", key=row, section_id="s", text="t")
        (staging.path / LEARNED_NAME).write_bytes(learned_file((known,)))
        record = run_record(number, staging.number, adapter)
        path = log.summary_path.relative_to(store.root).as_posix()
        about = record.run.model_copy(update={"summary_path": path})
        staging.commit(record.model_copy(update={"run": about, "made_by": MadeBy.SAVE}))
        log.write(Step(step=1, timestamp="now"))
        facts = {"seed": 1, "steps": 1, "duration_seconds": 1.0, "determinism_class": "strong"}
        log.write_summary(
            TrainingSummary(run_id=number, adapter_version=staging.number, **facts)  # type: ignore[arg-type]
        )
    return number


def stopped(store: Store, number: int) -> None:
    """A run that made no version."""
    RunLog.create(store, number, WHEN).close()


def logs(store: Store) -> list[str]:
    return sorted(path.name[6:12] + path.suffix for path in store.logs_dir().glob("train-*"))


def both(*numbers: int) -> list[str]:
    return sorted(f"{n:06d}{end}" for n in numbers for end in (".jsonl", ".json"))


def listed(store: Store) -> list[int]:
    manifest = store.read_manifest()
    assert manifest is not None
    return [each.run_id for each in manifest.training_runs]


def test_the_logs_of_versions_that_saves_made_go_with_them(store: Store) -> None:
    for _ in range(5):
        run(store)
    other = store.logs_dir() / "rpc-injected.jsonl"
    other.write_text("{}\n")
    prune_saved(store, 2)
    assert logs(store) == both(4, 5)
    assert other.is_file()
    assert listed(store) == [1, 2, 3, 4, 5]
    manifest = store.read_manifest()
    assert manifest is not None
    assert read_summary(store, manifest.training_runs[-1]) is not None
    assert read_summary(store, manifest.training_runs[0]) is None


def test_garbage_collection_names_the_logs_it_removes(store: Store, snapshot: Snapshot) -> None:
    for _ in range(4):
        run(store)
    before = snapshot(store.home)
    planned = plan_garbage(store, 1)
    assert snapshot(store.home) == before
    kinds = [str(item.kind) for item in planned.items]
    assert kinds == ["old version"] * 3 + ["log of a version that is gone"] * 6
    assert collect_garbage(store, 1) == planned
    assert logs(store) == both(4)
    assert collect_garbage(store, 1).items == ()


def test_each_adapter_keeps_the_logs_of_its_own_versions(store: Store) -> None:
    for adapter in ("tone", "other", "tone"):
        run(store, adapter)
    prune_saved(store, 1)
    assert logs(store) == both(2, 3)


def test_of_runs_without_a_version_the_newest_logs_stay(store: Store) -> None:
    run(store)
    for number in range(2, 2 + KEPT_STOPPED + 3):
        stopped(store, number)
    collect_garbage(store, 1)
    kept = [f"{n:06d}.jsonl" for n in range(5, 5 + KEPT_STOPPED)]
    assert logs(store) == sorted([*both(1), *kept])


def test_a_purge_takes_the_logs_along(store: Store) -> None:
    run(store, row="secret")
    run(store)
    removed = purge_store(store, {"secret"})
    assert logs(store) == both(2)
    assert [item.path.name for item in removed.items] == ["v0001"]


def test_the_manifests_list_of_runs_ends_and_no_number_is_given_twice(store: Store) -> None:
    many = KEPT_RUNS + TRIMMED_AT_ONCE + 2
    for number in range(1, many + 1):
        assert run(store) == number
        prune_saved(store, 2)
        assert len(listed(store)) <= KEPT_RUNS + TRIMMED_AT_ONCE + 2
    collect_garbage(store, 1)
    assert listed(store) == list(range(many - KEPT_RUNS + 1, many + 1))
    assert store.recover().actions == []
    assert run(store) == many + 1
    assert [v.number for v in store.versions()][-1] == many + 1


def test_runs_of_versions_that_are_there_stay_listed(store: Store) -> None:
    """Another writer's version counts because the manifest names it."""
    first = run(store)
    path = store.versions()[0].path
    (path / "COMPLETE.json").unlink()
    (path / "dlm_run.json").unlink()
    for _ in range(KEPT_RUNS + 2):
        run(store)
    collect_garbage(store, KEPT_RUNS + 9)
    assert first in listed(store)
    assert store.versions()[0].complete
    assert logs(store)[:2] == both(1)


KILLED = """
import os, signal, sys
from pathlib import Path
import dlm_engine.store.upkeep as upkeep
from dlm_engine.store import Store, prune_saved
left = [int(sys.argv[3])]
remove = upkeep._remove
def counted(item):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    remove(item)
upkeep._remove = counted
prune_saved(Store(Path(sys.argv[1]), sys.argv[2]), 1)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("after", [0, 1, 3, 5])
def test_killed_in_between_the_next_time_finishes(store: Store, after: int) -> None:
    for _ in range(3):
        run(store)
    command = [sys.executable, "-c", KILLED, str(store.home), store.dlm_id, str(after)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    prune_saved(store, 1)
    assert logs(store) == both(3)
    assert [v.number for v in store.versions()] == [3]
    assert run(store) == 4


def test_a_log_that_cannot_be_named_is_left_alone(store: Store) -> None:
    run(store)
    odd = store.logs_dir() / "train-notes.summary.json"
    odd.write_text(json.dumps({}))
    os.mkdir(store.logs_dir() / "train-000009-20260102T030405.jsonl")
    collect_garbage(store, 1)
    assert odd.is_file()
