"""`ledger.json` beside an adapter's pointer: what cannot be read off the version folders.

Three things cannot: that a person went back to an older version (so the newest one
must not become current again), the highest number ever used (so a number whose
folder was removed is not given twice), and which versions were exported (so that they
are kept). The invariant: a commit never needs this
file, so a store without it, such as another writer's, is an ordinary store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from dlm_engine.store.atomic import write_atomic
from dlm_engine.store.layout import ledger_path
from dlm_engine.store.manifest import Moment
from dlm_engine.store.records import canonical_json, read_json_object, require_version, validated

_REMEDY = "delete it; the newest complete version becomes current"


class Rollback(BaseModel):
    """`target` was made current instead of `source` while `newest` was the newest version.

    It holds until a version newer than `newest` is committed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    at: Moment
    source: int | None
    target: int = Field(ge=1)
    newest: int = Field(ge=1)


class Ledger(BaseModel):
    """`rollbacks` is oldest first; only the last can still hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    schema_version: Literal[1] = 1
    highest: int = Field(default=0, ge=0)
    rollbacks: tuple[Rollback, ...] = ()
    exported: tuple[int, ...] = ()

    def held_target(self, newest: int) -> int | None:
        """The version a rollback holds current while `newest` is the newest one, or None."""
        if not self.rollbacks or self.rollbacks[-1].newest < newest:
            return None
        return self.rollbacks[-1].target


def read_ledger(root: Path, adapter: str | None) -> Ledger:
    """The ledger, an empty one when there is none; `StoreError` when damaged."""
    path = ledger_path(root, adapter)
    value = read_json_object(path, _REMEDY)
    if value is None:
        return Ledger()
    require_version(path, value, "schema_version", 1, None)
    return validated(Ledger, value, path, _REMEDY)


def write_ledger(root: Path, adapter: str | None, ledger: Ledger) -> None:
    """Replace the ledger durably; raises `StoreError`."""
    write_atomic(ledger_path(root, adapter), canonical_json(ledger, ascii_only=True))
