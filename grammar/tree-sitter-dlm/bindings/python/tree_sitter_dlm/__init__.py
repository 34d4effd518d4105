"""The grammar of `.dlm` documents, and its queries, for Python.

Owns nothing but the door: `language()` is the compiled parser, the `*_QUERY` names
are the texts of `queries/*.scm`, read when first asked for. The queries lie inside
the package where it is installed and two folders up in a source tree, so that there
is one copy of them to edit.
"""

from __future__ import annotations

from pathlib import Path

from tree_sitter_dlm._binding import language

_QUERIES = {
    "HIGHLIGHTS_QUERY": "highlights.scm",
    "INJECTIONS_QUERY": "injections.scm",
    "FOLDS_QUERY": "folds.scm",
    "LOCALS_QUERY": "locals.scm",
    "OUTLINE_QUERY": "outline.scm",
    "TAGS_QUERY": "tags.scm",
}

__all__ = [
    "FOLDS_QUERY",
    "HIGHLIGHTS_QUERY",
    "INJECTIONS_QUERY",
    "LOCALS_QUERY",
    "OUTLINE_QUERY",
    "TAGS_QUERY",
    "language",
]


def _queries_folder() -> Path:
    package = Path(__file__).resolve().parent
    installed = package / "queries"
    return installed if installed.is_dir() else package.parents[2] / "queries"


def __getattr__(name: str) -> str:
    if name not in _QUERIES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    text = (_queries_folder() / _QUERIES[name]).read_text(encoding="utf-8")
    globals()[name] = text
    return text


def __dir__() -> list[str]:
    return sorted(__all__)
