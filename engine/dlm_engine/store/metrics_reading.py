"""Reading `metrics.sqlite` without writing: no table, no `-wal`, no `-shm` is ever made.

The invariant: whatever state the file was left in, looking changes nothing on disk, and
never waits for a writer or makes one wait. A database that was closed well is read as a file
that does not change; one that is being written, or whose writer was killed, with the
write-ahead log beside it and its index kept in memory. A run counts as going on while its
process holds the kernel lock it took, and not a moment longer.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import disk_errors, process_alive
from dlm_engine.store.locks import lock_owner
from dlm_engine.store.metrics_schema import (
    BEGAN,
    LIVE_NAME,
    METRICS_NAME,
    SCHEMA,
    TABLES,
    ChoiceRow,
    EvaluationRow,
    ExportRow,
    LostRow,
    PhaseRow,
    RunRow,
    RunStatus,
    StepRow,
    columns,
)

if TYPE_CHECKING:
    import sqlite3

#: A writer may fold its log into the file, or remove it, between two of a reader's looks.
_TRIES: Final = 5
#: Bytes before the first page of SQLite's log. A kill can leave a log of only these, which
#: SQLite, reading only, takes for one that a writer is just beginning anew, and waits in vain.
_LOG_HEADER: Final = 32

AnyRow = TypeVar("AnyRow", RunRow, PhaseRow, ChoiceRow, StepRow, EvaluationRow, LostRow, ExportRow)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """Everything that is known of one run."""

    run: RunRow
    phases: tuple[PhaseRow, ...]
    choices: tuple[ChoiceRow, ...]
    steps: tuple[StepRow, ...]
    evaluations: tuple[EvaluationRow, ...]
    lost: tuple[LostRow, ...] = ()

    @property
    def adapter(self) -> str | None:
        """The named adapter it is of."""
        return next((row.value for row in self.choices if row.name == "adapter"), None)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The newest runs and exports, oldest first; `adapters` has the names of those of runs of
    a named adapter, `phases` those of each run."""

    runs: tuple[RunRow, ...] = ()
    exports: tuple[ExportRow, ...] = ()
    adapters: Mapping[int, str] = field(default_factory=dict)
    phases: Mapping[int, tuple[PhaseRow, ...]] = field(default_factory=dict)


def read_metrics(
    root: Path, limit: int | None = None, *, since: str = "", phase: str | None = None
) -> Metrics:
    """The last `limit` runs and exports of the store at `root`; empty where none was recorded.

    Of those that began at `since` or later, and, with a `phase`, of runs that came to it alone.

    Raises:
        StoreError: the file is damaged, foreign or newer than this dlm.
    """

    def ask(database: sqlite3.Connection) -> Metrics:
        last = -1 if limit is None else limit
        chosen, values = "WHERE started_at >= ?", [since]
        exports: list[ExportRow] = []
        if phase is not None:
            chosen += " AND run_id IN (SELECT run_id FROM phases WHERE phase = ?)"
            values += [phase]
        else:
            late = "WHERE exported_at >= ? ORDER BY export_id DESC LIMIT ?"
            exports = _rows(database, ExportRow, late, since, last)
        runs = _rows(database, RunRow, f"{chosen} ORDER BY run_id DESC LIMIT ?", *values, last)
        first = runs[-1].run_id if runs else 0
        named = "WHERE name = 'adapter' AND run_id >= ?"
        phases: dict[int, tuple[PhaseRow, ...]] = {}
        for row in _rows(database, PhaseRow, "WHERE run_id >= ? ORDER BY run_id, position", first):
            phases[row.run_id] = (*phases.get(row.run_id, ()), row)
        return Metrics(
            tuple(_up_to_its_last_step(database, run) for run in reversed(runs)),
            tuple(reversed(exports)),
            {row.run_id: row.value for row in _rows(database, ChoiceRow, named, first)},
            phases,
        )

    found = asked(root, ask) or Metrics()
    dead = {run.run_id for run in found.runs if run.status is RunStatus.RUNNING}
    if not dead or is_live(root):
        return found
    # Looked at again: it may have ended well between the first look and the look at its lock.
    found = asked(root, ask) or Metrics()
    return replace(found, runs=tuple(_ended(run, dead) for run in found.runs))


