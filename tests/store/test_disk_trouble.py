"""Full, read-only and misused disks: one message each, with what to do, and nothing lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    Manifest,
    RunLog,
    Store,
    Version,
    collect_garbage,
    ensure_space,
    rollback,
    write_atomic,
)
from dlm_engine.store.manifest import now

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
Train = Callable[..., Version]
Action = Callable[[Store], object]


def commit(store: Store) -> None:
    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        staging.commit()


def open_log(store: Store) -> None:
    RunLog.create(store, 1, now()).close()


WRITERS: list[Action] = [
    commit,
    lambda store: store.write_manifest(Manifest(dlm_id=DLM_ID, base_model="b")),
    lambda store: rollback(store, 1),
    lambda store: collect_garbage(store, 1),
    open_log,
]


@pytest.mark.parametrize("action", WRITERS)
@pytest.mark.parametrize(
    ("code", "problem", "remedy"),
    [
        (errno.EROFS, "not permitted", "--home"),
        (errno.EACCES, "not permitted", "--home"),
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EDQUOT, "the disk is full", "free some space"),
        (errno.EIO, "the disk reported an error", "check the disk"),
    ],
)
def test_a_disk_that_refuses_to_create_and_rename(
    action: Action,
    code: int,
    problem: str,
    remedy: str,
    store: Store,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train(store)
    train(store)
    real = os.open

    def refuse(path: str, flags: int, *args: int, **kwargs: int) -> int:
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), path)
        return real(path, flags, *args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr("os.open", refuse)
        broken.setattr("os.rename", lambda source, target: refuse(source, os.O_CREAT))
        with pytest.raises(StoreError, match=problem) as caught:
            action(store)

    assert caught.value.subject
    assert remedy in caught.value.remedy
    current = store.current()
    assert current is not None
    current.verify()
    assert current.number == 2
    assert train(store).number == 3


def test_a_commit_can_be_tried_again_after_space_was_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = {"left": 1}
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if full["left"]:
            full["left"] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    with store.stage() as staging:
        (staging.path / "a").write_bytes(b"a")
        with monkeypatch.context() as broken:
            broken.setattr("os.write", write)
            with pytest.raises(StoreError, match="the disk is full"):
                staging.commit()
        version = staging.commit()
    version.verify()
    assert store.current() == version


def test_a_disk_that_fills_while_the_trainer_saves(store: Store, train: Train) -> None:
    train(store)
    with pytest.raises(StoreError, match="the disk is full"), store.stage():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StoreError, match="No such file"), store.stage() as staging:
        (staging.path / "missing").read_bytes()
    with pytest.raises(ConnectionResetError), store.stage():
        raise ConnectionResetError
    assert [version.number for version in store.versions()] == [1]


def test_garbage_can_be_collected_when_nothing_more_can_be_written(
    store: Store, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        train(store)
    (store.root / "adapter" / "versions" / "tmp-999999999-00000000").mkdir()

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("os.write", full)
        freed = collect_garbage(store, 1)

    assert [item.path.name for item in freed.items] == [
        "v0001",
        "v0002",
        "tmp-999999999-00000000",
    ]
    assert [version.number for version in store.versions()] == [3]


def test_space_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    missing = tmp_path / "not" / "yet" / "there"
    ensure_space(missing, 1)
    with pytest.raises(StoreError, match=r"the disk has .* free and .* are needed") as caught:
        ensure_space(missing, 2**70)
    assert "free some space" in caught.value.remedy
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    "place",
    ["home", "home/store", f"home/store/{DLM_ID}", f"home/store/{DLM_ID}/adapter",
     f"home/store/{DLM_ID}/adapter/versions", f"home/store/{DLM_ID}/logs"],
)  # fmt: skip
def test_a_file_where_a_folder_belongs(place: str, tmp_path: Path) -> None:
    blocker = tmp_path / place
    blocker.parent.mkdir(parents=True, exist_ok=True)
    blocker.write_text("mine", encoding="utf-8")
    store = Store(tmp_path / "home", DLM_ID)

    write: Action = open_log if place.endswith("logs") else commit
    with pytest.raises(StoreError) as caught:
        write(store)

    assert caught.value.subject
    assert caught.value.remedy
    assert blocker.read_text(encoding="utf-8") == "mine"
    if place == f"home/store/{DLM_ID}":
        with pytest.raises(StoreError, match="is not a folder"):
            store.current()


def test_a_dangling_link_in_the_stores_place(home: Path, tmp_path: Path) -> None:
    store = Store(home, DLM_ID)
    store.root.parent.mkdir(parents=True)
    store.root.symlink_to(tmp_path / "unplugged")
    with pytest.raises(StoreError, match="is not a folder"):
        store.read_manifest()


def test_a_home_that_is_a_link_works(tmp_path: Path, train: Train) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "big-disk")
    store = Store(tmp_path / "home", DLM_ID)
    train(store)
    current = store.current()
    assert current is not None
    current.verify()


def test_a_path_too_long_for_the_system(tmp_path: Path) -> None:
    home = tmp_path.joinpath(*["x" * 250] * 20)
    with pytest.raises(StoreError, match="too long"):
        commit(Store(home, DLM_ID))


def test_write_atomic_keeps_the_old_file_and_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def refuse(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", refuse)
        with pytest.raises(StoreError, match="the disk is full"):
            write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
