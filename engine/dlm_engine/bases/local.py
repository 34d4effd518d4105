"""Bases that are a folder on this machine.

Invariant: such a base is its content. Its revision is the digest of its files, so a folder
that changes under a document is noticed, whatever its path. Fingerprints of unchanged
files (size and time) come from a record in the cache, because hashing gigabytes on every
command would be felt; without the record everything is hashed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from dlm_engine.bases.cache import FileRecord, cache_root, record_of
from dlm_engine.bases.files import digest_of, is_base_file, read_json, tensor_shapes
from dlm_engine.errors import BaseModelError


class _Fingerprint(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, FileRecord]


def is_local(base_model: str) -> bool:
    """Whether a document's `base_model` is a path."""
    return base_model in (".", "..", "~") or base_model.startswith(
        ("./", "../", "/", "~", ".\\", "..\\") if os.name == "nt" else ("./", "../", "/", "~")
    )


def local_folder(base_model: str, relative_to: Path) -> Path:
    """The folder meant, checked to be a base; `BaseModelError` says what it is instead."""
    try:
        path = Path(base_model).expanduser()
    except RuntimeError as error:
        raise BaseModelError(base_model, "there is no such home directory") from error
    folder = (relative_to / path).resolve()
    if not folder.exists():
        raise BaseModelError(base_model, f"there is nothing at {folder}", "correct the path")
    if not folder.is_dir():
        raise BaseModelError(
            base_model, "it is a file", "point to the folder that holds config.json"
        )
    if (folder / "adapter_config.json").exists():
        raise BaseModelError(
            base_model, "it is an adapter, not a base", "point to the model it was trained on"
        )
    if not (folder / "config.json").exists():
        raise BaseModelError(
            base_model, "it has no config.json", "point to a Hugging Face model folder"
        )
    return folder


def fingerprint(folder: Path, home: Path | None) -> dict[str, FileRecord]:
    """Stat and sha256 of every base file of `folder`; no record is used where home is None."""
    known = _read(_record_path(folder, home)) if home else {}
    files: dict[str, FileRecord] = {}
    for path in sorted(folder.iterdir()):
        if not is_base_file(path.name) or not path.is_file():
            continue
        try:
            stat = path.stat()
            before = known.get(path.name)
            same = before and (before.size, before.mtime_ns) == (stat.st_size, stat.st_mtime_ns)
            files[path.name] = before if before and same else record_of(path)
        except OSError as error:
            raise BaseModelError(str(path), f"it cannot be read ({error.strerror})") from error
    return files


def remember_fingerprint(folder: Path, home: Path, files: dict[str, FileRecord]) -> None:
    """Keep `files` for the next command. Losing the record only costs time."""
    path = _record_path(folder, home)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(_Fingerprint(files=files).model_dump_json(), encoding="utf-8")
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)


def revision_of(files: dict[str, FileRecord]) -> str:
    return digest_of({name: record.sha256 for name, record in files.items()})


def count_parameters(folder: Path) -> int:
    """Parameters of the folder's checked safetensors files."""
    total = 0
    for shape in tensor_shapes(folder).values():
        elements = 1
        for extent in shape:
            elements *= extent
        total += elements
    return total


def template_text(folder: Path) -> str | None:
    """The chat template of a model folder, None where it has none."""
    separate = folder / "chat_template.jinja"
    if separate.exists():
        return separate.read_text(encoding="utf-8", errors="replace")
    settings = folder / "tokenizer_config.json"
    value = read_json(settings).get("chat_template") if settings.exists() else None
    return value if isinstance(value, str) else None


def _record_path(folder: Path, home: Path) -> Path:
    name = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()
    return cache_root(home) / "fingerprints" / f"{name}.json"


def _read(path: Path) -> dict[str, FileRecord]:
    try:
        return _Fingerprint.model_validate_json(path.read_bytes()).files
    except (OSError, ValidationError):
        return {}
