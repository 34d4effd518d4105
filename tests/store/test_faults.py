"""Every write to the disk failing, stopping the process, or being lost, one at a time.

For each operation on a store and each n, the n-th call that changes the disk is made
to (a) fail, (b) be the last thing the process ever does, or (c) be followed by a loss
of power that takes everything with it that was not fsynced. Afterwards the store must
open with a complete version, one that was acknowledged must not be lost, recovery must
bring it in order, and work must go on.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.errors import StoreError
from dlm_engine.store import (
    Store,
    Version,
    atomic,
    collect_garbage,
    plan_garbage,
    rollback,
)

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
Train = Callable[..., Version]


class Killed(BaseException):
    """The process is dead: it raises from every later call too, so no clean-up runs."""


@dataclass
class Faults:
    """Counts the calls that change the disk and lets the `at`-th one go wrong.

    mode "fail": that call alone raises an I/O error. "stop": that call and all later
    ones raise `Killed`; a write has written half. "power": as stop, and `lose` then
    takes back what was not fsynced. "power-names": the same, but only file contents
    are lost, the names in folders having reached the disk early.
    """

    root: Path
    mode: str
    at: int
    spare: Path
    count: int = 0
    dead: bool = False
    synced: set[int] = field(default_factory=set)
    pending: list[tuple[int, Callable[[], object]]] = field(default_factory=list)

    def step(self, path: object = None) -> bool:
        """Whether the call now being made is the one that goes wrong."""
        if self.dead:
            raise Killed
        self.count += 1
        if self.count != self.at:
            return False
        if self.mode == "fail":
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        self.dead = True
        return True

    def note(self, folder: Path, undo: Callable[[], object]) -> None:
        if self.root in (folder, *folder.parents):
            self.pending.append((folder.stat().st_ino, undo))

    def keep(self, path: Path) -> Path | None:
        """A second name for what `path` holds, out of harm's way."""
        if not path.is_file():
            return None
        copy = self.spare / f"{next(self._numbers)}"
        os.link(path, copy)
        return copy

    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def lose(self) -> None:
        """What a loss of power leaves: only what was fsynced."""
        for path in [*self.root.rglob("*"), *self.spare.iterdir()]:
            if path.is_file() and path.stat().st_ino not in self.synced:
                os.truncate(path, 0)
        if self.mode != "power":
            return
        # Names in a new folder that was never fsynced, made by whoever filled it.
        for folder in [path for path in self.root.rglob("*") if path.is_dir()]:
            if folder.exists() and folder.stat().st_ino not in self.synced:
                for entry in folder.iterdir():
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for _, undo in reversed(self.pending):
            undo()


