"""Metrics of an older form: read as they are, and brought to today's by the next run or not."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    MetricsWriter,
    RunRow,
    RunStatus,
    StepRow,
    Store,
    read_metrics,
    read_run,
)
from dlm_engine.store.metrics_schema import (
    ADDED,
    METRICS_NAME,
    SCHEMA,
    TABLES,
    columns,
    creation,
    migration,
)

MOMENT = "2026-01-02T03:04:05Z"
#: As the first form was written, word for word.
FIRST = """
CREATE TABLE runs (run_id INTEGER PRIMARY KEY AUTOINCREMENT, started_at TEXT NOT NULL,
 ended_at TEXT, status TEXT NOT NULL, start TEXT NOT NULL, base_model TEXT NOT NULL,
 seed INTEGER NOT NULL, adapter_version INTEGER, steps INTEGER, learned INTEGER, rows INTEGER,
 loss REAL, val_loss REAL, divergence REAL, seconds REAL, determinism_class TEXT, error TEXT,
 message TEXT, thinned INTEGER NOT NULL);
CREATE TABLE phases (run_id INTEGER NOT NULL, position INTEGER NOT NULL, phase TEXT NOT NULL,
 began_at TEXT NOT NULL, seconds REAL, PRIMARY KEY (run_id, position));
CREATE TABLE choices (run_id INTEGER NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
 reason TEXT NOT NULL, PRIMARY KEY (run_id, name, value));
CREATE TABLE steps (run_id INTEGER NOT NULL, phase TEXT NOT NULL, step INTEGER NOT NULL, loss REAL,
 lr REAL, grad_norm REAL, divergence REAL, learned INTEGER NOT NULL, rows INTEGER NOT NULL,
 tokens_per_sec REAL, elapsed REAL NOT NULL, at TEXT NOT NULL, PRIMARY KEY (run_id, phase, step));
CREATE TABLE evals (run_id INTEGER NOT NULL, phase TEXT NOT NULL, step INTEGER NOT NULL,
 val_loss REAL, learned INTEGER, rows INTEGER, divergence REAL, at TEXT NOT NULL,
 PRIMARY KEY (run_id, phase, step));
CREATE TABLE exports (export_id INTEGER PRIMARY KEY AUTOINCREMENT, exported_at TEXT NOT NULL,
 status TEXT NOT NULL, target TEXT NOT NULL, quant TEXT, merged INTEGER NOT NULL,
 adapter_version INTEGER, size_bytes INTEGER, seconds REAL, checks_passed INTEGER, error TEXT,
 message TEXT);
INSERT INTO runs VALUES (1, 'a', 'b', 'trained', 'auto', 'smollm2-135m', 42, 1, 1, 3, 3, 0.5,
 0.25, 0.01, 9.5, 'strong', NULL, NULL, 0);
