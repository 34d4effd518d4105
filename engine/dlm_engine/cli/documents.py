"""Reading a document for a command, and finding its store.

The one place where diagnostics of a document decide whether a command goes on, so that
`train`, `prompt` and `export` refuse the same documents with the same words.
"""

from __future__ import annotations

from pathlib import Path

from dlm_engine.cli.app import Globals
from dlm_engine.cli.reports import FileReport, place, render_text
from dlm_engine.document import Document, Frontmatter, Severity, read_document
from dlm_engine.errors import DocumentError


def read_report(path: Path) -> FileReport:
    """The document with its diagnostics.

    Raises:
        DocumentError: missing, unreadable or not UTF-8.
    """
    document, diagnostics = read_document(path)
    return FileReport(str(path), document, tuple(diagnostics))


def require_frontmatter(path: Path) -> tuple[Document, Frontmatter]:
    """The document and its settings, for commands that need only to know which it is.

    Raises:
        DocumentError: unreadable, or its frontmatter is not valid; names the first place.
    """
    report = read_report(path)
    document = report.document
    if document is not None and document.frontmatter is not None:
        return document, document.frontmatter
    assert document is not None
    worst = next((d for d in report.diagnostics if d.severity is Severity.ERROR), None)
    if worst is None:
        raise DocumentError(str(path), "has no frontmatter", f"see `dlm check {path}`")
    at = place(document, worst)
    raise DocumentError(
        f"{path}:{at.line}:{at.column}",
        worst.message.rstrip("."),
        f"`dlm check {path}` shows every problem",
    )


def require_trainable(at: Globals, path: Path) -> None:
    """Show the document's errors as `dlm check` does, and refuse it if there are any.

    Warnings are shown as well; they refuse nothing.

    Raises:
        DocumentError: unreadable, or it has errors.
    """
    report = read_report(path)
    shown = [d for d in report.diagnostics if d.severity is not Severity.INFORMATION]
    if not shown:
        return
    at.console.status(render_text([FileReport(report.name, report.document, tuple(shown))]))
    errors = sum(d.severity is Severity.ERROR for d in shown)
    if errors:
        raise DocumentError(
            str(path), f"has {errors} error{'s' * (errors > 1)}, shown above", "correct them first"
        )
