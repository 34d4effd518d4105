"""Every function that reads leaves the disk as it was, and creates nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.store import (
    Store,
    Version,
    ensure_space,
    home_dir,
    lock_owner,
    plan_garbage,
    read_ledger,
    read_lock,
    rollback,
)

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


def read_everything(store: Store) -> None:
    home_dir(store.home)
    ensure_space(store.root, 1)
    store.exists()
    store.read_manifest()
    store.adapters()
    plan_garbage(store, 1)
    read_lock(store)
    lock_owner(store.root)
    for adapter in (None, "tone"):
        read_ledger(store.root, adapter)
        store.current(adapter)
        for version in store.versions(adapter):
            version.run_record()
            version.rejection_reason()
            version.require_base("smollm2-135m", None)
            if version.complete:
                version.verify()


def test_on_a_store_with_everything_in_it(
    store: Store,
    train: Callable[..., Version],
    snapshot: Callable[[Path], dict[str, str]],
) -> None:
    train(store)
    train(store)
    train(store, "tone")
    rollback(store, 1)
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        staging.reject("NaN")
    (store.root / "adapter" / "versions" / "tmp-999999999-00000000").mkdir()
    before = snapshot(store.home)

    read_everything(Store(store.home, DLM_ID))

    assert snapshot(store.home) == before


def test_on_another_writers_store(
    reference_store: Store, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    before = snapshot(reference_store.home)
    read_everything(reference_store)
    assert snapshot(reference_store.home) == before


@pytest.mark.parametrize("prepare", [lambda home: None, lambda home: home.mkdir()])
def test_where_there_is_no_store(prepare: Callable[[Path], None], home: Path) -> None:
    prepare(home)
    existed = home.exists()

    read_everything(Store(home, DLM_ID))
    assert Store(home, DLM_ID).recover().actions == []

    assert home.exists() == existed
    assert not existed or list(home.iterdir()) == []
