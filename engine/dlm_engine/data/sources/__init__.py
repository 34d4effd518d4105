"""Files and folders beside a document, as rows to learn. Torch-free, and writes nothing.

`expansion` finds and judges files, `verdict` and `rules` say which, `chunking` cuts texts.
"""

from dlm_engine.data.sources.chunking import CHUNKING, Chunk, chunks
from dlm_engine.data.sources.expansion import Root, base_folder, expand, root_of, rules_problem
from dlm_engine.data.sources.model import (
    Expansion,
    Found,
    Judged,
    Known,
    KnownFile,
    LeftOut,
    Problem,
    Reason,
    SourceFile,
    Stamp,
)
from dlm_engine.data.sources.rows import require_usable, source_rows, summary

__all__ = [
    "CHUNKING",
    "Chunk",
    "Expansion",
    "Found",
    "Judged",
    "Known",
    "KnownFile",
    "LeftOut",
    "Problem",
    "Reason",
    "Root",
    "SourceFile",
    "Stamp",
    "base_folder",
    "chunks",
    "expand",
    "require_usable",
    "root_of",
    "rules_problem",
    "source_rows",
    "summary",
]
