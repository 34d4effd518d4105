"""A folder of files beside a document, and what its sources expand to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dlm_engine.data.sources import Expansion, expand
from dlm_engine.document.frontmatter import Training


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Files by their path below `folder`; a name that ends in a slash is a folder."""
    for name, content in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def training(*sources: dict[str, Any], policy: str = "permissive") -> Training:
    return Training.model_validate({"sources": sources, "sources_policy": policy})


def expanded(folder: Path, *sources: dict[str, Any], policy: str = "permissive") -> Expansion:
    """The sources of a document `folder/notes.dlm`."""
    return expand(training(*sources, policy=policy), folder / "notes.dlm")


def taken(expansion: Expansion) -> list[str]:
    return [file.label for file in expansion.files]


def left_out(expansion: Expansion) -> dict[str, str]:
    return {left.path: str(left.reason) for found in expansion.found for left in found.left_out}