def read_run(root: Path, run_id: int | None = None, skip: int = 0) -> RunFigures | None:
    """One run, the newest for None, without its first `skip` steps; None if it is unknown.

    Raises:
        StoreError: as `read_metrics`.
    """

    def ask(database: sqlite3.Connection) -> RunFigures | None:
        chosen = "ORDER BY run_id DESC LIMIT 1" if run_id is None else "WHERE run_id = ?"
        found = _rows(database, RunRow, chosen, *(() if run_id is None else (run_id,)))
        if not found:
            return None
        run = _up_to_its_last_step(database, found[0])
        mine, number = "WHERE run_id = ? ORDER BY rowid", run.run_id
        return RunFigures(
            run,
            tuple(_rows(database, PhaseRow, "WHERE run_id = ? ORDER BY position", number)),
            tuple(_rows(database, ChoiceRow, mine, number)),
            tuple(_rows(database, StepRow, f"{mine} LIMIT -1 OFFSET ?", number, skip)),
            tuple(_rows(database, EvaluationRow, mine, number)),
            tuple(_rows(database, LostRow, mine, number)),
        )

    figures = asked(root, ask)
    if figures is None or figures.run.status is not RunStatus.RUNNING or is_live(root):
        return figures
    dead = figures.run.run_id
    figures = asked(root, ask)
    return figures and replace(figures, run=_ended(figures.run, {dead}))


def is_live(root: Path) -> bool:
    """Whether a run of this store is going on, by the lock its process holds. Writes nothing."""
    path = root / LIVE_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if sys.platform == "win32":
            # There a lock cannot be looked at without taking it from whoever wants it.
            owner = lock_owner(root)
            return owner is not None and process_alive(owner.pid)
        import fcntl

        try:
            # Shared: two who look at once do not see each other.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
    finally:
        os.close(descriptor)


def form_of(database: sqlite3.Connection) -> int:
    """What form the tables have; 0 where there are none, or another's."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def require_known(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there; `StoreError` when they are another's, or of a newer form."""
    version = form_of(database)
    if 0 < version <= SCHEMA:
        return True
    if version:
        raise StoreError(
            str(path), f"was written by a newer dlm (form {version})", "update dlm to read it"
        )
    if database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise StoreError(
            str(path), "was written by another program", "move it away; a new one is begun"
        )
    return False


# --- how -----------------------------------------------------------------------------------

Answer = TypeVar("Answer")


def asked(root: Path, ask: Callable[[sqlite3.Connection], Answer]) -> Answer | None:
    """What `ask` makes of the database; None without one. Tried again while a writer moves it."""
    import sqlite3

    path = root / METRICS_NAME
    for left in reversed(range(_TRIES)):
        try:
            with _opened(path) as database:
                if database is None or not require_known(database, path):
                    return None
                return ask(database)
        except sqlite3.Error as error:
            if not left:
                raise StoreError(
                    str(path), f"cannot be read ({error})", "move it away; a new one is begun"
                ) from error
    return None


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A connection that leaves the folder as it is; None where there is no database."""
    import sqlite3

    log, index = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    with disk_errors(path):
        if not path.is_file():
            yield None
            return
        logged = log.is_file() and log.stat().st_size > _LOG_HEADER
    how = "mode=ro&readonly_shm=1" if logged else "mode=ro&immutable=1"
    if logged and not index.is_file():
        # A log without its index, as in a copied store: SQLite would make one beside it.
        with _copy(path, log) as copied, closing(sqlite3.connect(copied)) as database:
            yield database
        return
    uri = f"{path.absolute().as_uri()}?{how}"
    with closing(sqlite3.connect(uri, uri=True, timeout=0.2)) as database:
        yield database


@contextmanager
def _copy(*files: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dlm-metrics-") as folder, disk_errors(files[0]):
        for file in files:
            with suppress(FileNotFoundError):
                shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / files[0].name


def _rows(
    database: sqlite3.Connection, row: type[AnyRow], chosen: str, *values: object
) -> list[AnyRow]:
    # What an older form lacks stands last, and is left to its default.
    form = form_of(database)
    if form < BEGAN.get(row, 0):
        return []
    names = ", ".join(columns(row, form))
    found = database.execute(f"SELECT {names} FROM {TABLES[row]} {chosen}", values)
    rows: list[AnyRow] = [row(*each) for each in found]
    return rows


def _up_to_its_last_step(database: sqlite3.Connection, run: RunRow) -> RunRow:
    """`run` with what its last step says, where it has not ended."""
    run = replace(run, status=RunStatus(run.status), thinned=bool(run.thinned))
    if run.steps is not None:
        return run
    chosen = "WHERE run_id = ? ORDER BY rowid DESC LIMIT 1"
    for last in _rows(database, StepRow, chosen, run.run_id):
        run = replace(
            run,
            steps=last.step,
            learned=last.learned,
            rows=last.rows,
            loss=last.loss,
            divergence=last.divergence,
        )
    return run


def _ended(run: RunRow, dead: set[int]) -> RunRow:
    """`run`, which no process goes on with if it is among the `dead` and says otherwise."""
    if run.run_id in dead and run.status is RunStatus.RUNNING:
        return replace(run, status=RunStatus.INTERRUPTED)
    return run
