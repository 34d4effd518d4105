"""From dlm to the protocol: offsets to positions, edits to edits, diagnostics to diagnostics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types as lsp
from pygls.uris import from_fs_path

from dlm_engine.document import LiveDocument, Severity, Span, TextEdit
from dlm_server.encodings import Encoding, to_units

if TYPE_CHECKING:
    from dlm_server.features.checks import Finding
    from dlm_server.session import Snapshot

#: where the codes are explained
CODES_PAGE = "https://github.com/dlm-authors/dlm/blob/main/docs/format.md#diagnostic-codes"
#: remarks that should not stand in a list of problems
HINTS = {"changed-since-trained": lsp.DiagnosticSeverity.Hint}
#: text that has no effect, which editors show faded
FADED = frozenset(
    {"section-empty", "section-text-unused", "marker-misplaced", "question-duplicate"}
)
MOST_RELATED = 20
_START = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))

SEVERITIES = {
    Severity.ERROR: lsp.DiagnosticSeverity.Error,
    Severity.WARNING: lsp.DiagnosticSeverity.Warning,
    Severity.INFORMATION: lsp.DiagnosticSeverity.Information,
}


def uri_of(path: Path) -> str:
    """The `file:` URI of an absolute path."""
    return from_fs_path(str(path)) or path.as_uri()


def position(live: LiveDocument, offset: int, encoding: Encoding) -> lsp.Position:
    """Where a code-point offset stands, in the client's units."""
    line = live.line_of(offset)
    column = offset - live.line_start(line)
    return lsp.Position(line, to_units(live.line_text(line), column, encoding) if column else 0)


def range_(live: LiveDocument, span: Span, encoding: Encoding) -> lsp.Range:
    return lsp.Range(position(live, span.start, encoding), position(live, span.end, encoding))


def text_edits(
    live: LiveDocument, edits: Iterable[TextEdit], encoding: Encoding
) -> list[lsp.TextEdit]:
    return [lsp.TextEdit(range_(live, e.span, encoding), e.new_text) for e in edits]


def diagnostics(snapshot: Snapshot, findings: Iterable[Finding]) -> list[lsp.Diagnostic]:
    """Findings as the client can show them; a fix travels as `data`, as edits of this version."""
    client = snapshot.client
    items = []
    for finding in findings:
        problem = finding.diagnostic
        item = lsp.Diagnostic(
            range=snapshot.range(problem.span),
            severity=HINTS.get(problem.code) or SEVERITIES[problem.severity],
            code=problem.code,
            source="dlm",
            message=problem.message,
        )
        if client.publish_code_description:
            item.code_description = lsp.CodeDescription(CODES_PAGE)
        if client.publish_tags and problem.code in FADED:
            item.tags = [lsp.DiagnosticTag.Unnecessary]
        if client.publish_related_information and finding.related:
            item.related_information = [
                lsp.DiagnosticRelatedInformation(
                    location=lsp.Location(other.uri, _START), message="the other document"
                )
                for other in finding.related[:MOST_RELATED]
            ]
        if client.publish_data and problem.fix is not None:
            edits = snapshot.text_edits(problem.fix.edits)
            item.data = {
                "title": problem.fix.title,
                "version": snapshot.version,
                "edits": [
                    {
                        "range": {
                            "start": {
                                "line": e.range.start.line,
                                "character": e.range.start.character,
                            },
                            "end": {"line": e.range.end.line, "character": e.range.end.character},
                        },
                        "newText": e.new_text,
                    }
                    for e in edits
                ],
            }
        items.append(item)
    return items
