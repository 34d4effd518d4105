"""Converted bases, kept once for all documents and found by what they are made of.

The key is a digest of everything that can change the bytes: the weights, the tokenizer
and config files, the quantisation, the converter and the quantiser. Merged models are
never put here, so a plain export can never pick one up. An entry is a folder that
appears by one rename and carries the digest of its file; an entry that no longer matches
is thrown away and made again. Keying by file name, as `base.Q4_K_M.gguf`, is how an
adapter ends up stacked on a base it was already merged into.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dlm_engine.export.checks import Check
from dlm_engine.export.model import ExportBase, Quant, Report
from dlm_engine.store.atomic import (
    claim_temporary_name,
    fsync_dir,
    fsync_file,
    is_abandoned,
    make_folders,
    release_temporary_name,
    remove_tree,
    sha256_file,
)

_FORMAT = 1
_GGUF, _ENTRY = "base.gguf", "entry.json"
_TOKENIZER_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
#: The 16-bit file that a quantisation starts from is kept for the next one when it is at
#: most this large; beyond that the space is worth more than the time.
KEEP_INTERMEDIATE_BYTES = 2**30


#: writes the file and gives the checks it passed
Build = Callable[[Path], Sequence[Check]]


@dataclass(frozen=True, slots=True)
class CachedGguf:
    """An entry: its file, the digest of it, and the checks it passed when it was made."""

    path: Path
    sha256: str
    checks: tuple[Check, ...]


def cache_key(base: ExportBase, quant: Quant, converter: str, quantiser: str) -> str:
    """64 hex digits that change when any byte of the result might."""
    parts = {
        "format": _FORMAT,
        "weights": base.sha256,
        "files": {
            name: sha256_file(base.path / name)
            for name in _TOKENIZER_FILES
            if (base.path / name).is_file()
        },
        "name": base.hf_id,
        "quant": quant.value,
        "converter": converter,
        "quantiser": "" if quant is Quant.F16 else quantiser,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find(root: Path, key: str, report: Report) -> CachedGguf | None:
    """The entry of this key, its file checked against its digest; a damaged one is removed."""
    folder = root / key
    try:
        entry = json.loads((folder / _ENTRY).read_text(encoding="utf-8"))
        digest = sha256_file(folder / _GGUF)
    except (OSError, ValueError):
        return None
    if digest == entry.get("sha256"):
        return CachedGguf(folder / _GGUF, digest, tuple(Check(**c) for c in entry["checks"]))
    report(f"the cached {folder.name[:12]} is damaged and is made again")
    with suppress(OSError):
        remove_tree(folder)
    return None


def store(root: Path, key: str, build: Build, facts: Mapping[str, str]) -> CachedGguf:
    """Let `build` write the file, then show the entry. When another process was faster, its
    entry, which holds the same bytes, stays and is used.

    Raises:
        OSError: the disk refused; nothing is left behind.
    """
    make_folders(root)
    name = claim_temporary_name()
    beside = root / name
    try:
        beside.mkdir()
        checks = tuple(build(beside / _GGUF))
        digest = sha256_file(beside / _GGUF)
        entry = {"sha256": digest, "checks": [c.as_json() for c in checks], **facts}
        (beside / _ENTRY).write_text(json.dumps(entry, indent=2, sort_keys=True), encoding="utf-8")
        for file in (_GGUF, _ENTRY):
            fsync_file(beside / file)
        fsync_dir(beside)
        with suppress(OSError):  # exists already: somebody else built the same
            os.rename(beside, root / key)
        fsync_dir(root)
        return CachedGguf(root / key / _GGUF, digest, checks)
    finally:
        if beside.exists():
            remove_tree(beside)
        release_temporary_name(name)


def remove(root: Path, key: str) -> None:
    """Forget an entry."""
    with suppress(OSError):
        remove_tree(root / key)


def sweep(root: Path) -> None:
    """Remove what processes that are gone left half-built."""
    with suppress(OSError):
        for entry in root.iterdir():
            if is_abandoned(entry.name):
                remove_tree(entry)
