"""Keeping `metrics.sqlite` small: of old runs a part of the steps is enough for their curve.

The invariant: every run keeps its row, its evaluations, its first and its last step; the
newest runs keep every step. So a store that is trained on each save for years grows by some
kilobytes a run, and what `dlm metrics` says of any run stays true.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlm_engine.errors import StoreError
from dlm_engine.store.metrics_reading import asked
from dlm_engine.store.metrics_schema import METRICS_NAME
from dlm_engine.store.metrics_writing import opened

if TYPE_CHECKING:
    import sqlite3

#: Of so many of the newest runs every step is kept, of older ones about so many steps.
NEWEST_RUNS: Final = 50
KEPT_STEPS: Final = 50

#: The steps that can go: neither the first nor the last of their run and phase, nor each n-th.
_SPARE: Final = f"""
WITH old AS (
    SELECT run_id, phase, min(step) AS low, max(step) AS high, count(*) AS many
    FROM steps
    WHERE run_id <= (SELECT run_id FROM runs ORDER BY run_id DESC LIMIT 1 OFFSET {NEWEST_RUNS})
    GROUP BY run_id, phase HAVING many > {KEPT_STEPS}
)
SELECT steps.run_id, steps.phase, steps.step FROM steps JOIN old USING (run_id, phase)
WHERE step NOT IN (low, high) AND (step - low) % ((high - low) / {KEPT_STEPS - 1} + 1) != 0
"""


@dataclass(frozen=True, slots=True)
class Thinning:
    """Steps that can go, and about how many bytes of the file they take."""

    path: Path
    steps: int
    bytes: int


def plan_thinning(root: Path) -> Thinning:
    """What `thin` would remove; reads only. `StoreError` as `read_metrics`."""
    return asked(root, lambda database: _plan(root, database)) or Thinning(
        root / METRICS_NAME, 0, 0
    )


def _plan(root: Path, database: sqlite3.Connection) -> Thinning:
    path = root / METRICS_NAME
    spare = database.execute(f"SELECT count(*) FROM ({_SPARE})").fetchone()[0]
    every = database.execute("SELECT count(*) FROM steps").fetchone()[0]
    size = (
        database.execute("PRAGMA page_count").fetchone()[0]
        * (database.execute("PRAGMA page_size").fetchone()[0])
    )
    return Thinning(path, int(spare), int(size) * int(spare) // max(1, int(every)))


def thin(root: Path) -> Thinning:
    """Remove the spare steps and give their space back; whoever calls holds the store's lock.

    Raises:
        StoreError: as `read_metrics`, or the disk refused; nothing is lost then.
    """
    import sqlite3

    plan = plan_thinning(root)
    if not plan.steps:
        return plan
    try:
        with closing(opened(plan.path)) as database:
            database.execute("BEGIN IMMEDIATE")
            spare = database.execute(_SPARE).fetchall()
            database.executemany(
                "DELETE FROM steps WHERE run_id = ? AND phase = ? AND step = ?", spare
            )
            runs = sorted({(row[0],) for row in spare})
            database.executemany("UPDATE runs SET thinned = 1 WHERE run_id = ?", runs)
            database.execute("COMMIT")
            database.execute("VACUUM")
    except sqlite3.Error as error:
        raise StoreError(
            str(plan.path), f"cannot be made smaller ({error})", "free some space and try again"
        ) from error
    return plan