INSERT INTO steps VALUES (1, 'sft', 1, 0.5, 0.001, 0.7, 0.01, 3, 3, 400.0, 0.1, 'a');
PRAGMA user_version = 1;
"""
#: What the second form is beyond it.
SECOND = """
ALTER TABLE runs ADD COLUMN prose_loss REAL;
ALTER TABLE runs ADD COLUMN answers_loss REAL;
PRAGMA user_version = 2;
"""


@pytest.fixture(params=[1, 2])
def old(store: Store, request: pytest.FixtureRequest) -> Path:
    """The root of a store whose metrics are of an older form."""
    database = sqlite3.connect(store.root / METRICS_NAME)
    database.executescript("PRAGMA journal_mode = WAL;" + "".join((FIRST, SECOND)[: request.param]))
    database.close()
    return store.root


def form(root: Path) -> int:
    with sqlite3.connect(root / METRICS_NAME) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def again(root: Path, **facts: object) -> int:
    """A whole further run; its number."""
    writer = MetricsWriter(root, pytest.fail)
    number = writer.begin_run("auto", "smollm2-135m", 42)
    writer.add(StepRow(number, "sft", 1, 0.5, 1e-3, 0.7, 0.01, 1, 3, 400.0, 0.1, MOMENT))
    row = RunRow(number, MOMENT, MOMENT, RunStatus.TRAINED, "auto", "smollm2-135m", 42)
    writer.end_run(replace(row, **facts))  # type: ignore[arg-type]
    writer.close()
    return number


def test_an_old_file_is_read_as_it_is(
    old: Path, store: Store, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    before = snapshot(store.home)
    (run,) = read_metrics(old).runs
    assert (run.run_id, run.status, run.val_loss) == (1, RunStatus.TRAINED, 0.25)
    assert (run.prose_loss, run.answers_loss) == (None, None)
    figures = read_run(old)
    assert figures is not None
    assert (figures.run, len(figures.steps), figures.lost) == (run, 1, ())
    assert snapshot(store.home) == before


def test_the_next_run_brings_it_to_the_form_of_today_and_loses_nothing(old: Path) -> None:
    before = read_metrics(old).runs
    assert again(old, prose_loss=1.25, answers_loss=0.125) == 2
    assert form(old) == SCHEMA
    runs = read_metrics(old).runs
    assert runs[:1] == before
    assert (runs[1].prose_loss, runs[1].answers_loss) == (1.25, 0.125)
    assert again(old) == 3


def test_a_migrated_file_has_the_columns_of_a_new_one(old: Path, tmp_path: Path) -> None:
    again(old)
    new = sqlite3.connect(tmp_path / "new.sqlite")
    for statement in creation():
        new.execute(statement)
    with sqlite3.connect(old / METRICS_NAME) as database:
        for row, table in TABLES.items():
            found = [
                [tuple(each[1:4]) for each in one.execute(f"PRAGMA table_info({table})")]
                for one in (database, new)
            ]
            assert found[0] == found[1]
            assert [name for name, *_ in found[0]] == list(columns(row))


def test_every_form_says_what_it_added() -> None:
    assert sorted(ADDED) == list(range(2, SCHEMA + 1))
    assert migration(SCHEMA) == []
    for at, added in ADDED.items():
        for row, names in added.items():
            # An older file lacks the end of a row, so what was added stands there.
            assert columns(row, at) == (*columns(row, at - 1), *names)


def test_a_file_of_a_newer_form_is_left_alone_and_says_so(old: Path) -> None:
    again(old)
    with sqlite3.connect(old / METRICS_NAME) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    said: list[str] = []
    MetricsWriter(old, said.append).close()
    assert len(said) == 1
    assert f"newer dlm (form {SCHEMA + 1}): update dlm" in said[0]
    with pytest.raises(StoreError, match="newer dlm"):
        read_metrics(old)


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from dlm_engine.store import MetricsWriter
left = [int(sys.argv[2])]
connect = sqlite3.connect

def count(statement):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1

def traced(*arguments, **named):
    database = connect(*arguments, **named)
    database.set_trace_callback(count)
    return database

sqlite3.connect = traced
MetricsWriter(Path(sys.argv[1]), sys.exit).close()
"""


@pytest.mark.parametrize("old", [1], indirect=True)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_statement_the_file_is_of_one_form_or_the_other(
    old: Path, tmp_path: Path
) -> None:
    forms: list[bool] = []
    while True:
        root = tmp_path / f"at-{len(forms)}"
        shutil.copytree(old, root)
        command = [sys.executable, "-c", KILLED, str(root), str(len(forms))]
        killed = subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
        assert len(read_metrics(root).runs) == 1
        assert again(root) == 2
        assert [run.val_loss for run in read_metrics(root).runs] == [0.25, None]
        forms.append(killed)
        if not killed:
            break
    # Some statements before the transaction, those in it, its end, and what comes after.
    assert len(forms) > 6


def test_a_migration_that_fails_leaves_it_as_it_was_and_is_told_once(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(form: int) -> list[str]:
        return [*migration(form), "SELECT raise_a_mistake()"]

    monkeypatch.setattr("dlm_engine.store.metrics_writing.migration", refused)
    said: list[str] = []
    before = form(old)
    writer = MetricsWriter(old, said.append)
    assert writer.begin_run("auto", "b", 1) == 0
    writer.close()
    assert len(said) == 1
    assert form(old) == before
    assert len(read_metrics(old).runs) == 1
