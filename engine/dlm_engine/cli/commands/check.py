"""`dlm check`: every problem in every document, for people, scripts, code hosts and scanners."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.checks import check_rules, check_surroundings, same_id
from dlm_engine.cli.app import globals_of
from dlm_engine.cli.reports import (
    FileReport,
    render_github,
    render_json,
    render_sarif,
    render_text,
    summary,
)
from dlm_engine.document import LiveDocument, Severity, decode, read_text
from dlm_engine.errors import DocumentError, UsageError

EPILOG = "Exit code: 0 no errors, 1 errors (with --strict also warnings), 2 nothing to check."


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


def command(
    context: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATHS",
            help="Documents, folders to search for *.dlm, or - for standard input [.].",
            show_default=False,
        ),
    ] = None,
    format: Annotated[Format, typer.Option(help="How to write the report.")] = Format.TEXT,
    json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings too.")] = False,
) -> None:
    """Report every problem in documents, without changing anything."""
    console = globals_of(context).console
    reports = _with_shared_ids([_check(name) for name in _documents(paths or ["."])])
    chosen = Format.JSON if json else format
    render = {
        Format.TEXT: render_text,
        Format.JSON: render_json,
        Format.SARIF: render_sarif,
        Format.GITHUB: render_github,
    }[chosen]
    text = render(reports)
    if text:
        console.result(text)
    console.status(summary(reports))

    def has(report: FileReport, severity: Severity) -> bool:
        return any(d.severity is severity for d in report.diagnostics)

    failed = any(
        r.unreadable or has(r, Severity.ERROR) or (strict and has(r, Severity.WARNING))
        for r in reports
    )
    if failed:
        raise typer.Exit(1)


def _documents(given: list[str]) -> list[str]:
    """Every document meant, in a stable order, each once."""
    found: dict[str, None] = {}
    for name in given:
        if name == "-":
            found[name] = None
            continue
        path = Path(name)
        if path.is_dir():
            found.update(dict.fromkeys(str(p) for p in _search(path)))
        elif path.exists():
            found[name] = None
        else:
            raise UsageError(name, "there is no such file or folder", "check the name")
    if not found:
        raise UsageError(
            " ".join(given), "there is no .dlm file here", "name one, or write one with `dlm init`"
        )
    return list(found)


def _search(folder: Path) -> list[Path]:
    """The documents below `folder`. Hidden folders are not searched, except `.dlm`,
    where a folder's own document may live."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(
            f for f in folders if (not f.startswith(".") or f == ".dlm") and f != "node_modules"
        )
        found += [Path(root, f) for f in sorted(files) if f.endswith(".dlm")]
    return found


def _check(name: str) -> FileReport:
    folder = None
    try:
        if name == "-":
            text = decode(sys.stdin.buffer.read(), "standard input")
        else:
            folder = Path(name).absolute().parent
            text = read_text(Path(name))
    except DocumentError as error:
        return FileReport(name, None, (), unreadable=error)
    live = LiveDocument.open(text)
    found = [*live.diagnostics, *check_surroundings(live, folder), *check_rules(live, folder)]
    return FileReport(name, live.document, tuple(sorted(found, key=lambda d: d.span)))


def _with_shared_ids(reports: Sequence[FileReport]) -> list[FileReport]:
    """The reports, with a warning in those whose `dlm_id` another one has too."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for report in reports:
        if report.document is not None and report.document.frontmatter is not None:
            names[report.document.frontmatter.dlm_id].append(report.name)
    found = []
    for report in reports:
        front = report.document.frontmatter if report.document is not None else None
        if report.document is not None and front is not None:
            others = [name for name in names[front.dlm_id] if name != report.name]
            more = (*report.diagnostics, *same_id(report.document.keys, others))
            report = replace(report, diagnostics=tuple(sorted(more, key=lambda d: d.span)))
        found.append(report)
    return found
