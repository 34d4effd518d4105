"""What of a document a training depends on, in one string: the saved file, not the buffer."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dlm_engine.document import LiveDocument, Severity, content_digest, read_text

_saves = count()


@dataclass(frozen=True, slots=True)
class SavedContent:
    """`digest` is equal for files that teach the same; `errors` counts what forbids training.

    Of a document with sources no two digests are equal: what its files say only the run finds
    out, which ends at once where nothing changed.
    """

    digest: str
    errors: int
    dlm_id: str | None


def saved_content(path: Path, live: LiveDocument | None) -> SavedContent:
    """What is on the disk; `live` spares reading it again where it holds the same text.

    Raises:
        DocumentError: the file cannot be read.
    """
    text = read_text(path)
    if live is None or live.text != text:
        live = LiveDocument.open(text)
    errors = sum(d.severity is Severity.ERROR for d in live.diagnostics)
    frontmatter = live.frontmatter
    digest = content_digest(live.document)
    if frontmatter is not None and frontmatter.training.sources:
        digest += f" {next(_saves)}"
    return SavedContent(digest, errors, frontmatter.dlm_id if frontmatter else None)
