"""The one lock of a store: a kernel lock, with a file beside it that says who holds it.

The invariant: the lock dies with its process, so there is never a stale lock to
break; the owner file is only words for the message and is believed only while the
kernel says that the lock is held. A lock made of a file's mere existence would
need someone to judge whether its process still lives. Such a file (`.lock`) of
another writer is still respected while its process runs.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict

from dlm_engine.errors import StoreError, StoreLocked
from dlm_engine.store.atomic import disk_errors, make_folders, process_alive, write_atomic
from dlm_engine.store.records import canonical_json, read_json_object, validated

LOCK_NAME = ".store-lock"
OWNER_NAME = ".store-lock.json"
FOREIGN_LOCK_NAME = ".lock"

_POLL_SECONDS = 0.05


class LockOwner(BaseModel):
    """Who holds a store: process number, machine, what for, since when."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    pid: int
    host: str
    purpose: str
    started: AwareDatetime


@contextmanager
def held(root: Path, purpose: str, timeout: float) -> Iterator[None]:
    """Hold the lock of the store at `root`, waiting up to `timeout` seconds for it.

    Creates the store's folder. Raises:
        StoreLocked: someone else holds it; the problem names them.
        StoreError: the lock cannot be taken at all (read-only, not a folder).
    """
    # filelock costs 50 ms to import, and readers never need it.
    from filelock import FileLock, Timeout

    make_folders(root)
    # No soft fallback: a lock that outlives its process would break the invariant.
    lock = FileLock(root / LOCK_NAME, thread_local=False, fallback_to_soft=False)
    deadline = time.monotonic() + timeout
    with disk_errors(root / LOCK_NAME):
        try:
            lock.acquire(timeout=max(timeout, 0), poll_interval=_POLL_SECONDS)
        except Timeout:
            raise _locked(root) from None
        except NotImplementedError as error:
            raise StoreError(
                str(root), "its file system has no locks", "choose a home on a local disk"
            ) from error
    try:
        _await_foreign_release(root, deadline)
        # On a full disk the words may be missing, else `dlm gc` could not make space.
        with suppress(StoreError):
            _write_owner(root, purpose)
        try:
            yield
        finally:
            with suppress(OSError):
                os.unlink(root / OWNER_NAME)
    finally:
        lock.release()


def require_free(root: Path) -> None:
    """Raise `StoreLocked` where the store at `root` is held now; creates nothing.

    Only where someone says so: trying a lock that is free would be in the way of who takes it.
    """
    from filelock import FileLock, Timeout

    if (root / OWNER_NAME).exists() and (root / LOCK_NAME).exists():
        lock = FileLock(root / LOCK_NAME, thread_local=False, fallback_to_soft=False)
        with suppress(OSError, NotImplementedError):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise _locked(root) from None
            lock.release()
    _await_foreign_release(root, time.monotonic())


def lock_owner(root: Path) -> LockOwner | None:
    """What the owner file says; None when there is none or it makes no sense. Never raises."""
    path = root / OWNER_NAME
    try:
        value = read_json_object(path, "")
        return None if value is None else validated(LockOwner, value, path, "")
    except StoreError:
        return None


def _write_owner(root: Path, purpose: str) -> None:
    owner = LockOwner(
        pid=os.getpid(),
        host=socket.gethostname(),
        purpose=purpose,
        started=datetime.now(UTC).replace(microsecond=0),
    )
    write_atomic(root / OWNER_NAME, canonical_json(owner, ascii_only=True))


def _locked(root: Path) -> StoreLocked:
    owner = lock_owner(root)
    here = socket.gethostname()
    # Between a crash and the next holder's first write, the file names the dead one.
    if owner is None or (owner.host == here and not process_alive(owner.pid)):
        return StoreLocked(
            str(root), "is in use by another process", "wait until it has finished, then try again"
        )
    place = "" if owner.host == here else f" on {owner.host}"
    return StoreLocked(
        str(root),
        f"is in use by process {owner.pid}{place} "
        f"({owner.purpose}, since {owner.started:%Y-%m-%d %H:%M:%S} UTC)",
        "wait until it has finished, or end that process, then try again",
    )


def _await_foreign_release(root: Path, deadline: float) -> None:
    while (problem := _foreign_holder(root)) is not None:
        if time.monotonic() >= deadline:
            raise StoreLocked(
                str(root / FOREIGN_LOCK_NAME),
                problem,
                "wait until it has finished; if no such program runs, delete the file",
            )
        time.sleep(_POLL_SECONDS)


def _foreign_holder(root: Path) -> str | None:
    """Who holds the store by a file of lines pid, host, time; None when nobody living does."""
    try:
        lines = (root / FOREIGN_LOCK_NAME).read_text("utf-8").split("\n")
        pid, host = int(lines[0]), lines[1].strip()
    except (OSError, ValueError, IndexError):
        return None
    if host == socket.gethostname() and not process_alive(pid):
        return None
    return f"says that process {pid} on {host} uses the store"
