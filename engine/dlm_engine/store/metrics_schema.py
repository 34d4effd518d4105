"""What `metrics.sqlite` holds of a store's runs and exports: its tables and their rows.

The invariant: a figure stands in one column of one table, and a row's type here names the
columns in order, so that writing, reading, JSON and CSV cannot disagree. The file says which
form it is in (`user_version`), and another form than `SCHEMA` is neither read nor written.
The lines of `logs/*.jsonl` hold the same steps for tools that follow a file; nothing in dlm
reads them back.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from enum import StrEnum
from typing import Any, Final

METRICS_NAME: Final = "metrics.sqlite"
#: Held by the process whose run is going on, and by nobody else, whatever else it writes.
LIVE_NAME: Final = "metrics.lock"
#: Raise when a table changes, and say in `ADDED` what came.
SCHEMA: Final = 3


class RunStatus(StrEnum):
    """How a run stands. interrupted: its process ended without saying how."""

    RUNNING = "running"
    TRAINED = "trained"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run from the moment it began to load its base. Losses in nats per supervised token.

    `run_id` counts every run; `adapter_version` is the last version it made, `steps` those of
    all its phases. Until it ends, `steps` to `loss` are those of its last step. `error` is the
    kind of the error that ended it, `message` what was said. `thinned`: only some of its steps
    are kept. `prose_loss` and `answers_loss` are of the adapter as it ended, over every row of
    that kind; None where there is none.
    """

    run_id: int
    started_at: str
    ended_at: str | None
    status: RunStatus
    start: str
    base_model: str
    seed: int
    adapter_version: int | None = None
    steps: int | None = None
    learned: int | None = None
    rows: int | None = None
    loss: float | None = None
    val_loss: float | None = None
    divergence: float | None = None
    seconds: float | None = None
    determinism_class: str | None = None
    error: str | None = None
    message: str | None = None
    thinned: bool = False
    prose_loss: float | None = None
    answers_loss: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A part of a run, with the version it made and what ended its steps; `seconds` is None for
    the one it was in when it was killed."""

    run_id: int
    position: int
    phase: str
    began_at: str
    seconds: float | None = None
    adapter_version: int | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """What was decided for a run, and why."""

    run_id: int
    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepRow:
    """An optimiser step; `elapsed` in seconds since the run's first."""

    run_id: int
    phase: str
    step: int
    loss: float | None
    lr: float | None
    grad_norm: float | None
    divergence: float | None
    learned: int
    rows: int
    tokens_per_sec: float | None
    elapsed: float
    at: str


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """What was measured of the adapter as it was after `step` of its phase, 0 for before it.

    Of `pairs` of answers, `accuracy` is the share of which the wanted one is likelier, `margin`
    by how much, in nats per token. `kept` is how many of the answers are known still that the
    version before knew; None where there was none.
    """

    run_id: int
    phase: str
    step: int
    val_loss: float | None
    learned: int | None
    rows: int | None
    divergence: float | None
    at: str
    pairs: int | None = None
    margin: float | None = None
    accuracy: float | None = None
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class LostRow:
    """What the version before knew, the document still says, and `phase` no longer knew at its
    end: the key of a row, whose text is in `learned.json` and nowhere else."""

    run_id: int
    phase: str
    key: str


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An export that was begun: "done", or "failed" with the error that ended it.

    `adapter` is the named one it is of; an export of a `mix`, which says what it is of, has
    neither that nor a version.
    """

    export_id: int
    exported_at: str
    status: str
    target: str
    quant: str | None
    merged: bool
    adapter_version: int | None
    size_bytes: int | None = None
    seconds: float | None = None
    checks_passed: int | None = None
    error: str | None = None
    message: str | None = None
    adapter: str | None = None
    mix: str | None = None


Row = RunRow | PhaseRow | ChoiceRow | StepRow | EvaluationRow | LostRow | ExportRow

TABLES: Final[dict[type, str]] = {
    RunRow: "runs",
    PhaseRow: "phases",
    ChoiceRow: "choices",
    StepRow: "steps",
    EvaluationRow: "evals",
    LostRow: "lost",
    ExportRow: "exports",
}

#: The columns that each form brought.
ADDED: Final[dict[int, dict[type, tuple[str, ...]]]] = {
    2: {RunRow: ("prose_loss", "answers_loss")},
    3: {
        PhaseRow: ("adapter_version", "ended_by"),
        EvaluationRow: ("pairs", "margin", "accuracy", "kept"),
        ExportRow: ("adapter", "mix"),
    },
}
#: The form that brought a table, where it was not the first.
BEGAN: Final[dict[type, int]] = {LostRow: 3}

#: What identifies a row, besides the two tables that number theirs.
_KEYS: Final[dict[type, str]] = {
    PhaseRow: "run_id, position",
    ChoiceRow: "run_id, name, value",
    StepRow: "run_id, phase, step",
    EvaluationRow: "run_id, phase, step",
    LostRow: "run_id, phase, key",
}
_COLUMN: Final = {"int": "INTEGER", "float": "REAL", "bool": "INTEGER"}


def columns(row: type, form: int = SCHEMA) -> tuple[str, ...]:
    """The columns of a row's table in a file of `form`, in the order of its fields."""
    later = {name for at, added in ADDED.items() if at > form for name in added.get(row, ())}
    return tuple(field.name for field in fields(row) if field.name not in later)


def creation() -> list[str]:
    """The statements that make the tables."""
    return [*map(_table, TABLES), f"PRAGMA user_version = {SCHEMA}"]


def _table(row: type) -> str:
    parts: list[str] = []
    for field in fields(row):
        needed = "" if " | " in str(field.type) else " NOT NULL"
        kind = f"{field.name} {_COLUMN.get(_kind(field), 'TEXT')}{needed}"
        # Numbers are never given twice, also not those of rows that were deleted.
        numbered = row not in _KEYS and not parts
        parts.append(f"{field.name} INTEGER PRIMARY KEY AUTOINCREMENT" if numbered else kind)
    # Rows without a number of their own are read in the order they were written.
    parts += [f"PRIMARY KEY ({_KEYS[row]})"] if row in _KEYS else []
    return f"CREATE TABLE {TABLES[row]} ({', '.join(parts)})"


def migration(form: int) -> list[str]:
    """The statements that bring a file of `form` to `SCHEMA`; none for one that is."""
    made = [
        f"ALTER TABLE {TABLES[row]} ADD COLUMN {field.name} {_COLUMN.get(_kind(field), 'TEXT')}"
        for at in range(form + 1, SCHEMA + 1)
        for row, names in ADDED[at].items()
        for field in fields(row)
        if field.name in names
    ]
    made += [_table(row) for row, began in BEGAN.items() if began > form]
    return [*made, f"PRAGMA user_version = {SCHEMA}"] if form < SCHEMA else []


def _kind(field: Field[Any]) -> str:
    return str(field.type).partition(" | ")[0]


def plain(row: Row) -> dict[str, Any]:
    """A row as JSON and CSV have it."""
    return {name: getattr(row, name) for name in columns(type(row))}
