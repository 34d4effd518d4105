"""`logs/rpc-injected.jsonl`: what was sent from outside, by whom, and what learned it.

The invariant: a line is written once it is known what became of its question, and it is
forgotten with it (`dlm purge`), since it holds the same text. The file is replaced as a whole,
so a kill leaves it as it was before or after.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from dlm_engine.store.atomic import disk_errors, write_atomic
from dlm_engine.store.logs import read_log
from dlm_engine.store.opening import Store

INJECTED_NAME: Final = "rpc-injected.jsonl"


class InjectedLine(BaseModel):
    """`accepted_at` in UTC; no `run_id` and no `adapter_version` where no version learned it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    prompt: str
    reference: str
    tags: tuple[str, ...] = ()
    source_addr: str
    accepted_at: str
    run_id: int | None = None
    adapter_version: int | None = None


def read_injected(store: Store) -> tuple[InjectedLine, ...]:
    """Every whole line of the file; none without one."""
    path = store.root / "logs" / INJECTED_NAME
    with disk_errors(path):
        if not path.is_file():
            return ()
    found = []
    for record in read_log(path):
        try:
            found.append(InjectedLine.model_validate(record))
        except ValidationError:
            continue
    return tuple(found)


def record_injected(store: Store, lines: Iterable[InjectedLine]) -> None:
    """Add `lines` durably.

    Raises:
        StoreError: the disk refuses. StoreLocked: someone else is writing to the store.
    """
    with store.lock("recording injected questions"):
        _write(store, (*read_injected(store), *lines))


def forget_injected(store: Store, forget: Callable[[InjectedLine], bool]) -> int:
    """Remove the lines that are to be forgotten; returns how many went.

    Raises:
        StoreError, StoreLocked: as `record_injected`.
    """
    with store.lock("purge"):
        lines = read_injected(store)
        staying = tuple(line for line in lines if not forget(line))
        if len(staying) < len(lines):
            _write(store, staying)
    return len(lines) - len(staying)


def _write(store: Store, lines: Iterable[InjectedLine]) -> None:
    text = "".join(
        json.dumps(line.model_dump(mode="json"), sort_keys=True) + "\n" for line in lines
    )
    write_atomic(store.logs_dir() / INJECTED_NAME, text.encode("utf-8"))
