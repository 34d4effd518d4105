"""Text in, document and diagnostics out: the one entrance to the format.

Never raises on user text, and reports every problem at once: `LiveDocument` brings
together what the other modules of this room read. Equal text gives equal results, which
is why a missing `dlm_id` has no fix here: an id is random, so giving one is an edit
(`set_key(text, "dlm_id", new_id())`).
"""

from __future__ import annotations

from dlm_engine.document.live import LiveDocument
from dlm_engine.document.model import Diagnostic, Document, LineIndex, Severity


def parse(text: str) -> tuple[Document, list[Diagnostic]]:
    """The document and everything that is wrong with it, sorted by place."""
    live = LiveDocument.open(text)
    return live.document, list(live.diagnostics)


def first_error(problems: list[Diagnostic], lines: LineIndex) -> str:
    """The first error as `line N: message`; empty when there is none."""
    for problem in problems:
        if problem.severity is Severity.ERROR:
            return f"line {lines.line_column(problem.span.start)[0] + 1}: {problem.message}"
    return ""
