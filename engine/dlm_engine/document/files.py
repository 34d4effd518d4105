"""Reading and writing `.dlm` files: the only part of this room that touches a disk.

Every way a path can fail ends in one `DocumentError` that names it. A write goes to a
neighbour, is flushed to the disk and takes the file's place in one step, so a crash
leaves the old text or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

from dlm_engine.document.model import Diagnostic, Document
from dlm_engine.document.parsing import parse
from dlm_engine.document.text import decode, encode
from dlm_engine.errors import DocumentError

#: larger is no document anyone wrote, and would take seconds to parse
MAX_BYTES = 64 * 1024 * 1024


def read_text(path: Path) -> str:
    """The text of a `.dlm` file as it stands, byte-order mark and line ends included.

    Raises:
        DocumentError: missing, a folder, unreadable, larger than 64 MiB, or not UTF-8.
    """
    name = str(path)
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise DocumentError(name, "is not a regular file", "name a .dlm file")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(name, error) from None
    if len(data) > MAX_BYTES:
        raise DocumentError(name, "is larger than 64 MiB", "split it, or use training.sources")
    return decode(data, name)


def _open_at_once(name: str, flags: int) -> int:
    # A named pipe would keep whoever opens it until somebody writes.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def read_document(path: Path) -> tuple[Document, list[Diagnostic]]:
    """Read and parse a file. Raises DocumentError as `read_text` does."""
    return parse(read_text(path))


def write_document(path: Path, text: str) -> None:
    """Write `text` as UTF-8, its line ends as they are, whole or not at all.

    Symbolic links are followed and an existing file keeps its permissions.

    Raises:
        DocumentError: the file cannot be written; what was there stays.
    """
    target = Path(os.path.realpath(path))
    data = encode(text)
    beside: str | None = None
    try:
        handle, beside = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".tmp", dir=target.parent
        )
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), _mode(target))
            os.fsync(file.fileno())
        os.replace(beside, target)
        beside = None
        _sync_folder(target.parent)
    except (OSError, ValueError) as error:
        raise _unwritable(str(path), error) from None
    finally:
        if beside is not None:
            with contextlib.suppress(OSError):
                os.unlink(beside)


def back_up(path: Path, text: str) -> Path:
    """Write `text` to the first free backup name, with the rights of `path`; whole or not at all.

    Raises:
        DocumentError: it cannot be written.
    """
    for number in range(1000):
        copy = path.with_name(f"{path.name}.bak" + (f".{number}" if number else ""))
        try:
            # The name is taken first: an older backup is never replaced.
            os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path.stat().st_mode))
        except FileExistsError:
            continue
        except OSError as error:
            problem = f"cannot be written ({error.strerror})"
            raise DocumentError(str(copy), problem, "check its folder") from None
        try:
            write_document(copy, text)
        except DocumentError:
            copy.unlink(missing_ok=True)
            raise
        return copy
    raise DocumentError(str(path), "has a thousand backups", "remove some of them")


def _mode(target: Path) -> int:
    try:
        return stat.S_IMODE(target.stat().st_mode)
    except OSError:
        return 0o644


def _sync_folder(folder: Path) -> None:
    # Some systems cannot open a folder; there the rename is as durable as it gets.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _unreadable(name: str, error: OSError | ValueError) -> DocumentError:
    match error:
        case FileNotFoundError() if not name.endswith(".dlm"):
            return DocumentError(name, "does not exist", "check the name")
        case FileNotFoundError():
            return DocumentError(name, "does not exist", f"create it with `dlm init {name}`")
        case IsADirectoryError():
            return DocumentError(name, "is a folder", "name a .dlm file")
        case NotADirectoryError():
            return DocumentError(name, "goes through a file that is no folder", "check the path")
        case PermissionError():
            return DocumentError(name, "may not be read", "check its permissions")
        case OSError():
            return DocumentError(name, f"cannot be read ({error.strerror})", "check the path")
        case _:
            return DocumentError(repr(name), "is no possible path", "check the path")


def _unwritable(name: str, error: OSError | ValueError) -> DocumentError:
    match error:
        case FileNotFoundError():
            return DocumentError(name, "cannot be written: its folder does not exist", "create it")
        case IsADirectoryError():
            return DocumentError(name, "is a folder", "name a .dlm file")
        case PermissionError():
            return DocumentError(name, "may not be written", "check the permissions of its folder")
        case OSError(errno=errno.ENOSPC):
            return DocumentError(name, "cannot be written: the disk is full", "free some space")
        case OSError():
            return DocumentError(name, f"cannot be written ({error.strerror})", "check the path")
        case _:
            return DocumentError(repr(name), "is no possible path", "check the path")
