"""Every byte the store puts on disk goes through here, and every disk error comes out of here.

The invariant: a file written by this module is seen either whole, as it was before
or as it is after, even when the machine loses power. That takes five steps (write
beside, fsync the file, rename, fsync the folder, never touch the old one before),
so they stand in one place instead of at each call. `OSError` leaves this room only
as a `StoreError` that says what a person can do.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlm_engine.errors import StoreError

_TEMPORARY = re.compile(r"tmp-(\d+)-([0-9a-f]{8})")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_WRONG_KIND = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}

#: Temporary names this process has in use; a name with our pid that is not here
#: was left by a dead process whose number we were given.
_in_use: set[str] = set()


def store_error(error: OSError, path: Path) -> StoreError:
    """`error` as a message about `path` (or the file the system named)."""
    subject = str(error.filename or path)
    code = error.errno
    if is_full(error):
        return StoreError(
            subject,
            f"the disk is full ({error.strerror})",
            "free some space and try again; earlier versions are untouched",
        )
    if code in _FORBIDDEN:
        return StoreError(
            subject,
            f"not permitted ({error.strerror})",
            "make the store readable and writable for this user, or choose another with --home",
        )
    if code in _WRONG_KIND:
        return StoreError(
            subject,
            f"a file stands where a folder is expected, or the reverse ({error.strerror})",
            "move it away, or choose another store with --home",
        )
    if code == errno.ENOENT and error.filename:
        return StoreError(subject, f"it is not there ({error.strerror})", "check the path")
    if code == errno.ENAMETOOLONG:
        return StoreError(subject, "the path is too long", "choose a shorter home with --home")
    return StoreError(
        subject,
        f"the disk reported an error ({error.strerror or error})",
        "check the disk and try again",
    )


def is_full(error: OSError) -> bool:
    """Whether the disk, the quota or the largest size of a file was reached."""
    return error.errno in _FULL


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn any `OSError` inside into a `StoreError` about `path`."""
    try:
        yield
    except OSError as error:
        raise store_error(error, path) from error


# --- temporary names ---------------------------------------------------------------------


def claim_temporary_name() -> str:
    """A fresh name `tmp-<pid>-<nonce>`, counted as in use until `release_temporary_name`."""
    name = f"tmp-{os.getpid()}-{secrets.token_hex(4)}"
    _in_use.add(name)
    return name


def release_temporary_name(name: str) -> None:
    _in_use.discard(name)


def is_temporary(name: str) -> bool:
    """Whether `name` is one of ours: `tmp-<pid>-<nonce>`, or `.<file>.tmp-<pid>-<nonce>`."""
    return _temporary_part(name) is not None


def is_abandoned(name: str) -> bool:
    """Whether `name` is temporary and the process that made it is gone."""
    part = _temporary_part(name)
    if part is None or part.group() in _in_use:
        return False
    pid = int(part.group(1))
    return pid == os.getpid() or not process_alive(pid)


def _temporary_part(name: str) -> re.Match[str] | None:
    tail = name.rpartition(".")[2] if name.startswith(".") else name
    return _TEMPORARY.fullmatch(tail)


def process_alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine. Uncertain means yes."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        # There is no harmless signal on Windows, os.kill would end the process.
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except OSError:
        return True
    return True


# --- writing -----------------------------------------------------------------------------


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` durably; after any failure the old content is still there.

    Raises:
        StoreError: the disk refused; no temporary file is left behind.
    """
    name = claim_temporary_name()
    beside = path.with_name(f".{path.name}.{name}")
    try:
        with disk_errors(path):
            try:
                write_durably(beside, data)
                os.replace(beside, path)
            except OSError as error:
                # What is meant is `path`; nobody has heard of the file beside it.
                error.filename = str(path)
                with suppress(OSError):
                    os.unlink(beside)
                raise
            fsync_dir(path.parent)
    finally:
        release_temporary_name(name)


def write_durably(path: Path, data: bytes) -> None:
    """Create `path` with `data` and fsync it; raises plain `OSError`. Not atomic by itself."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        _flush_to_disk(fd)
    finally:
        os.close(fd)


def fsync_file(path: Path) -> None:
    """Bring a file that someone else wrote onto the disk; raises plain `OSError`."""
    flags = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    fd = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))
    try:
        _flush_to_disk(fd)
    finally:
        os.close(fd)


def fsync_dir(path: Path) -> None:
    """Bring the names in a folder onto the disk; raises plain `OSError`."""
    if sys.platform == "win32":
        return  # Windows has no such call; NTFS journals names itself
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flush_to_disk(fd)
    finally:
        os.close(fd)


def _flush_to_disk(fd: int) -> None:
    if sys.platform == "darwin":
        # macOS' fsync stops at the drive's cache; this request does not.
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
    os.fsync(fd)


def make_folders(path: Path) -> None:
    """Create `path` and its missing parents, each name fsynced into its parent.

    Raises:
        StoreError: the disk refused, or a file stands in the way.
    """
    missing = []
    with disk_errors(path):
        current = path
        while not current.is_dir():
            missing.append(current)
            if current.parent == current:
                break
            current = current.parent
        for folder in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(folder)
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
            fsync_dir(folder.parent)


def remove_tree(path: Path) -> None:
    """Delete a folder or file, never following links; raises plain `OSError`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)


# --- measuring ---------------------------------------------------------------------------


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hex digits. Raises plain `OSError`."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tree_bytes(path: Path) -> int:
    """Bytes of all regular files under `path`, links not followed; what vanishes counts as 0."""
    total = 0
    with suppress(OSError):
        if path.is_symlink() or path.is_file():
            return path.lstat().st_size
        for entry in os.scandir(path):
            child = Path(entry.path)
            total += tree_bytes(child) if entry.is_dir(follow_symlinks=False) else _size(child)
    return total


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def ensure_space(path: Path, bytes_needed: int) -> None:
    """Refuse early when the file system of `path` has less than `bytes_needed` bytes free.

    `path` need not exist yet; nothing is created.

    Raises:
        StoreError: there is not enough room.
    """
    existing = path
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    with disk_errors(path):
        free = shutil.disk_usage(existing).free
    if free >= bytes_needed:
        return
    raise StoreError(
        str(path),
        f"the disk has {_mib(free)} free and {_mib(bytes_needed)} are needed",
        "free some space (`dlm gc` removes old versions) or choose another --home",
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
