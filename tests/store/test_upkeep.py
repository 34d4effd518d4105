"""Rollback and garbage collection."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError, UsageError
from dlm_engine.store import (
    GarbageKind,
    Store,
    Version,
    checkpoint_path,
    collect_garbage,
    plan_garbage,
    read_ledger,
    rollback,
)

Train = Callable[..., Version]
Snapshot = Callable[[Path], dict[str, str]]


def number(store: Store, adapter: str | None = None) -> int:
    version = store.current(adapter)
    assert version is not None
    version.verify()
    return version.number


def trained(store: Store, train: Train, count: int) -> Store:
    for _ in range(count):
        train(store)
    return store


def test_rollback_moves_the_pointer_and_keeps_the_rest(store: Store, train: Train) -> None:
    trained(store, train, 3)

    report = rollback(store, 1)

    assert (report.before, report.after.number, report.after.current) == (3, 1, True)
    assert [v.number for v in store.versions() if v.complete] == [1, 2, 3]
    assert number(store) == 1
    manifest = store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_version == 1
    assert manifest.content_hashes == {f"{1:016x}": f"{1:016x}"}
    assert [run.adapter_version for run in manifest.training_runs] == [1, 2, 3]
    recorded = read_ledger(store.root, None).rollbacks[-1]
    assert (recorded.source, recorded.target, recorded.newest) == (3, 1, 3)


def test_a_rollback_holds_through_recovery_and_until_the_next_commit(
    store: Store, train: Train
) -> None:
    trained(store, train, 3)
    rollback(store, 2)

    assert store.recover().actions == []
    assert number(store) == 2
    assert train(store).number == 4
    assert store.recover().actions == []
    assert number(store) == 4


def test_rolling_forward_again(store: Store, train: Train) -> None:
    trained(store, train, 2)
    rollback(store, 1)
    rollback(store, 2)
    store.recover()
    assert number(store) == 2


def test_rolling_back_to_the_current_version_writes_nothing(
    store: Store, train: Train, snapshot: Snapshot
) -> None:
    trained(store, train, 2)
    before = snapshot(store.root / "adapter")
    assert rollback(store, 2).before == 2
    assert snapshot(store.root / "adapter") == before


def test_rollback_of_a_named_adapter(store: Store, train: Train) -> None:
    train(store, "tone")
    train(store, "tone")
    rollback(store, 1, "tone")
    assert number(store, "tone") == 1
    store.recover()
    assert number(store, "tone") == 1


def test_rollback_refuses_what_is_not_a_whole_version(store: Store, train: Train) -> None:
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        staging.reject("NaN")
    trained(store, train, 3)
    damaged = store.versions()[1]
    os.truncate(damaged.path / "adapter_model.safetensors", 5)
    flipped = store.versions()[2].path / "adapter_model.safetensors"
    data = bytearray(flipped.read_bytes())
    data[-1] ^= 1
    flipped.write_bytes(data)

    for wrong, problem in [
        (9, "does not exist: complete versions: 3, 4"),
        (1, r"was rejected \(NaN\)"),
        (2, "is not complete"),
        (3, "was changed after the commit"),
    ]:
        with pytest.raises(StoreError, match=problem):
            rollback(store, wrong)
    assert number(store) == 4


def test_rollback_without_a_store(home: Path) -> None:
    with pytest.raises(StoreError, match="there is no store for this document yet"):
        rollback(Store(home, "01HZ4X7TGZM3J1A2B3C4D5E6F7"), 1)
    assert not home.exists()


def test_garbage_is_planned_without_touching_anything_and_then_removed(
    store: Store, train: Train, snapshot: Snapshot
) -> None:
    trained(store, train, 4)
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"abc")
        staging.reject("NaN")
    versions = store.root / "adapter" / "versions"
    leftover = versions / "tmp-999999999-0badcafe"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"12345")
    before = snapshot(store.root)

    plan = plan_garbage(store, keep=2)

    assert snapshot(store.root) == before
    assert [(item.path.name, item.kind) for item in plan.items] == [
        ("v0001", GarbageKind.OLD),
        ("v0002", GarbageKind.OLD),
        ("v0005-rejected", GarbageKind.REJECTED),
        (leftover.name, GarbageKind.TEMPORARY),
    ]
    assert plan.items[-1].bytes == 5
    assert plan.bytes == sum(item.bytes for item in plan.items) > 5

    assert collect_garbage(store, keep=2) == plan
    assert sorted(os.listdir(versions)) == ["v0003", "v0004"]
    assert number(store) == 4
    assert plan_garbage(store, keep=2).items == ()


@pytest.mark.parametrize("keep", [0, 1])
def test_the_current_and_the_newest_version_always_stay(
    keep: int, store: Store, train: Train
) -> None:
    trained(store, train, 4)
    rollback(store, 2)

    collect_garbage(store, keep=keep)

    assert [v.number for v in store.versions()] == [2, 4]
    assert number(store) == 2
    store.recover()
    assert number(store) == 2


def test_a_number_whose_folder_was_removed_is_not_given_again(store: Store, train: Train) -> None:
    train(store)
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        staging.reject("NaN")
    collect_garbage(store, keep=1)
    assert [v.number for v in store.versions()] == [1]
    assert train(store).number == 3


def test_a_staging_folder_in_use_is_not_garbage(store: Store, train: Train) -> None:
    train(store)
    with store.stage() as staging:
        assert plan_garbage(store, keep=1).items == ()
        assert collect_garbage(store, keep=1).items == ()
        store.recover()
        assert staging.path.is_dir()


@pytest.mark.parametrize("adapter", [None, "harbour"])
def test_a_state_half_written_by_a_dead_process_is_swept(store: Store, adapter: str | None) -> None:
    folder = checkpoint_path(store.root, adapter)
    folder.mkdir(parents=True)
    (folder / ".state.tmp-999999999-0badcafe").write_bytes(b"half")
    assert len(store.recover().actions) == 1
    assert list(folder.iterdir()) == []


def test_a_living_processs_staging_folder_is_not_swept(store: Store, train: Train) -> None:
    train(store)
    alive = store.root / "adapter" / "versions" / f"tmp-{os.getppid()}-00000000"
    alive.mkdir()
    store.recover()
    assert alive.is_dir()


def test_incomplete_folders_older_than_the_newest_version_go(
    reference_store: Store, train: Train
) -> None:
    train(reference_store)
    kinds = {item.path.name: item.kind for item in plan_garbage(reference_store, 1).items}
    assert kinds == {
        "v0001": GarbageKind.INCOMPLETE,
        "v0002": GarbageKind.OLD,
        "v0002-rejected": GarbageKind.REJECTED,
        "v0003": GarbageKind.INCOMPLETE,
    }


def test_an_unfinished_folder_newer_than_every_version_stays(reference_store: Store) -> None:
    assert "v0003" not in {item.path.name for item in plan_garbage(reference_store, 1).items}


def test_a_negative_keep_is_a_usage_error(store: Store) -> None:
    with pytest.raises(UsageError, match="--keep"):
        plan_garbage(store, -1)
    with pytest.raises(UsageError, match="--keep"):
        collect_garbage(store, -1)


def test_garbage_of_a_store_that_is_not_there(home: Path) -> None:
    missing = Store(home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    assert plan_garbage(missing, 1).items == ()
    assert collect_garbage(missing, 1).bytes == 0
    assert not home.exists()
