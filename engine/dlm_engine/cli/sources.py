"""What `dlm show` says of a document's sources: each file taken, and each left out with why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.cli.tables import size
from dlm_engine.document.frontmatter import Training
from dlm_engine.store import token_cache_path

if TYPE_CHECKING:
    from dlm_engine.data.sources import Expansion

#: reasons so common that their number says enough
_QUIET = ("excluded", "not included", "empty", "taken already", "the document itself")
_LISTED = 20


def expanded(training: Training, path: Path, home: Path) -> Expansion:
    """The sources of the document at `path`; what a run knew is not read again."""
    from dlm_engine.data.sources import Expansion, expand
    from dlm_engine.data.token_cache import TokenCache

    if not training.sources:
        return Expansion()
    cache = TokenCache(token_cache_path(home) if training.cache.enabled else None)
    return expand(training, path, cache.files_under, home=home)


def source_facts(expansion: Expansion) -> list[dict[str, Any]]:
    """One object for each source, as `--json` writes it."""
    return [
        {
            "path": found.path,
            "problem": found.problem.what if found.problem else None,
            "files": len(found.files),
            "bytes": found.bytes,
            "taken": [
                {
                    "path": file.label,
                    "bytes": file.stamp.size,
                    "sha256": file.sha256,
                    "tags": dict(file.tags),
                    "weight": file.weight,
                }
                for file in found.files
            ],
            "left_out": [
                {"path": left.path, "reason": str(left.reason), "detail": left.detail}
                for left in found.left_out
            ],
            "reasons": {str(reason): count for reason, count in found.reasons.items()},
        }
        for found in expansion.found
    ]


def source_lines(facts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The rows of `dlm show` for them."""
    rows: list[tuple[str, str]] = []
    for source in facts:
        if source["problem"]:
            rows.append((f"source {source['path']}", f"cannot be used: {source['problem']}"))
            continue
        out = ", ".join(f"{count} {reason}" for reason, count in source["reasons"].items())
        said = f"{source['files']} files, {size(source['bytes'])}"
        rows.append((f"source {source['path']}", said + (f"; left out: {out}" if out else "")))
        telling = [left for left in source["left_out"] if left["reason"] not in _QUIET]
        for left in telling[:_LISTED]:
            why = left["reason"] + (f", {left['detail']}" if left["detail"] else "")
            rows.append(("  left out", f"{left['path']}: {why}"))
        if len(telling) > _LISTED:
            rows.append(("  left out", f"and {len(telling) - _LISTED} more: --json lists them"))
    return rows
