"""The folder of ready-to-load bases, `<cache>/bases/<slug>/`.

Invariant: a folder under its final name is complete. It is filled under a hidden name,
every file and the folder are flushed, `COMPLETE.json` (per-file size, time and sha256) is
written last, then it is renamed; so a kill at any instant leaves either the whole base or
a hidden leftover that the next preparation sweeps. One kernel lock per base decides who
prepares it; the others wait, and the lock dies with its holder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dlm_engine.bases.files import digest_of, read_json, sha256_of
from dlm_engine.bases.spec import BaseSpec, Weights
from dlm_engine.errors import BaseModelError

MARKER = "COMPLETE.json"
Report = Callable[[str], None]


class FileRecord(BaseModel):
    """One file as it was when the base was completed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int
    mtime_ns: int
    sha256: str


class Marker(BaseModel):
    """Content of `COMPLETE.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = 1
    spec: BaseSpec
    source: str
    sha256: str
    files: dict[str, FileRecord]


def cache_root(home: Path) -> Path:
    """`$DLM_CACHE_DIR`, else `<home>/cache`; not created."""
    override = os.environ.get("DLM_CACHE_DIR", "").strip()
    return Path(override).expanduser() if override else home / "cache"


def base_folder(home: Path, slug: str) -> Path:
    return cache_root(home) / "bases" / slug


def record_of(path: Path) -> FileRecord:
    """Stat and hash of one file. Times first: a write in between then shows as a change."""
    stat = path.stat()
    return FileRecord(size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=sha256_of(path))


def read_marker(folder: Path) -> Marker | None:
    """The marker of a complete base, None where there is no such folder."""
    path = folder / MARKER
    if not folder.is_dir():
        return None
    if not path.exists():
        raise _damaged(folder, f"{MARKER} is missing")
    try:
        marker = Marker.model_validate(read_json(path))
    except ValidationError as error:
        raise _damaged(folder, f"{MARKER} is not what dlm writes") from error
    if marker.format != 1:
        raise BaseModelError(
            str(folder), "it was prepared by a newer dlm", "update dlm, or delete the folder"
        )
    return marker


def check_unchanged(folder: Path, marker: Marker) -> Marker:
    """Refuse a folder that differs from its marker; hash only files whose stat differs.

    Returns the marker with the times found, equal to the one given when nothing moved.
    """
    return _compare(folder, marker, lambda found, known: found == known)


def check_every_byte(folder: Path, marker: Marker) -> Marker:
    """As `check_unchanged`, but every file is hashed whatever its size and time say."""
    return _compare(folder, marker, lambda _found, _known: False)


def _compare(
    folder: Path,
    marker: Marker,
    trusted: Callable[[tuple[int, int], tuple[int, int]], bool],
) -> Marker:
    present = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    extra = sorted(present - set(marker.files) - {MARKER})
    if extra:
        raise _damaged(folder, f"it holds {', '.join(extra[:3])}, which dlm did not put there")
    files: dict[str, FileRecord] = {}
    for name, known in marker.files.items():
        path = folder / name
        try:
            stat = path.stat()
            if stat.st_size != known.size:
                raise _damaged(
                    folder, f"{name} has {stat.st_size} bytes where {known.size} were recorded"
                )
            if trusted((stat.st_size, stat.st_mtime_ns), (known.size, known.mtime_ns)):
                files[name] = known
                continue
            found = record_of(path)
        except OSError as error:
            raise _damaged(folder, f"{name} cannot be read ({error.strerror})") from error
        if found.sha256 != known.sha256:
            raise _damaged(folder, f"{name} was changed since it was recorded")
        files[name] = found
    return marker.model_copy(update={"files": files})


def weights_at(folder: Path, marker: Marker, spec: BaseSpec) -> Weights:
    return Weights(
        path=folder,
        spec=spec,
        sha256=marker.sha256,
        revision=marker.spec.revision,
        source=marker.source,
    )


@contextmanager
def preparing(home: Path, slug: str, report: Report) -> Iterator[Path]:
    """Hold the lock of one base; yields `<cache>/bases`. Waits for another holder."""
    from filelock import FileLock, Timeout

    bases = cache_root(home) / "bases"
    try:
        bases.mkdir(parents=True, exist_ok=True)
        lock = FileLock(bases / f".{slug}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report("another dlm is preparing this base; waiting for it")
            lock.acquire()
    except OSError as error:
        raise BaseModelError(
            str(bases),
            f"the cache cannot be written ({error.strerror})",
            "set DLM_CACHE_DIR to a folder that can",
        ) from error
    try:
        yield bases
    finally:
        lock.release()


def publish(staging: Path, bases: Path, spec: BaseSpec, source: str) -> Path:
    """Complete `staging` and give it its final name. Call with the lock held."""
    files = {path.name: record_of(path) for path in sorted(staging.iterdir()) if path.is_file()}
    marker = Marker(
        spec=spec,
        source=source,
        sha256=digest_of({name: record.sha256 for name, record in files.items()}),
        files=files,
    )
    for name in files:
        _flush(staging / name)
    write_marker(staging, marker)
    folder = bases / spec.slug
    staging.rename(folder)
    _flush(bases)
    return folder


def write_marker(folder: Path, marker: Marker) -> None:
    """Write `COMPLETE.json` whole or not at all."""
    text = json.dumps(marker.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    beside = folder / f".{MARKER}.new"
    beside.write_text(text, encoding="utf-8", newline="\n")
    _flush(beside)
    beside.replace(folder / MARKER)
    _flush(folder)


def sweep(path: Path) -> None:
    """Remove what a dead preparation left at `path`. Call with the lock held."""
    if path.exists():
        shutil.rmtree(path)


def ensure_room(where: Path, needed: int, what: str) -> None:
    """Raise `BaseModelError` unless `needed` bytes are free on `where`'s disk."""
    free = shutil.disk_usage(where).free
    if free < needed:
        raise BaseModelError(
            str(where),
            f"{what} needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free",
            "free some space, or set DLM_CACHE_DIR to another disk",
        )


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(folder: Path, problem: str) -> BaseModelError:
    return BaseModelError(
        str(folder), problem, "delete this folder; the next command prepares it again"
    )
