"""What holds of a home after a kill, and after going on; for the tests that kill trainings."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from dlm_engine.store import RunStatus, Store, read_metrics, token_cache_path
from dlm_engine.store.layout import checkpoint_path

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


def adapters(store: Store) -> list[str | None]:
    return [None, *store.adapters()]


def require_whole(home: Path) -> None:
    """As it was left by the kill, before anything was put in order."""
    store = Store(home, DLM_ID)
    for adapter in adapters(store):
        for version in store.versions(adapter):
            assert version.complete
            version.verify()
        # Nothing points at a first version that was just made; the next run puts that right.
        assert store.current(adapter) is not None or len(store.versions(adapter)) <= 1


def interrupted(home: Path) -> int:
    """How many runs the figures show as interrupted; none is shown as going on."""
    states = [run.status for run in read_metrics(Store(home, DLM_ID).root).runs]
    assert set(states) <= {RunStatus.TRAINED, RunStatus.INTERRUPTED}
    return states.count(RunStatus.INTERRUPTED)


def all_bytes(home: Path) -> dict[tuple[str | None, int], str | None]:
    store = Store(home, DLM_ID)
    versions = [v for adapter in adapters(store) for v in store.versions(adapter)]
    return {(v.adapter, v.number): v.adapter_sha256() for v in versions}


def require_settled(home: Path) -> None:
    """After going on: nothing is left to put in order, and the caches are sound."""
    require_whole(home)
    store = Store(home, DLM_ID)
    assert store.recover().actions == []
    assert [path for path in home.rglob("*") if "tmp-" in path.name] == []
    assert [a for a in adapters(store) if checkpoint_path(store.root, a).exists()] == []
    with closing(sqlite3.connect(token_cache_path(home))) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
