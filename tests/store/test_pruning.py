"""What saves leave behind is removed, and nothing that somebody asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store.conftest import fill, run_record

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    MadeBy,
    Store,
    Version,
    prune_saved,
    read_ledger,
    record_export,
    rollback,
)

COMMAND, SAVE = MadeBy.COMMAND, MadeBy.SAVE
Act = Callable[[Store], object]


def commit(store: Store, made_by: MadeBy, adapter: str | None = None) -> Version:
    with store.stage(adapter) as staging:
        fill(staging.path, f"weights {staging.number}")
        record = run_record(staging.number, staging.number, adapter)
        return staging.commit(record.model_copy(update={"made_by": made_by}))


def made(store: Store, makers: str) -> None:
    """Commit one version for each letter: c by a command, s by a save."""
    for letter in makers:
        commit(store, COMMAND if letter == "c" else SAVE)


def numbers(store: Store, adapter: str | None = None) -> list[int]:
    for version in store.versions(adapter):
        version.verify()
    return [version.number for version in store.versions(adapter)]


def exported(store: Store) -> None:
    record_export(store, store.versions()[1])


def unknown(store: Store) -> None:
    """As an earlier dlm left it, which did not say who made it."""
    path = store.versions()[1].path
    (path / "COMPLETE.json").unlink()
    (path / "dlm_run.json").unlink()


KEPT: list[tuple[str, str, list[Act], int, list[int]]] = [
    ("the newest", "ssss", [], 2, [3, 4]),
    ("only as many as there are", "ss", [], 5, [1, 2]),
    ("of commands", "cscss", [], 1, [1, 3, 5]),
    ("the current one", "cssc", [lambda s: rollback(s, 2)], 1, [1, 2, 3, 4]),
    ("exported", "sssss", [exported], 1, [2, 5]),
    ("gone back to", "sssss", [lambda s: rollback(s, 2), lambda s: rollback(s, 5)], 1, [2, 5]),
    ("the newest complete one", "ssss", [lambda s: rollback(s, 1)], 0, [1, 4]),
    ("of another writer", "ssss", [unknown], 1, [2, 4]),
]


@pytest.mark.parametrize(
    ("makers", "acts", "keep", "left"), [k[1:] for k in KEPT], ids=[k[0] for k in KEPT]
)
def test_what_stays(makers: str, acts: list[Act], keep: int, left: list[int], store: Store) -> None:
    made(store, makers)
    for act in acts:
        act(store)
    before = {version.number for version in store.versions()}
    removed = prune_saved(store, keep)
    assert [v.number for v in store.versions()] == left
    assert {version.number for version in removed} == before - set(left)
    assert prune_saved(store, keep) == ()
    assert store.recover().actions == []
    assert commit(store, SAVE).number == len(makers) + 1


def test_each_adapter_by_itself(store: Store) -> None:
    for adapter in ("tone", "tone", "tone", "other"):
        commit(store, SAVE, adapter)
    prune_saved(store, 2)
    assert numbers(store, "tone") == [2, 3]
    assert numbers(store, "other") == [1]


def test_a_kill_while_removing_leaves_whole_versions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(store, "ssss")

    def die(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("dlm_engine.store.upkeep.remove_tree", die)
        with pytest.raises(KeyboardInterrupt):
            prune_saved(store, 1)
    assert numbers(store) == [2, 3, 4]
    assert len(store.recover().actions) == 1
    prune_saved(store, 1)
    assert numbers(store) == [4]
    assert [p.name for p in store.versions()[0].path.parent.iterdir()] == ["v0004"]


def test_a_disk_that_refuses_to_delete_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(store, "sss")

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    with monkeypatch.context() as broken:
        broken.setattr("os.rename", refuse)
        with pytest.raises(StoreError, match="not permitted"):
            prune_saved(store, 1)
    assert numbers(store) == [1, 2, 3]


def test_an_export_is_noted_once_and_survives_a_rollback(store: Store) -> None:
    made(store, "sss")
    for _ in range(2):
        record_export(store, store.versions()[0])
    rollback(store, 2)
    assert read_ledger(store.root, None).exported == (1,)
