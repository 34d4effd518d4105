"""Diagnostics as text, JSON, SARIF and GitHub annotations: same numbers, nothing swallowed."""

from __future__ import annotations

import json

import pytest

from dlm_engine.checks import CODES as SURROUNDING_CODES
from dlm_engine.cli.reports import (
    FileReport,
    render_github,
    render_json,
    render_sarif,
    render_text,
    summary,
)
from dlm_engine.document.codes import CODES
from dlm_engine.document.model import (
    Diagnostic,
    Document,
    Fix,
    LineIndex,
    Severity,
    Span,
    TextEdit,
)
from dlm_engine.errors import DocumentError


def report_on(marked: str, *, name: str = "a.dlm", message: str = "m", fix: str = "") -> FileReport:
    """A report with one error over what stands between « and » in `marked`."""
    start, end = marked.index("«"), marked.index("»") - 1
    text = marked.replace("«", "").replace("»", "")
    span = Span(start, end)
    remedy = Fix("Write it right", (TextEdit(span, fix),)) if fix else None
    document = Document(text, None, None, (), LineIndex(text))
    return FileReport(
        name, document, (Diagnostic("fence-unknown", Severity.ERROR, message, span, remedy),)
    )


CLEAN = FileReport("ok.dlm", Document("x\n", None, None, (), LineIndex("x\n")), ())
UNREADABLE = FileReport(
    "gone.dlm", None, (), DocumentError("gone.dlm", "is a folder", "name a file")
)


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        (
            "a\n«::x::»\nb\n",
            "a.dlm:2:1: error[fence-unknown]: m\n    2 | ::x::\n      | ^^^^^",
        ),
        (
            "\tq «w»\n",
            "a.dlm:1:4: error[fence-unknown]: m\n    1 | \tq w\n      | \t  ^",
        ),
        (
            "日本 «語»\r\nb",
            "a.dlm:1:4: error[fence-unknown]: m\n    1 | 日本 語\n      |      ^^",
        ),
        (
            "one «two\nthree» four",
            "a.dlm:1:5: error[fence-unknown]: m\n    1 | one two\n      |     ^^^",
        ),
        (
            "end«»",
            "a.dlm:1:4: error[fence-unknown]: m\n    1 | end\n      |    ^",
        ),
        (
            "a\n«»",
            "a.dlm:2:1: error[fence-unknown]: m\n    2 | \n      | ^",
        ),
        (
            "😀«x»\u2028y\n",
            "a.dlm:1:2: error[fence-unknown]: m\n    1 | 😀x\u2028y\n      |   ^",
        ),
    ],
    ids=["plain", "tab", "wide", "two lines", "end of text", "empty last line", "astral"],
)
def test_text_points_at_the_characters(marked: str, expected: str) -> None:
    assert render_text([report_on(marked)]) == expected


def test_text_shows_control_characters_instead_of_obeying_them() -> None:
    shown = render_text([report_on("«\x1b[31mred»\n", message="bad \x1b[0m")])
    assert "\\x1b[31mred" in shown
    assert "\x1b" not in shown


def test_text_keeps_brackets() -> None:
    """Messages are not markup: `notes[draft].dlm` stays as it is."""
    shown = render_text([report_on("«x»", name="notes[draft].dlm", message="[bold]no[/bold]")])
    assert shown.startswith("notes[draft].dlm:1:1: error[fence-unknown]: [bold]no[/bold]\n")


def test_text_names_the_fix() -> None:
    assert render_text([report_on("«x»", fix="y")]).endswith("      = fix: Write it right")


def test_summary_counts() -> None:
    assert summary([CLEAN]) == "1 file checked, no problems"
    assert summary([CLEAN, report_on("«x»")]) == "1 error and 0 warnings in 2 files"
    assert summary([UNREADABLE]) == "1 error and 0 warnings in 1 file"


def test_json_has_places_offsets_and_fixes() -> None:
    value = json.loads(render_json([report_on("a\nb«cd»", fix="z"), UNREADABLE]))
    assert (value["errors"], value["warnings"]) == (2, 0)
    first, gone = value["files"]
    assert first["diagnostics"] == [
        {
            "code": "fence-unknown",
            "severity": "error",
            "message": "m",
            "line": 2,
            "column": 2,
            "end_line": 2,
            "end_column": 4,
            "start": 3,
            "end": 5,
            "fix": {
                "title": "Write it right",
                "edits": [{"start": 3, "end": 5, "new_text": "z"}],
            },
        }
    ]
    assert gone["unreadable"] == "is a folder: name a file"


def test_sarif_is_complete_and_consistent() -> None:
    """The parts of SARIF 2.1.0 that code scanning refuses a file for."""
    log = json.loads(render_sarif([report_on("a\n«bc»", name="d ir/ä.dlm", fix="z"), UNREADABLE]))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert {r["id"] for r in rules} == set(CODES) | set(SURROUNDING_CODES) | {"file-unreadable"}
    assert all(r["shortDescription"]["text"] and r["help"]["text"] for r in rules)
    assert run["columnKind"] == "unicodeCodePoints"
    found, gone = run["results"]
    for result in (found, gone):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == "error"
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "d%20ir/%C3%A4.dlm"
    assert place["region"] == {"startLine": 2, "startColumn": 1, "endLine": 2, "endColumn": 3}
    (change,) = found["fixes"][0]["artifactChanges"]
    assert change["replacements"] == [
        {"deletedRegion": {"charOffset": 2, "charLength": 2}, "insertedContent": {"text": "z"}}
    ]


def test_github_escapes_what_its_syntax_uses() -> None:
    said = render_github([report_on("«x»", name="a,b:c.dlm", message="50%\nof it")])
    assert said == (
        "::error file=a%2Cb%3Ac.dlm,line=1,endLine=1,col=1,endColumn=1,title=fence-unknown::"
        "50%25%0Aof it"
    )


def test_github_reports_unreadable_files() -> None:
    assert render_github([UNREADABLE]) == (
        "::error file=gone.dlm,title=file-unreadable::is a folder: name a file"
    )
