"""Where the tokenizer of a document's base lies on this machine, if it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlm_server.session import Snapshot


def tokenizer_file(snapshot: Snapshot) -> Path | None:
    """The file of a base of the registry, there or not; other bases only the engine resolves."""
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
    return cache_root(home) / "bases" / spec.slug / "tokenizer.json"
