"""From dlm to the protocol: offsets to positions, edits to edits, diagnostics to diagnostics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygls.uris import from_fs_path

from dlm_engine.document import Diagnostic, LiveDocument, Severity, Span, TextEdit
from dlm_server.encodings import Encoding, to_units

if TYPE_CHECKING:
    from lsprotocol import types as lsp

    from dlm_server.features.checks import Finding
    from dlm_server.session import Snapshot

#: remarks that should not stand in a list of problems
HINTS = {"changed-since-trained": 4}
#: text that has no effect, which editors show faded
FADED = frozenset(
    {"section-empty", "section-text-unused", "marker-misplaced", "question-duplicate"}
)
MOST_RELATED = 20
#: the protocol's numbers
SEVERITIES = {Severity.ERROR: 1, Severity.WARNING: 2, Severity.INFORMATION: 3}
_UNNECESSARY = 1
_NOWHERE = {"line": 0, "character": 0}


def uri_of(path: Path) -> str:
    """The `file:` URI of an absolute path."""
    return from_fs_path(str(path)) or path.as_uri()


def place(live: LiveDocument, offset: int, encoding: Encoding) -> tuple[int, int]:
    """The line and column of a code-point offset, in the client's units."""
    line, column = live.line_column(offset)
    # A place between the two characters of a line's end is the line's end.
    written = live.text[offset - column : offset].removesuffix("\r")
    return line, to_units(written, column, encoding)


def places(
    live: LiveDocument, span: Span, encoding: Encoding
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The `place` of both ends of a span."""
    line, column = place(live, span.start, encoding)
    written = live.text[span.start : span.end]
    if "\n" in written or "\r" in written:
        return (line, column), place(live, span.end, encoding)
    # Most ranges lie in one line, which need not be found twice.
    return (line, column), (line, column + to_units(written, len(written), encoding))


def position(live: LiveDocument, offset: int, encoding: Encoding) -> lsp.Position:
    from lsprotocol import types as lsp

    return lsp.Position(*place(live, offset, encoding))


def range_(live: LiveDocument, span: Span, encoding: Encoding) -> lsp.Range:
    from lsprotocol import types as lsp

    start, end = places(live, span, encoding)
    return lsp.Range(lsp.Position(*start), lsp.Position(*end))


def text_edits(
    live: LiveDocument, edits: Iterable[TextEdit], encoding: Encoding
) -> list[lsp.TextEdit]:
    from lsprotocol import types as lsp

    return [lsp.TextEdit(range_(live, e.span, encoding), e.new_text) for e in edits]


def severity(problem: Diagnostic) -> int:
    return HINTS.get(problem.code) or SEVERITIES[problem.severity]


def diagnostics(snapshot: Snapshot, findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as the client can show them; a fix travels as `data`, as edits of this version.

    Plain JSON: the first diagnostics need not wait until the library of types is imported.
    """
    client = snapshot.client

    def range_of(span: Span) -> dict[str, Any]:
        ends = places(snapshot.live, span, client.encoding)
        start, end = ({"line": line, "character": column} for line, column in ends)
        return {"start": start, "end": end}

    items = []
    for finding in findings:
        problem = finding.diagnostic
        item: dict[str, Any] = {
            "range": range_of(problem.span),
            "severity": severity(problem),
            "code": problem.code,
            "source": "dlm",
            "message": problem.message,
        }
        if client.publish_tags and problem.code in FADED:
            item["tags"] = [_UNNECESSARY]
        if client.publish_related_information and finding.related:
            item["relatedInformation"] = [
                {
                    "location": {"uri": other.uri, "range": {"start": _NOWHERE, "end": _NOWHERE}},
                    "message": "the other document",
                }
                for other in finding.related[:MOST_RELATED]
            ]
        if client.publish_data and problem.fix is not None:
            edits = problem.fix.edits
            item["data"] = {
                "title": problem.fix.title,
                "version": snapshot.version,
                "edits": [{"range": range_of(e.span), "newText": e.new_text} for e in edits],
            }
        items.append(item)
    return items
