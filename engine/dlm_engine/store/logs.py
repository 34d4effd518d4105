"""A run's log: one JSON object per line, each line whole.

The invariant: a line reaches the file in one write and is never split, so a reader
at any moment, or after a kill, sees whole records and at most one torn last line,
which `read_log` leaves out. Records are not fsynced one by one: a log that waits
for the disk at each step would slow training for nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import disk_errors, write_atomic
from dlm_engine.store.manifest import TrainingRunSummary
from dlm_engine.store.opening import Store
from dlm_engine.store.records import canonical_json, read_json_object


class _LogRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Banner(_LogRecord):
    """The first line: what will run, and under which promise."""

    type: Literal["banner"] = "banner"
    run_id: int = Field(ge=1)
    seed: int
    determinism_class: str
    determinism_notes: tuple[str, ...] = ()
    pinned_versions: tuple[tuple[str, str], ...] = ()
    plan: dict[str, JsonValue] = Field(default_factory=dict)


class Delta(_LogRecord):
    """Section ids against the last run."""

    type: Literal["delta"] = "delta"
    timestamp: str
    new: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class Step(_LogRecord):
    """One optimiser step; losses in nats per supervised token, a number not finite is null."""

    type: Literal["step"] = "step"
    step: int = Field(ge=0)
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_sec: float | None = None
    val_loss: float | None = None
    timestamp: str


class RunComplete(_LogRecord):
    """The last line of a run that ended in a version. `summary_path` is relative to the store."""

    type: Literal["run_complete"] = "run_complete"
    run_id: int = Field(ge=1)
    adapter_version: int = Field(ge=1)
    steps: int = Field(ge=0)
    elapsed_seconds: float
    early_stopped: bool
    ended_by: str | None = None
    summary_path: str | None = None


class SourceSummary(_LogRecord):
    path: str
    file_count: int
    total_bytes: int
    skipped_binary: int = 0
    skipped_encoding: int = 0
    skipped_over_size: int = 0


class PreferenceSummary(_LogRecord):
    """Margins in nats per token, the mean over the pairs; accuracies are shares of the pairs."""

    method: str
    pairs: int = Field(ge=1)
    margin_before: float
    margin_after: float
    accuracy_before: float
    accuracy_after: float


class TrainingSummary(_LogRecord):
    """The figures of one phase, which made `adapter_version`; None means not measured.

    `kept` is how many of the answers are known still that the version before knew, `lost` the
    keys of those that are not; their texts are in `learned.json` and nowhere else.
    """

    run_id: int = Field(ge=1)
    adapter_version: int = Field(ge=1)
    seed: int
    final_train_loss: float | None = None
    final_val_loss: float | None = None
    final_val_perplexity: float | None = None
    train_loss_cpt: float | None = None
    train_loss_sft: float | None = None
    val_loss_cpt: float | None = None
    val_loss_sft: float | None = None
    kept: int | None = None
    lost: tuple[str, ...] = ()
    early_stopped: bool = False
    ended_by: str | None = None
    steps: int = Field(ge=0)
    duration_seconds: float
    determinism_class: str
    source_directives: tuple[SourceSummary, ...] = ()
    phase: Literal["sft", "preference"] = "sft"
    preference: PreferenceSummary | None = None


_SUMMARY: Final = frozenset(TrainingSummary.model_fields)

LogRecord = Banner | Delta | Step | RunComplete


def timestamp() -> str:
    """The present as the log writes it: UTC, whole seconds, `2026-01-02T03:04:05Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunLog:
    """`logs/train-<run>-<time>.jsonl`, open for appending; close it or use it as a context."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._fd = os.open(path, flags, 0o666)

    @classmethod
    def create(cls, store: Store, run_id: int, started: datetime) -> Self:
        """The log of a run in `store`; `started` gives the file its name (UTC when naive)."""
        return cls(store.logs_dir() / f"{_stem(run_id, started)}.jsonl")

    @property
    def summary_path(self) -> Path:
        """Where this run's summary belongs."""
        return self.path.with_suffix(".summary.json")

    def write(self, record: LogRecord) -> None:
        """Append one line; `StoreError` when the disk refuses (nothing torn stays behind)."""
        line = json.dumps(_finite(record.model_dump(mode="python")), sort_keys=True) + "\n"
        data = line.encode("utf-8")
        with disk_errors(self.path):
            written = os.write(self._fd, data)
            if written < len(data):
                end = os.lseek(self._fd, 0, os.SEEK_END)
                os.ftruncate(self._fd, end - written)
                raise OSError(28, "only part of a line was written", str(self.path))

    def write_summary(self, summary: TrainingSummary) -> None:
        """The run's figures beside its log, durably; numbers that are not finite become null."""
        plain = TrainingSummary.model_validate(_finite(summary.model_dump(mode="python")))
        write_atomic(self.summary_path, canonical_json(plain, ascii_only=False))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_log(path: Path) -> Iterator[dict[str, JsonValue]]:
    """The records of a log in order; a torn last line is left out. `StoreError` if unreadable."""
    with disk_errors(path):
        lines = path.read_bytes().split(b"\n")
    for line in lines[:-1]:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def read_summary(store: Store, run: TrainingRunSummary) -> TrainingSummary | None:
    """What `run` wrote of itself; None where it is gone, or of a form that cannot be read."""
    path = Path(run.summary_path or "")
    if not path.name or path.is_absolute() or ".." in path.parts:
        return None
    with suppress(StoreError, ValidationError):
        found = read_json_object(store.root / path, "train again") or {}
        # Older forms have more in them.
        known = {name: value for name, value in found.items() if name in _SUMMARY}
        return TrainingSummary.model_validate(known)
    return None


def _stem(run_id: int, started: datetime) -> str:
    moment = started.astimezone(UTC) if started.tzinfo is not None else started
    return f"train-{run_id:06d}-{moment:%Y%m%dT%H%M%S}"


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
