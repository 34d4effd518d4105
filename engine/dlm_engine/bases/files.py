"""Which files make a base, and how they are hashed.

Invariant: only weights in safetensors, JSON, templates and tokenizer vocabularies belong
to a base; pickles and code are never listed, so never fetched, hashed or loaded. A
safetensors header is capped and checked against the file's size before anything maps it.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlm_engine.errors import BaseModelError

MAX_HEADER_BYTES = 100 * 1024 * 1024
MAX_JSON_BYTES = 64 * 1024 * 1024
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VOCABULARIES = frozenset({"tokenizer.model", "merges.txt", "vocab.txt"})
_SUFFIXES = (".safetensors", ".json", ".jinja")
# Copies of the weights in other layouts, and files that would change what gets loaded.
_UNWANTED = re.compile(r"(consolidated|adapter_|training_args|optimizer|params\.json).*")


def is_base_file(name: str) -> bool:
    """Whether a file of this name, at the top of a repository, belongs to a base."""
    if not _SAFE_NAME.fullmatch(name) or _UNWANTED.fullmatch(name):
        return False
    return name in _VOCABULARIES or name.endswith(_SUFFIXES)


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(hashes: Mapping[str, str]) -> str:
    """One digest for a folder: sha256 over `name NUL sha256 LF`, names sorted."""
    whole = hashlib.sha256()
    for name in sorted(hashes):
        whole.update(f"{name}\0{hashes[name]}\n".encode())
    return whole.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`; `BaseModelError` when it is missing or is something else."""
    try:
        facts = path.stat()
        # A document may name the folder, and an editor looks: nothing is waited for.
        if not stat.S_ISREG(facts.st_mode):
            raise BaseModelError(str(path), "it is no regular file")
        if facts.st_size > MAX_JSON_BYTES:
            raise BaseModelError(str(path), "it is too large to be a model's JSON file")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaseModelError(str(path), f"it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BaseModelError(str(path), f"it is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BaseModelError(str(path), "it is not a JSON object")
    return value


def check_safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor shapes by name, after checking that header and file length agree.

    Layout: an 8-byte little-endian header length, a JSON header with `data_offsets`
    relative to its end, then the data (safetensors format description).
    """
    bad = "delete it and get the weights again"
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > MAX_HEADER_BYTES or 8 + length > size:
                raise BaseModelError(str(path), "it is not a whole safetensors file", bad)
            header = json.loads(stream.read(length))
        shapes: dict[str, tuple[int, ...]] = {}
        end = 0
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = (int(offset) for offset in entry["data_offsets"])
            if not 0 <= start <= stop:
                raise ValueError("offsets run backwards")
            end = max(end, stop)
            shapes[name] = tuple(int(extent) for extent in entry["shape"])
    except OSError as error:
        raise BaseModelError(str(path), f"it cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseModelError(
            str(path), f"its safetensors header is damaged ({error})", bad
        ) from error
    if 8 + length + end != size:
        raise BaseModelError(
            str(path), f"it holds {size} bytes where its header says {8 + length + end}", bad
        )
    return shapes


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of every tensor of the folder's safetensors files, all checked."""
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise BaseModelError(
            str(folder),
            "it holds no weights in safetensors",
            "dlm loads no pickled weights (.bin, .pt): use a base that has model.safetensors",
        )
    index = folder / "model.safetensors.index.json"
    if index.exists():
        wanted = set(read_json(index).get("weight_map", {}).values())
        missing = sorted(str(name) for name in wanted - {shard.name for shard in shards})
        if missing:
            raise BaseModelError(
                str(folder), f"weights are missing: {', '.join(missing)}", "fetch them again"
            )
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        shapes.update(check_safetensors(shard))
    return shapes
