"""Tokens of texts that were trained before, and what is known of source files: one SQLite file.

The invariant: a run with this cache computes what it would without it. An entry is found by a
digest of everything that its tokens depend on, carries a checksum over that digest and its
content, and whatever does not check is not there. No trouble with the file ever fails a run:
it is made anew if it is damaged, and left alone if it is locked or cannot be written. SQLite
brings what several processes and a kill at any moment need. It lies in the home and not with
the bases, which people share: tokens are the text they were made of.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import struct
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dlm_engine.data.sources.model import Judged, KnownFile, Reason, Stamp
from dlm_engine.errors import StoreError
from dlm_engine.store import make_folders

#: In `PRAGMA user_version`; a file of another number is made anew.
FORMAT = 1
_WAIT_SECONDS = 5.0
_AT_ONCE = 500
#: What a row takes besides what it holds, about.
_TOKENS_EXTRA = 120
_FILE_EXTRA = 250
_TABLES = """
CREATE TABLE tokens (key BLOB PRIMARY KEY, used INTEGER, windows BLOB, seal BLOB);
CREATE TABLE files (
    path BLOB PRIMARY KEY, used INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, inode TEXT,
    noted INTEGER, sha256 TEXT, reason TEXT, detail TEXT, seal BLOB
) WITHOUT ROWID;
"""
_HEADER = struct.Struct("<32sII")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Window:
    """Of a window of tokens what does not depend on where its text stands; see `Encoded`."""

    key: str
    ids: tuple[int, ...]
    start: int


Windows = tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept, and for how long after its last use."""

    max_bytes: int
    days: int


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What is in the cache; `unused_days` is how long the oldest entry has not been used."""

    texts: int = 0
    files: int = 0
    bytes: int = 0
    unused_days: int | None = None


class TokenCache:
    """The cache at `path`, which need not exist; None: nothing is kept or found."""

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock

    # --- finding -----------------------------------------------------------------------------

    def files_under(self, root: Path) -> dict[bytes, KnownFile]:
        """What is known of the files below `root`, or of `root` itself, by their paths."""
        name = os.fsencode(root)
        below = name.rstrip(b"/") + b"/"
        nothing: list[tuple[Any, ...]] = []
        found = self._read(
            lambda db: db.execute(
                "SELECT path, size, mtime, ctime, inode, noted, sha256, reason, detail, seal "
                "FROM files WHERE path = ? OR (path >= ? AND path < ?)",
                (name, below, below[:-1] + b"0"),
            ).fetchall(),
            nothing,
        )
        known: dict[bytes, KnownFile] = {}
        for path, *facts, seal in found:
            with suppress(ValueError, TypeError):
                if seal == _facts_seal(path, facts):
                    known[path] = _known(*facts)
        return known

    def windows(self, keys: Sequence[bytes]) -> dict[bytes, Windows]:
        """The windows of those `keys` that are there and whole."""

        def find(db: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes]]:
            rows: list[tuple[bytes, bytes, bytes]] = []
            for at in range(0, len(keys), _AT_ONCE):
                part = keys[at : at + _AT_ONCE]
                marks = ",".join("?" * len(part))
                rows += db.execute(
                    f"SELECT key, windows, seal FROM tokens WHERE key IN ({marks})", part
                )
            return rows

        nothing: list[tuple[bytes, bytes, bytes]] = []
        found: dict[bytes, Windows] = {}
        for key, data, seal in self._read(find, nothing):
            with suppress(ValueError, TypeError, struct.error):
                if seal == _seal(key, data):
                    found[key] = _unpacked(data)
        return found

    def facts(self) -> CacheFacts:
        """How much there is. Raises `StoreError` where something else stands at the path."""

        def count(db: sqlite3.Connection) -> CacheFacts:
            texts, kept, first = db.execute(
                f"SELECT count(*), total(length(windows) + {_TOKENS_EXTRA}), min(used) FROM tokens"
            ).fetchone()
            files, known = db.execute(
                f"SELECT count(*), total(length(path) + {_FILE_EXTRA}) FROM files"
            ).fetchone()
            unused = None if first is None else max(0, self._today() - first)
            return CacheFacts(texts, files, int(kept + known), unused)

        return self._read(count, CacheFacts())

    # --- keeping -----------------------------------------------------------------------------

    def keep(
        self,
        windows: Mapping[bytes, Windows],
        files: Mapping[bytes, KnownFile],
        used: Iterable[bytes],
        met: Iterable[bytes],
        limits: Limits,
    ) -> str:
        """Keep what is new, note what was `used` and `met`, let go of what is over the limits.

        Returns what went wrong, "" if nothing did.
        """
        today = self._today()

        def write(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?, ?)",
                (
                    (key, today, data, _seal(key, data))
                    for key, value in windows.items()
                    for data in [_packed(value)]
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (path, today, *facts, _facts_seal(path, facts))
                    for path, known in files.items()
                    for facts in [_columns(known)]
                ),
            )
            for table, column, names in (("tokens", "key", used), ("files", "path", met)):
                old = {
                    row[0]
                    for row in db.execute(f"SELECT {column} FROM {table} WHERE used < ?", (today,))
                }
                db.executemany(
                    f"UPDATE {table} SET used = ? WHERE {column} = ?",
                    ((today, name) for name in old.intersection(names)),
                )
            self._let_go(db, limits)

        new = windows or files
        if not new and not self._due() and self.facts().bytes <= limits.max_bytes:
            return ""
        return self._write(write)

    def prune(self, limits: Limits) -> str:
        """Let go of what is over the limits; what went wrong, "" if nothing did."""
        if self.path is None or not self.path.exists():
            return ""
        return self._write(lambda db: self._let_go(db, limits), shrink=True)

    def clear(self) -> str:
        """Let go of everything; what went wrong, "" if nothing did."""
        return self.prune(Limits(-1, 0))

    def _let_go(self, db: sqlite3.Connection, limits: Limits) -> None:
        last = self._today() - limits.days
        for table in ("tokens", "files"):
            db.execute(f"DELETE FROM {table} WHERE used < ?", (last,))
        entries = (
            ("tokens", "key", f"length(windows) + {_TOKENS_EXTRA}"),
            ("files", "path", f"length(path) + {_FILE_EXTRA}"),
        )
        total = sum(
            int(db.execute(f"SELECT total({size}) FROM {table}").fetchone()[0])
            for table, _, size in entries
        )
        for table, column, size in entries:
            if total <= limits.max_bytes:
                return
            gone: list[tuple[bytes]] = []
            for name, taken in db.execute(
                f"SELECT {column}, {size} FROM {table} ORDER BY used, {column}"
            ):
                if total <= limits.max_bytes:
                    break
                gone.append((name,))
                total -= taken
            db.executemany(f"DELETE FROM {table} WHERE {column} = ?", gone)

    def _due(self) -> bool:
        """Whether uses of today may have to be noted: they are by the day, not by the run."""
        today = self._today()

        def old(db: sqlite3.Connection) -> bool:
            first = db.execute(
                "SELECT min(used) FROM (SELECT min(used) AS used FROM tokens "
                "UNION ALL SELECT min(used) FROM files)"
            ).fetchone()[0]
            return first is not None and first < today

        return self._read(old, False)

    # --- the file ----------------------------------------------------------------------------

    def _today(self) -> int:
        return int(self._clock() // 86_400)

    def _read(self, ask: Callable[[sqlite3.Connection], Value], nothing: Value) -> Value:
        """What `ask` finds, `nothing` where there is no cache or no usable one. Never creates."""
        if self.path is None or not self.path.is_file():
            return nothing
        try:
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, uri=True, timeout=_WAIT_SECONDS)) as db:
                if db.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
                    return nothing
                return ask(db)
        except (sqlite3.Error, OSError, ValueError):
            return nothing

    def _write(self, change: Callable[[sqlite3.Connection], None], *, shrink: bool = False) -> str:
        if self.path is None:
            return ""
        try:
            make_folders(self.path.parent)
            try:
                self._change(self.path, change, shrink)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                # Damaged. What was in it can be made again; its journal goes with it, or the
                # next file would be rolled back to pages of this one.
                for name in (self.path, Path(f"{self.path}-journal")):
                    name.unlink(missing_ok=True)
                self._change(self.path, change, shrink)
        except (sqlite3.Error, OSError, StoreError) as error:
            return f"{self.path} could not be written ({error})"
        return ""

    @staticmethod
    def _change(path: Path, change: Callable[[sqlite3.Connection], None], shrink: bool) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as db:
            with _transaction(db):
                version = db.execute("PRAGMA user_version").fetchone()[0]
                if version != FORMAT:
                    for (table,) in db.execute(
                        "SELECT name FROM sqlite_master WHERE type = 'table'"
                    ).fetchall():
                        db.execute(f'DROP TABLE "{table}"')
                    for statement in _TABLES.strip().split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {FORMAT}")
                change(db)
            if shrink:
                db.execute("VACUUM")


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


# --- what stands in a row --------------------------------------------------------------------


def _seal(name: bytes, content: bytes) -> bytes:
    """A checksum over what an entry holds, and over what it is found by."""
    whole = len(name).to_bytes(8, "big") + name + content
    return hashlib.blake2b(whole, digest_size=16).digest()


def _facts_seal(path: bytes, facts: Sequence[object]) -> bytes:
    return _seal(path, repr(tuple(facts)).encode())


def _packed(windows: Windows) -> bytes:
    parts: list[bytes] = []
    for window in windows:
        ids = array("I", window.ids)
        if sys.byteorder == "big":
            ids.byteswap()
        parts += [_HEADER.pack(bytes.fromhex(window.key), window.start, len(ids)), ids.tobytes()]
    return b"".join(parts)


def _unpacked(data: bytes) -> Windows:
    """The windows that `_packed` packed; raises `ValueError` or `struct.error`."""
    found: list[Window] = []
    at = 0
    while at < len(data):
        key, start, count = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        ids = array("I")
        ids.frombytes(data[at : at + 4 * count])
        at += 4 * count
        if len(ids) != count or not 0 < start <= count:
            raise ValueError("not as it was packed")
        if sys.byteorder == "big":
            ids.byteswap()
        found.append(Window(key.hex(), tuple(ids), start))
    return tuple(found)


def _columns(known: KnownFile) -> tuple[int | str, ...]:
    stamp, judged = known.stamp, known.judged
    return (
        stamp.size,
        stamp.mtime_ns,
        stamp.ctime_ns,
        str(stamp.inode),
        known.noted_ns,
        judged.sha256,
        str(judged.reason or ""),
        judged.detail,
    )


def _known(
    size: int,
    mtime: int,
    ctime: int,
    inode: str,
    noted: int,
    sha256: str,
    reason: str,
    detail: str,
) -> KnownFile:
    judged = Judged(sha256, Reason(reason) if reason else None, detail)
    return KnownFile(Stamp(size, mtime, ctime, int(inode)), judged, noted)
