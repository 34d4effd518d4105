"""Where the files of a document's base lie on this machine, if they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlm_server.session import Snapshot

_MOST_BYTES = 2**20


def tokenizer_file(snapshot: Snapshot) -> Path | None:
    """The file of a base of the registry, there or not; other bases only the engine resolves."""
    folder = _cached(snapshot)
    return folder / "tokenizer.json" if folder is not None else None


def hidden_size(snapshot: Snapshot) -> int | None:
    """How wide the base is; None where its `config.json` is not at hand, or says nothing."""
    from dlm_engine.errors import DlmError
    from dlm_engine.hardware import shape_of

    folder = _cached(snapshot) or _beside(snapshot)
    if folder is None:
        return None
    file = folder / "config.json"
    try:
        # The document names the folder: no pipe may hold up the loop, nor a file of any size.
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return None
        config = json.loads(file.read_text(encoding="utf-8"))
        return shape_of(config).hidden if isinstance(config, dict) else None
    except (OSError, ValueError, DlmError):
        return None


def _cached(snapshot: Snapshot) -> Path | None:
    """The folder of a base of the registry, there or not."""
    from dlm_engine.bases import REGISTRY, cache_root
    from dlm_engine.errors import StoreError
    from dlm_server.engine.trained import home_of

    frontmatter = snapshot.live.frontmatter
    spec = REGISTRY.get(frontmatter.base_model) if frontmatter is not None else None
    if spec is None:
        return None
    try:
        home = home_of(snapshot.settings)
    except StoreError:
        return None
    return cache_root(home) / "bases" / spec.slug


def _beside(snapshot: Snapshot) -> Path | None:
    """A base that the document names as a folder."""
    frontmatter = snapshot.live.frontmatter
    if frontmatter is None or snapshot.path is None or "/" not in frontmatter.base_model:
        return None
    return snapshot.path.parent / frontmatter.base_model
