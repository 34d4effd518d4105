"""Writing `metrics.sqlite`: what a run or an export says of itself while it happens.

The invariant: figures are worth less than the run they are of. Nothing here raises, waits
for a reader or forces the disk at each step; rows are gathered and written in one transaction
every few steps; the first thing that goes wrong is told once and ends the recording, and what
was written before stays readable. A run's row is written before its base is loaded, under a
kernel lock of its own, so that a run that was killed is known by a lock that nobody holds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlm_engine.errors import DlmError
from dlm_engine.store.logs import timestamp
from dlm_engine.store.metrics_reading import form_of, require_known
from dlm_engine.store.metrics_schema import (
    LIVE_NAME,
    METRICS_NAME,
    TABLES,
    ExportRow,
    Row,
    RunRow,
    RunStatus,
    columns,
    creation,
    migration,
)

if TYPE_CHECKING:
    import sqlite3

#: Rows that are gathered before they are written, and the longest that they wait, in seconds.
_ROWS: Final = 16
_SECONDS: Final = 1.0
#: How long one statement may wait for another writer, and the lock of a run for a reader's look.
_PATIENCE: Final = 0.2


class MetricsWriter:
    """The one writer of a store's metrics; whoever makes one holds the store's lock.

    `troubled` is told once what went wrong. Close it, whatever happened.
    """

    def __init__(
        self,
        root: Path,
        troubled: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = root / METRICS_NAME
        self._troubled = troubled
        self._clock = clock
        self._database: sqlite3.Connection | None = None
        self._live: Any = None
        self._waiting: list[Row] = []
        self._over = False
        self._written_at = clock()
        try:
            self._database = opened(self._path)
        except Exception as error:
            self._give_up(error)

    def begin_run(self, start: str, base_model: str, seed: int) -> int:
        """Record a new run as going on; its number, 0 if nothing can be recorded."""
        row = RunRow(0, timestamp(), None, RunStatus.RUNNING, start, base_model, seed)
        try:
            if self._database is not None:
                self._live = _held(self._path.with_name(LIVE_NAME))
                # This process has the store, so none of them is going on.
                self._database.execute(
                    "UPDATE runs SET status = ? WHERE status = ?",
                    (RunStatus.INTERRUPTED, RunStatus.RUNNING),
                )
                return self._insert(row)
        except Exception as error:
            self._give_up(error)
        return 0

    def end_run(self, row: RunRow) -> None:
        """Record how the run ended, at once; tried also when its steps could not be kept."""
        self._write_all()
        try:
            if self._database is not None:
                names, values = columns(RunRow)[1:], _values(row)[1:]
                changed = ", ".join(f"{name} = ?" for name in names)
                self._database.execute(
                    f"UPDATE runs SET {changed} WHERE run_id = ?", (*values, row.run_id)
                )
        except Exception as error:
            self._give_up(error)

    def add(self, row: Row) -> None:
        """Record a row with the next few; a row of the same key is replaced."""
        if self._over:
            return
        self._waiting.append(row)
        late = self._clock() - self._written_at >= _SECONDS
        if late or len(self._waiting) >= _ROWS:
            self._write_all()

    def flush(self) -> None:
        """Write what waits for company."""
        self._write_all()

    def add_export(self, row: ExportRow) -> None:
        """Record an export; its number is given here."""
        try:
            if self._database is not None:
                self._insert(row)
        except Exception as error:
            self._give_up(error)

    def close(self) -> None:
        self._write_all()
        self._release()

    # --- how -----------------------------------------------------------------------------

    def _insert(self, row: RunRow | ExportRow) -> int:
        assert self._database is not None
        names = columns(type(row))[1:]
        marks = ", ".join("?" * len(names))
        done = self._database.execute(
            f"INSERT INTO {TABLES[type(row)]} ({', '.join(names)}) VALUES ({marks})",
            _values(row)[1:],
        )
        return int(done.lastrowid or 0)

    def _write_all(self) -> None:
        rows, self._waiting = self._waiting, []
        self._written_at = self._clock()
        if self._database is None or self._over or not rows:
            return
        try:
            with self._database:  # commits, or rolls back
                self._database.execute("BEGIN IMMEDIATE")
                for row in rows:
                    marks = ", ".join("?" * len(columns(type(row))))
                    self._database.execute(
                        f"INSERT OR REPLACE INTO {TABLES[type(row)]} VALUES ({marks})",
                        _values(row),
                    )
        except Exception as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._over:
            return
        self._over = True
        said = str(error) if isinstance(error, DlmError) else f"{self._path}: {error}"
        self._troubled(f"the figures of this run are not recorded: {said}")

    def _release(self) -> None:
        database, self._database = self._database, None
        with suppress(Exception):
            if database is not None:
                database.close()
        live, self._live = self._live, None
        with suppress(Exception):
            if live is not None:
                live.release()


def opened(path: Path) -> sqlite3.Connection:
    """A connection that writes, with the tables there in the form of today. One at a time opens
    one, who holds the store's lock; what is killed in between leaves the form that was."""
    import sqlite3

    # No transaction but our own; whatever thread closes it, only one uses it at a time.
    database = sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
    )
    try:
        # Before anything is changed: it may be another's.
        known = require_known(database, path)
        database.execute("PRAGMA journal_mode = WAL")
        # A power cut may take the last steps with it; a killed process takes nothing.
        database.execute("PRAGMA synchronous = NORMAL")
        change = migration(form_of(database)) if known else creation()
        if change:
            database.execute("BEGIN IMMEDIATE")
            for statement in change:
                database.execute(statement)
            database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _held(path: Path) -> Any:
    from filelock import FileLock

    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    lock.acquire(timeout=_PATIENCE, poll_interval=0.01)
    return lock


def _values(row: Row) -> tuple[object, ...]:
    """The row as SQLite takes it: a number that is not finite is nothing."""
    values = (getattr(row, name) for name in columns(type(row)))
    return tuple(None if isinstance(v, float) and not math.isfinite(v) else v for v in values)
