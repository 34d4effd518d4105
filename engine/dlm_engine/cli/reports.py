"""Diagnostics of several files as text, JSON, SARIF 2.1.0 and GitHub annotations.

Pure: reports in, text out. Lines and columns are 1-based and count code points, in all
four forms, so that a number read in one is found with another.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from dlm_engine import __version__
from dlm_engine.checks import CODES as SURROUNDING_CODES
from dlm_engine.checks import UNREADABLE
from dlm_engine.cli.console import visible
from dlm_engine.document.codes import CODES
from dlm_engine.document.model import Diagnostic, Document, Severity
from dlm_engine.errors import DocumentError


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file: its document and diagnostics, or why it could not be read."""

    name: str
    document: Document | None
    diagnostics: tuple[Diagnostic, ...]
    unreadable: DocumentError | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """1-based lines and columns of a span, the end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


def place(document: Document, diagnostic: Diagnostic) -> Place:
    line, column = document.lines.line_column(diagnostic.span.start)
    end_line, end_column = document.lines.line_column(diagnostic.span.end)
    return Place(line + 1, column + 1, end_line + 1, end_column + 1)


def _label(name: str) -> str:
    return "<stdin>" if name == "-" else name


def _why(error: DocumentError) -> str:
    return ": ".join(part for part in (error.problem, error.remedy) if part)


def summary(reports: Sequence[FileReport]) -> str:
    """One line that says how it went."""
    found = [d.severity for r in reports for d in r.diagnostics]
    errors = found.count(Severity.ERROR) + sum(r.unreadable is not None for r in reports)
    warnings = found.count(Severity.WARNING)
    files = _count(len(reports), "file")
    if not errors and not warnings:
        return f"{files} checked, no problems"
    return f"{_count(errors, 'error')} and {_count(warnings, 'warning')} in {files}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# text


def render_text(reports: Sequence[FileReport]) -> str:
    """Compiler style: place, code, message, the line with a caret, and the fix."""
    blocks: list[str] = []
    for report in reports:
        if report.unreadable is not None:
            blocks.append(f"{_label(report.name)}: error[{UNREADABLE}]: {_why(report.unreadable)}")
        for diagnostic in report.diagnostics:
            assert report.document is not None
            blocks.append(_block(visible(_label(report.name)), report.document, diagnostic))
    return "\n".join(blocks)


def _block(name: str, document: Document, diagnostic: Diagnostic) -> str:
    at = place(document, diagnostic)
    starts = [*document.lines.starts, len(document.text)]
    source = document.text[starts[at.line - 1] : starts[at.line]].rstrip("\r\n")
    last = at.end_column - 1 if at.end_line == at.line else len(source)
    before, marked = source[: at.column - 1], source[at.column - 1 : max(last, at.column)]
    gutter = f"{at.line:>5} | "
    lines = [
        f"{name}:{at.line}:{at.column}: {diagnostic.severity}[{diagnostic.code}]: "
        f"{visible(diagnostic.message)}",
        gutter + visible(source),
        " " * (len(gutter) - 2) + "| " + _blank(visible(before)) + "^" * max(_cells(marked), 1),
    ]
    if diagnostic.fix is not None:
        lines.append(" " * (len(gutter) - 2) + "= fix: " + diagnostic.fix.title)
    return "\n".join(lines)


def _cells(text: str) -> int:
    """Columns that `text` takes in a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _blank(text: str) -> str:
    """Blanks as wide as `text`; tabs stay, so that the caret stands under its character."""
    return "".join("\t" if c == "\t" else " " * _cells(c) for c in text)


# JSON


def render_json(reports: Sequence[FileReport]) -> str:
    found = [d.severity for r in reports for d in r.diagnostics]
    value = {
        "version": 1,
        "errors": found.count(Severity.ERROR) + sum(r.unreadable is not None for r in reports),
        "warnings": found.count(Severity.WARNING),
        "files": [
            {
                "path": report.name,
                "unreadable": None if report.unreadable is None else _why(report.unreadable),
                "diagnostics": [
                    _json_diagnostic(report.document, d)
                    for d in report.diagnostics
                    if report.document is not None
                ],
            }
            for report in reports
        ],
    }
    return json.dumps(value, ensure_ascii=False, indent=2)


