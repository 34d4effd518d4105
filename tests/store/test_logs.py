"""The run log: its name, its lines, and what a full disk or a kill leaves of it."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    Banner,
    Delta,
    RunComplete,
    RunLog,
    Step,
    Store,
    TrainingSummary,
    read_log,
)

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHEN = "2026-01-02T03:04:05Z"


def test_the_lines_of_a_run(store: Store) -> None:
    with RunLog.create(store, 3, STARTED) as log:
        log.write(Banner(run_id=3, seed=1, determinism_class="strong", plan={"device": "cpu"}))
        log.write(Delta(timestamp=WHEN, new=("a" * 16,)))
        log.write(Step(step=1, loss=float("nan"), lr=1e-3, timestamp=WHEN))
        done = RunComplete(
            run_id=3, adapter_version=1, steps=1, elapsed_seconds=0.5, early_stopped=False
        )
        log.write(done)

    assert log.path == store.root / "logs" / "train-000003-20260102T030405.jsonl"
    lines = log.path.read_text(encoding="utf-8").splitlines()
    assert all(json.dumps(json.loads(line), sort_keys=True) == line for line in lines)
    records = list(read_log(log.path))
    assert [record["type"] for record in records] == ["banner", "delta", "step", "run_complete"]
    assert records[2]["loss"] is None
    assert records[2].keys() == {
        "type", "step", "loss", "lr", "grad_norm", "tokens_per_sec", "val_loss", "timestamp",
    }  # fmt: skip


def test_the_name_is_in_utc(store: Store) -> None:
    local = STARTED.astimezone(timezone(timedelta(hours=5)))
    with RunLog.create(store, 3, local) as log:
        assert log.path.name == "train-000003-20260102T030405.jsonl"
        assert log.summary_path.name == "train-000003-20260102T030405.summary.json"


def test_each_line_is_there_at_once_and_in_one_write(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    real = os.write

    def counted(fd: int, data: bytes) -> int:
        writes.append(bytes(data))
        return real(fd, data)

    with RunLog.create(store, 1, STARTED) as log:
        monkeypatch.setattr("os.write", counted)
        for step in range(3):
            log.write(Step(step=step, timestamp=WHEN))
            assert len(list(read_log(log.path))) == step + 1
    assert len(writes) == 3
    assert all(line.endswith(b"}\n") for line in writes)


def test_two_writers_interleave_whole_lines(store: Store) -> None:
    with RunLog.create(store, 1, STARTED) as one, RunLog(one.path) as two:
        one.write(Step(step=1, timestamp=WHEN))
        two.write(Step(step=2, timestamp=WHEN))
        one.write(Step(step=3, timestamp=WHEN))
    assert [record["step"] for record in read_log(one.path)] == [1, 2, 3]


def test_a_torn_last_line_is_left_out(store: Store) -> None:
    with RunLog.create(store, 1, STARTED) as log:
        log.write(Step(step=1, timestamp=WHEN))
        with log.path.open("ab") as stream:
            stream.write(b'{"type": "step", "st')
    assert [record["step"] for record in read_log(log.path)] == [1]


def test_a_full_disk_leaves_no_torn_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with RunLog.create(store, 1, STARTED) as log:
        log.write(Step(step=1, timestamp=WHEN))
        with monkeypatch.context() as full:
            full.setattr("os.write", lambda fd, data: real(fd, data[:7]))
            with pytest.raises(StoreError, match="the disk is full"):
                log.write(Step(step=2, timestamp=WHEN))
        log.write(Step(step=3, timestamp=WHEN))
    assert [record["step"] for record in read_log(log.path)] == [1, 3]


def test_the_summary_lies_beside_the_log(store: Store) -> None:
    with RunLog.create(store, 1, STARTED) as log:
        log.write_summary(
            TrainingSummary(
                run_id=1,
                adapter_version=1,
                seed=1,
                final_train_loss=0.5,
                final_val_perplexity=float("inf"),
                steps=20,
                duration_seconds=1.5,
                determinism_class="strong",
            )
        )
    value = json.loads(log.summary_path.read_text(encoding="utf-8"))
    assert (value["final_train_loss"], value["final_val_perplexity"]) == (0.5, None)


def test_a_log_that_is_not_there(store: Store) -> None:
    with pytest.raises(StoreError, match="No such file"):
        list(read_log(store.root / "logs" / "none.jsonl"))