@contextmanager
def injected(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    calls = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
    real = {name: getattr(os, name) for name in calls}
    for path in faults.root.rglob("*"):
        faults.synced.add(path.stat().st_ino)

    def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if not flags & os.O_CREAT or (not flags & os.O_EXCL and os.path.exists(path)):
            return int(real["open"](path, flags, *args, **kwargs))
        if faults.step(path):
            raise Killed
        fd = int(real["open"](path, flags, *args, **kwargs))
        faults.note(Path(path).parent, lambda: Path(path).unlink(missing_ok=True))
        return fd

    def write(fd: int, data: bytes) -> int:
        if faults.step():
            real["write"](fd, data[: len(data) // 2])
            raise Killed
        return int(real["write"](fd, data))

    def fsync(fd: int) -> None:
        if faults.step():
            raise Killed
        info = os.fstat(fd)
        faults.synced.add(info.st_ino)
        if stat.S_ISDIR(info.st_mode):
            faults.pending = [(ino, undo) for ino, undo in faults.pending if ino != info.st_ino]

    def moved(name: str) -> Callable[[Any, Any], None]:
        def move(source: Any, target: Any) -> None:
            if faults.step(target):
                raise Killed
            old = faults.keep(Path(target))
            real[name](source, target)

            def undo() -> None:
                if os.path.lexists(target):
                    real["rename"](target, source)
                if old is not None:
                    shutil.copyfile(old, target)

            faults.note(Path(target).parent, undo)

        return move

    def mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        if faults.step(path):
            raise Killed
        real["mkdir"](path, *args, **kwargs)
        faults.note(Path(path).parent, lambda: shutil.rmtree(path, ignore_errors=True))

    def removed(name: str) -> Callable[..., None]:
        def remove(path: Any, *args: Any, **kwargs: Any) -> None:
            if faults.step(path):
                raise Killed
            real[name](path, *args, **kwargs)

        return remove

    with monkeypatch.context() as patched:
        for name, fake in [
            ("open", opened), ("write", write), ("fsync", fsync), ("mkdir", mkdir),
            ("replace", moved("replace")), ("rename", moved("rename")),
            ("unlink", removed("unlink")), ("rmdir", removed("rmdir")),
        ]:  # fmt: skip
            patched.setattr(os, name, fake)
        yield


@dataclass(frozen=True)
class Operation:
    """What is done, and which versions may be current once it has begun, and once it is done."""

    act: Callable[[Store, Train], object]
    during: tuple[int | None, ...]
    done: int | None
    adapter: str | None = None
    versions: int = 2


def reject(store: Store, train: Train) -> None:
    with store.stage() as staging:
        (staging.path / "adapter_config.json").write_bytes(b"{}")
        staging.reject("NaN")


def rollback_and_commit(store: Store, train: Train) -> None:
    rollback(store, 1)
    train(store)


OPERATIONS = {
    "commit": Operation(lambda store, train: train(store), (2, 3), 3),
    "first commit": Operation(lambda store, train: train(store), (None, 1), 1, versions=0),
    "first commit of a named adapter": Operation(
        lambda store, train: train(store, "tone"), (None, 1), 1, adapter="tone"
    ),
    "reject": Operation(reject, (2,), 2),
    "rollback": Operation(lambda store, train: rollback(store, 1), (2, 1), 1),
    "rollback, then commit": Operation(rollback_and_commit, (2, 1, 3), 3),
    "garbage": Operation(lambda store, train: collect_garbage(store, 1), (2,), 2),
    "manifest": Operation(
        lambda store, train: store.write_manifest(store.read_manifest()),  # type: ignore[arg-type]
        (2,),
        2,
    ),
}


@pytest.fixture
def template(store: Store, train: Train) -> Callable[[int], Path]:
    """A store with so many versions, a rejected run, and a dead process's leftover."""

    def made(versions: int) -> Path:
        for _ in range(versions):
            train(store)
        if versions:
            leftover = store.root / "adapter" / "versions" / "tmp-999999999-00000000"
            leftover.mkdir()
            (leftover / "half").write_bytes(b"x")
        return store.home

    return made


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *itertools.product(["commit"], ["fail", "stop", "power", "power-names"]),
        *itertools.product(["rollback", "garbage"], ["fail", "power"]),
        *itertools.product(["first commit", "rollback, then commit", "reject"], ["power"]),
        ("first commit of a named adapter", "stop"),
        ("manifest", "fail"),
    ],
)
def test_any_write_going_wrong_leaves_a_store_that_opens_and_goes_on(
    name: str,
    mode: str,
    template: Callable[[int], Path],
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = OPERATIONS[name]
    source = template(operation.versions)
    went_wrong = 0
    for at in itertools.count(1):
        home, spare = tmp_path / f"home-{at}", tmp_path / f"spare-{at}"
        shutil.copytree(source, home)
        spare.mkdir()
        faults = Faults(Store(home, DLM_ID).root, mode, at, spare)
        done = run(operation, faults, train, monkeypatch)
        if mode.startswith("power"):
            faults.lose()
        went_wrong += faults.count >= at

        check(operation, home, train, done=done)
        shutil.rmtree(home)
        if faults.count < at:
            break
    assert went_wrong >= 5


def run(
    operation: Operation, faults: Faults, train: Train, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Whether the operation said that it was done."""
    home = faults.root.parent.parent
    with injected(faults, monkeypatch):
        try:
            operation.act(Store(home, DLM_ID), train)
        except Killed:
            assert faults.mode != "fail"
            # The next process knows nothing of the names this one had in use.
            monkeypatch.setattr(atomic, "_in_use", set())
            return False
        except StoreError as error:
            refusal = error
        else:
            return True
    assert faults.mode == "fail"
    assert refusal.remedy
    return False


def check(operation: Operation, home: Path, train: Train, *, done: bool) -> None:
    store = Store(home, DLM_ID)
    allowed = {operation.done} if done else set(operation.during)
    # A reader comes first: it does not repair, and must still find a whole version.
    seen = current_number(store, operation.adapter)
    assert seen in allowed
    whole = [version.number for version in store.versions(operation.adapter) if version.complete]

    store.recover()
    again = store.recover()

    assert again.actions == []
    now = current_number(store, operation.adapter)
    assert now in allowed
    if seen == operation.done:
        assert now == seen
    assert [v for v in store.versions(operation.adapter) if not v.complete | v.rejected] == []
    if not done and operation.done == max(whole, default=None):
        # The commit reached its rename, so recovery finishes it.
        assert now == operation.done
    manifest = store.read_manifest()
    assert manifest is not None
    if operation.adapter is None:
        assert manifest.adapter_version == (now or 0)
    recorded = [
        run.adapter_version
        for run in manifest.training_runs
        if run.adapter_name == operation.adapter
    ]
    assert set(whole) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    leftovers = [path for path in store.root.rglob("*") if "tmp-" in path.name]
    assert leftovers == []
    plan_garbage(store, 1)
    number = train(store, operation.adapter).number
    assert number > max(recorded, default=0)
    assert current_number(store, operation.adapter) == number


def current_number(store: Store, adapter: str | None) -> int | None:
    version = store.current(adapter)
    if version is None:
        return None
    version.verify()
    assert (
        (version.path / "adapter_model.safetensors")
        .read_bytes()
        .endswith(f"weights {version.number}".encode())
    )
    return version.number


def test_recovery_itself_can_be_killed_anywhere(
    template: Callable[[int], Path],
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit stopped right after its rename, then recovery stopped at each of its writes."""
    source = template(2)
    store = Store(source, DLM_ID)
    versions = store.root / "adapter" / "versions"
    before = {name: (store.root / name).read_bytes()
              for name in ("manifest.json", "adapter/current.txt")}  # fmt: skip
    train(store)
    for name, content in before.items():
        (store.root / name).write_bytes(content)
    (versions / "tmp-999999999-00000001").mkdir()
    operation = Operation(lambda store, train: store.recover(), (2, 3), 3)
    for at in itertools.count(1):
        home, spare = tmp_path / f"home-{at}", tmp_path / f"spare-{at}"
        shutil.copytree(source, home)
        spare.mkdir()
        faults = Faults(Store(home, DLM_ID).root, "power", at, spare)
        done = run(operation, faults, train, monkeypatch)
        faults.lose()
        check(operation, home, train, done=done)
        shutil.rmtree(home)
        if faults.count < at:
            break
    assert at > 10