def _json_diagnostic(document: Document, diagnostic: Diagnostic) -> dict[str, Any]:
    at = place(document, diagnostic)
    fix = diagnostic.fix
    return {
        "code": diagnostic.code,
        "severity": str(diagnostic.severity),
        "message": diagnostic.message,
        "line": at.line,
        "column": at.column,
        "end_line": at.end_line,
        "end_column": at.end_column,
        "start": diagnostic.span.start,
        "end": diagnostic.span.end,
        "fix": None
        if fix is None
        else {
            "title": fix.title,
            "edits": [
                {"start": e.span.start, "end": e.span.end, "new_text": e.new_text}
                for e in fix.edits
            ],
        },
    }


# SARIF 2.1.0 (OASIS), for code scanning

_LEVELS = {
    Severity.ERROR: "error",
    Severity.WARNING: "warning",
    Severity.INFORMATION: "note",
}


def render_sarif(reports: Sequence[FileReport]) -> str:
    rules = [
        {
            "id": code.code,
            "shortDescription": {"text": code.meaning},
            "help": {"text": f"{code.meaning} See docs/format.md, section Diagnostic codes."},
            "defaultConfiguration": {"level": _LEVELS[code.severity]},
        }
        for code in (*CODES.values(), *SURROUNDING_CODES.values())
    ]
    rules.append(
        {
            "id": UNREADABLE,
            "shortDescription": {"text": "The file cannot be read as a document."},
            "help": {"text": "The file is missing, not readable, or not UTF-8."},
            "defaultConfiguration": {"level": "error"},
        }
    )
    index = {rule["id"]: number for number, rule in enumerate(rules)}
    results: list[dict[str, Any]] = []
    for report in reports:
        if report.unreadable is not None:
            results.append(
                {
                    "ruleId": UNREADABLE,
                    "ruleIndex": index[UNREADABLE],
                    "level": "error",
                    "message": {"text": _why(report.unreadable)},
                    "locations": [{"physicalLocation": _file(report.name)}],
                }
            )
        for diagnostic in report.diagnostics:
            assert report.document is not None
            results.append(_sarif_result(report.name, report.document, diagnostic, index))
    run = {
        "tool": {"driver": {"name": "dlm", "version": __version__, "rules": rules}},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(log, ensure_ascii=False, indent=2)


def _file(name: str) -> dict[str, Any]:
    path = PurePath("stdin" if name == "-" else name)
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    return {"artifactLocation": {"uri": uri}}


def _region(at: Place) -> dict[str, int]:
    return {
        "startLine": at.line,
        "startColumn": at.column,
        "endLine": at.end_line,
        "endColumn": at.end_column,
    }


def _sarif_result(
    name: str, document: Document, diagnostic: Diagnostic, index: dict[Any, int]
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": diagnostic.code,
        "ruleIndex": index[diagnostic.code],
        "level": _LEVELS[diagnostic.severity],
        "message": {"text": diagnostic.message},
        "locations": [
            {"physicalLocation": {**_file(name), "region": _region(place(document, diagnostic))}}
        ],
    }
    if diagnostic.fix is not None:
        result["fixes"] = [
            {
                "description": {"text": diagnostic.fix.title},
                "artifactChanges": [
                    {
                        **_file(name),
                        "replacements": [
                            {
                                "deletedRegion": {
                                    "charOffset": edit.span.start,
                                    "charLength": edit.span.end - edit.span.start,
                                },
                                "insertedContent": {"text": edit.new_text},
                            }
                            for edit in diagnostic.fix.edits
                        ],
                    }
                ],
            }
        ]
    return result


# GitHub workflow commands


def render_github(reports: Sequence[FileReport]) -> str:
    kinds = {
        Severity.ERROR: "error",
        Severity.WARNING: "warning",
        Severity.INFORMATION: "notice",
    }
    lines: list[str] = []
    for report in reports:
        name = _property(_label(report.name))
        if report.unreadable is not None:
            lines.append(
                f"::error file={name},title={UNREADABLE}::{_data(_why(report.unreadable))}"
            )
        for diagnostic in report.diagnostics:
            assert report.document is not None
            at = place(report.document, diagnostic)
            properties = f"file={name},line={at.line},endLine={at.end_line}"
            if at.end_line == at.line:
                # Annotations of several lines may have no columns.
                properties += f",col={at.column},endColumn={max(at.end_column - 1, at.column)}"
            lines.append(
                f"::{kinds[diagnostic.severity]} {properties},title={diagnostic.code}::"
                f"{_data(diagnostic.message)}"
            )
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
