"""The metrics: what is recorded is read back, whatever happens to writer, disk and file."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    ExportRow,
    MetricsWriter,
    RunRow,
    RunStatus,
    StepRow,
    Store,
    collect_garbage,
    is_live,
    plan_garbage,
    read_metrics,
    read_run,
)
from dlm_engine.store.metrics_schema import METRICS_NAME, SCHEMA, columns
from dlm_engine.store.metrics_thinning import KEPT_STEPS, NEWEST_RUNS

Snapshot = Callable[[Path], dict[str, str]]
MOMENT = "2026-01-02T03:04:05Z"


def step(run: int, number: int, loss: float = 0.5) -> StepRow:
    return StepRow(run, "sft", number, loss, 1e-3, 0.7, 0.01, 1, 3, 400.0, number / 10, MOMENT)


def ended(number: int, **facts: object) -> RunRow:
    row = RunRow(number, MOMENT, MOMENT, RunStatus.TRAINED, "auto", "smollm2-135m", 42)
    return replace(row, **facts)  # type: ignore[arg-type]


@pytest.fixture
def root(store: Store) -> Path:
    return store.root


@pytest.fixture
def said() -> list[str]:
    return []


def recorded(root: Path, steps: int = 3, **facts: object) -> int:
    """A whole run of `steps` steps; its number."""
    writer = MetricsWriter(root, pytest.fail)
    number = writer.begin_run("auto", "smollm2-135m", 42)
    for each in range(1, steps + 1):
        writer.add(step(number, each))
    writer.end_run(ended(number, **{"steps": steps, "adapter_version": number, **facts}))
    writer.close()
    return number


def test_a_store_without_runs_has_no_figures_and_gets_no_file(
    store: Store, snapshot: Snapshot
) -> None:
    before = snapshot(store.home)
    assert read_metrics(store.root).runs == ()
    assert read_run(store.root) is None
    assert read_run(store.root.parent / "nothing") is None
    assert not is_live(store.root)
    assert snapshot(store.home) == before


def test_what_was_written_is_read(root: Path) -> None:
    assert [recorded(root), recorded(root, 2, status=RunStatus.FAILED, error="StoreError")] == [
        1,
        2,
    ]
    first, second = read_metrics(root).runs
    assert (first.status, first.steps, first.adapter_version) == (RunStatus.TRAINED, 3, 1)
    assert (second.status, second.error) == (RunStatus.FAILED, "StoreError")
    figures = read_run(root, 1)
    assert figures is not None
    assert figures.steps == tuple(step(1, number) for number in (1, 2, 3))
    newest = read_run(root)
    assert newest is not None
    assert newest.run.run_id == 2
    assert [run.run_id for run in read_metrics(root, limit=1).runs] == [2]
    assert read_run(root, 3) is None


def test_steps_come_in_the_order_they_were_taken_also_of_several_phases(root: Path) -> None:
    writer = MetricsWriter(root, pytest.fail)
    number = writer.begin_run("auto", "b", 1)
    taken = [step(number, 1), step(number, 2), replace(step(number, 1), phase="dpo")]
    for row in taken:
        writer.add(row)
    writer.close()
    figures = read_run(root)
    assert figures is not None
    assert list(figures.steps) == taken
    assert figures.run.steps == 1


def test_numbers_that_are_not_finite_are_nothing(root: Path) -> None:
    writer = MetricsWriter(root, pytest.fail)
    number = writer.begin_run("auto", "b", 1)
    writer.add(step(number, 1, math.nan))
    writer.add(step(number, 2, math.inf))
    writer.close()
    figures = read_run(root)
    assert figures is not None
    assert [row.loss for row in figures.steps] == [None, None]


def test_a_live_run_is_seen_while_it_writes_and_rows_wait_for_company(root: Path) -> None:
    now = [0.0]
    writer = MetricsWriter(root, pytest.fail, clock=lambda: now[0])
    number = writer.begin_run("auto", "b", 1)
    writer.add(step(number, 1))
    figures = read_run(root)
    assert figures is not None
    assert (figures.run.status, figures.steps) == (RunStatus.RUNNING, ())
    now[0] = 1.5
    writer.add(step(number, 2, 0.25))
    figures = read_run(root)
    assert figures is not None
    assert [row.step for row in figures.steps] == [1, 2]
    assert (figures.run.steps, figures.run.loss) == (2, 0.25)
    later = read_run(root, skip=1)
    assert later is not None
    assert [row.step for row in later.steps] == [2]
    writer.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from dlm_engine.store import MetricsWriter, StepRow
writer = MetricsWriter(Path(sys.argv[1]), sys.exit)
number = writer.begin_run("auto", "b", 1)
for each in range(16 + 3):
    writer.add(StepRow(number, "sft", each, 0.5, 1e-3, 1.0, 0.0, 0, 1, 1.0, 0.0, "now"))
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_is_interrupted_from_then_on_and_looking_changes_nothing(
    store: Store, snapshot: Snapshot
) -> None:
    root = store.root
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert is_live(root)
        before = snapshot(store.home)
        running = read_run(root)
        assert snapshot(store.home) == before
        process.send_signal(signal.SIGKILL)
    assert running is not None
    assert running.run.status is RunStatus.RUNNING
    # What was gathered and not yet written is lost; what was written is not.
    assert len(running.steps) >= 16
    before = snapshot(store.home)
    figures = read_run(root)
    assert figures is not None
    assert figures.run.status is RunStatus.INTERRUPTED
    assert figures.steps == running.steps
    assert read_metrics(root).runs[0].status is RunStatus.INTERRUPTED
    assert snapshot(store.home) == before
    # As in a copy of the store, which may lack the index of the log.
    os.unlink(root / f"{METRICS_NAME}-shm")
    before = snapshot(store.home)
    again = read_run(root)
    assert again is not None
    assert again.steps == running.steps
    assert snapshot(store.home) == before

    assert recorded(root) == 2
    assert [run.status for run in read_metrics(root).runs] == [
        RunStatus.INTERRUPTED,
        RunStatus.TRAINED,
    ]


def test_a_kill_after_the_header_of_the_log(root: Path, snapshot: Snapshot) -> None:
    recorded(root)
    path = root / METRICS_NAME
    index, log = (path.with_name(f"{METRICS_NAME}{end}") for end in ("-shm", "-wal"))
    with closing(sqlite3.connect(path)) as writer:
        writer.execute(f"PRAGMA user_version = {SCHEMA}")
        began, pages = index.read_bytes(), log.read_bytes()
    assert not log.exists()
    log.write_bytes(pages[:32])
    # As it was before the first of those pages.
    index.write_bytes(bytes(len(began)))
    before = snapshot(root)
    assert [run.status for run in read_metrics(root).runs] == [RunStatus.TRAINED]
    assert snapshot(root) == before


def test_looking_at_a_file_that_was_closed_well_makes_nothing(
    store: Store, snapshot: Snapshot
) -> None:
    recorded(store.root)
    before = snapshot(store.home)
    assert sorted(before) == sorted(set(before))
    assert not [name for name in before if name.endswith(("-wal", "-shm"))]
    read_metrics(store.root)
    read_run(store.root)
    plan_garbage(store, 1)
    assert snapshot(store.home) == before


def test_a_reader_in_a_read_only_store(root: Path, tmp_path: Path) -> None:
    recorded(root)
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    for path in (*copy.rglob("*"), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert len(read_metrics(copy).runs) == 1
    finally:
        copy.chmod(0o755)


DAMAGED = {
    "not a database": lambda path: path.write_bytes(b"not a database at all" * 100),
    "a folder": lambda path: path.mkdir(),
    "newer": lambda path: sqlite3.connect(path).execute(f"PRAGMA user_version = {SCHEMA + 1}"),
    "foreign": lambda path: sqlite3.connect(path).execute("CREATE TABLE runs (run_id INTEGER)"),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=list(DAMAGED))
def test_a_file_that_is_not_ours_stops_no_run_and_stays(
    root: Path, said: list[str], damage: Callable[[Path], object], snapshot: Snapshot
) -> None:
    damage(root / METRICS_NAME)
    before = snapshot(root)
    writer = MetricsWriter(root, said.append)
    assert writer.begin_run("auto", "b", 1) == 0
    for number in range(100):
        writer.add(step(0, number))
    writer.end_run(ended(0))
    writer.close()
    assert len(said) == 1
    assert METRICS_NAME in said[0]
    assert snapshot(root) == before


@pytest.mark.parametrize("kind", ["not a database", "newer", "foreign"])
def test_reading_a_file_that_is_not_ours_says_what_to_do(store: Store, kind: str) -> None:
    DAMAGED[kind](store.root / METRICS_NAME)
    with pytest.raises(StoreError) as caught:
        read_metrics(store.root)
    assert METRICS_NAME in caught.value.subject
    assert caught.value.remedy
    # Figures that cannot be read keep nobody from making space.
    collect_garbage(store, 1)


def test_a_disk_that_fills_during_a_run_is_told_once(root: Path, said: list[str]) -> None:
    writer = MetricsWriter(root, said.append)
    number = writer.begin_run("auto", "b", 1)
    database = writer._database
    assert database is not None
    database.execute(f"PRAGMA max_page_count = {pages(database)}")
    for each in range(5000):
        writer.add(step(number, each))
    writer.end_run(ended(number))
    writer.close()
    assert len(said) == 1
    assert "full" in said[0]
    figures = read_run(root)
    assert figures is not None
    assert figures.run.status is RunStatus.TRAINED
    assert 0 < len(figures.steps) < 5000
    assert recorded(root) == number + 1


def pages(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA page_count").fetchone()[0]) + 2


def test_another_writer_in_the_way_is_told_once_and_not_waited_for(
    root: Path, said: list[str]
) -> None:
    recorded(root)
    other = sqlite3.connect(root / METRICS_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = MetricsWriter(root, said.append)
    writer.begin_run("auto", "b", 1)
    writer.close()
    other.close()
    assert len(said) == 1


def test_exports_are_recorded(root: Path) -> None:
    writer = MetricsWriter(root, pytest.fail)
    row = ExportRow(0, MOMENT, "done", "gguf", "Q4_K_M", False, 3, 1000, 2.5, 9)
    writer.add_export(row)
    writer.add_export(replace(row, status="failed", error="ExportError"))
    writer.close()
    assert read_metrics(root).exports == (
        replace(row, export_id=1),
        replace(row, export_id=2, status="failed", error="ExportError"),
    )


def test_rows_are_written_in_a_few_transactions(root: Path) -> None:
    statements: list[str] = []
    writer = MetricsWriter(root, pytest.fail, clock=lambda: 0.0)
    number = writer.begin_run("auto", "b", 1)
    assert writer._database is not None
    writer._database.set_trace_callback(statements.append)
    for each in range(160):
        writer.add(step(number, each))
    assert statements.count("COMMIT") == 10
    writer.close()


def test_garbage_collection_thins_old_runs_only(store: Store, snapshot: Snapshot) -> None:
    root, many = store.root, 4 * KEPT_STEPS
    writer = MetricsWriter(root, pytest.fail)
    for _ in range(NEWEST_RUNS + 2):
        number = writer.begin_run("auto", "b", 1)
        writer._live.release()
        for each in range(1, many + 1):
            writer.add(step(number, each))
        writer.end_run(ended(number, steps=many))
    writer.close()
    size = (root / METRICS_NAME).stat().st_size
    before = snapshot(store.home)
    planned = plan_garbage(store, 1)
    assert snapshot(store.home) == before
    assert [str(item.kind) for item in planned.items] == ["steps of old runs"]
    assert 0 < planned.bytes < size

    assert collect_garbage(store, 1) == planned
    assert (root / METRICS_NAME).stat().st_size < size
    for number in (1, 2):
        figures = read_run(root, number)
        assert figures is not None
        kept = [row.step for row in figures.steps]
        assert KEPT_STEPS // 2 <= len(kept) <= KEPT_STEPS + 1
        assert (kept[0], kept[-1]) == (1, many)
        assert (figures.run.thinned, figures.run.steps) == (True, many)
    figures = read_run(root, 3)
    assert figures is not None
    assert (len(figures.steps), figures.run.thinned) == (many, False)
    assert collect_garbage(store, 1).items == ()


def test_columns_are_those_of_the_tables(root: Path) -> None:
    recorded(root)
    with sqlite3.connect(root / METRICS_NAME) as database:
        found = [row[1] for row in database.execute("PRAGMA table_info(runs)")]
    assert tuple(found) == columns(RunRow)
