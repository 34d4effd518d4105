"""A finished export appears under its name in one step, or not at all.

Files are written into a folder of a temporary name beside the final one, flushed to the
disk, and then the folder is renamed. Where an export of that name stands already the two
folders change places (one system call on Linux), so at no instant is there none; on
systems without that call the old one is set aside first, and `recover` puts it back if
the process died in between.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlm_engine.errors import ExportError, StoreError
from dlm_engine.export.engines import disk_full
from dlm_engine.store.atomic import (
    claim_temporary_name,
    ensure_space,
    fsync_dir,
    fsync_file,
    is_abandoned,
    make_folders,
    release_temporary_name,
    remove_tree,
    store_error,
)

MANIFEST = "export_manifest.json"
_ASIDE = ".previous-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """Every disk error inside leaves as an `ExportError` that says what to do."""
    try:
        yield
    except StoreError as error:
        raise ExportError(error.subject, error.problem, error.remedy) from error
    except OSError as error:
        told = store_error(error, path)
        if "full" in told.problem:
            raise disk_full(told.subject) from error
        raise ExportError(told.subject, told.problem, told.remedy) from error


def require_space(path: Path, needed: int) -> None:
    """Raise `ExportError` when the disk of `path` has less than `needed` bytes free."""
    with disk_trouble(path):
        ensure_space(path, needed)


def require_replaceable(folder: Path) -> None:
    """Raise `ExportError` when publishing to `folder` would destroy something else."""
    if folder.is_dir():
        if (folder / MANIFEST).is_file() or not any(folder.iterdir()):
            return
    elif not folder.exists() and not folder.is_symlink():
        return
    raise ExportError(
        str(folder),
        "exists and is not an earlier export",
        "give --out a folder that is new or empty",
    )


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """A temporary folder beside `final`; it is gone afterwards unless `publish` took it."""
    make_folders(final.parent)
    recover(final.parent)
    name = claim_temporary_name()
    beside = final.parent / name
    beside.mkdir()
    try:
        yield beside
    finally:
        with suppress(OSError):
            if beside.exists():
                remove_tree(beside)
        release_temporary_name(name)


def publish(beside: Path, final: Path) -> None:
    """Flush everything in `beside` and let it take the place of `final`. Raises `OSError`."""
    for file in sorted(beside.iterdir()):
        fsync_file(file)
    fsync_dir(beside)
    if not final.exists():
        os.rename(beside, final)
    elif _exchange(beside, final):
        remove_tree(beside)
    else:
        aside = final.with_name(_ASIDE + final.name)
        os.rename(final, aside)
        os.rename(beside, final)
        remove_tree(aside)
    fsync_dir(final.parent)


def recover(folder: Path) -> None:
    """Clear what a killed export left; an export that was only set aside comes back."""
    with suppress(OSError):
        for entry in folder.iterdir():
            if is_abandoned(entry.name):
                remove_tree(entry)
            elif entry.name.startswith(_ASIDE):
                final = folder / entry.name.removeprefix(_ASIDE)
                if final.exists():
                    remove_tree(entry)
                else:
                    os.rename(entry, final)


def remove(path: Path) -> None:
    """Delete an intermediate file or folder. Raises `OSError`."""
    remove_tree(path)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that will not be changed; a copy across file systems."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _exchange(left: Path, right: Path) -> bool:
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done = rename(_AT_FDCWD, os.fsencode(left), _AT_FDCWD, os.fsencode(right), _RENAME_EXCHANGE)
    return bool(done == 0)
