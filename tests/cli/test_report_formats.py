"""SARIF and GitHub annotations by the rules of those who read them, for any document."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as SarifLog
from tests.server.features.random_documents import documents

from dlm_engine.cli.reports import FileReport, render_github, render_sarif
from dlm_engine.document import parse
from dlm_engine.errors import DocumentError

NAMES = ("a.dlm", "-", "/abs/b c.dlm", "d,e:f%.dlm", "g=h.dlm", "ä/日.dlm", "i\nj.dlm")
GONE = FileReport("k.dlm", None, (), DocumentError("k.dlm", "is\na folder", "100% wrong"))


def reports(text: str) -> list[FileReport]:
    document, found = parse(text)
    return [*(FileReport(name, document, tuple(found)) for name in NAMES), GONE]


# --- SARIF: the models of pydantic-sarif are generated from the schema of version 2.1.0 ---


@given(documents())
def test_sarif_is_what_its_schema_says(text: str) -> None:
    log = SarifLog.model_validate_json(render_sarif(reports(text)).encode("utf-8", "replace"))
    (run,) = log.runs
    for result in run.results or []:
        for location in result.locations or []:
            where = location.physicalLocation
            assert where is not None
            assert where.artifactLocation is not None
            # RFC 3986, which the schema asks for and its models do not look at.
            uri = where.artifactLocation.uri or ""
            assert re.fullmatch(r"(file:///)?[A-Za-z0-9._~!$&'()*+;=@/%-]+", uri), uri
            name = unquote(uri).removeprefix("file://")
            assert name in {*NAMES, "k.dlm", "stdin"}
            region = where.region
            if region is not None:
                start = (region.startLine, region.startColumn)
                assert (region.endLine, region.endColumn) >= start


def test_a_run_without_problems_is_sarif_too() -> None:
    log = SarifLog.model_validate_json(render_sarif([]))
    assert log.runs[0].results == []


@pytest.mark.parametrize("wrong", ['"level": "fatal"', '"ruleIndx": 0'])
def test_the_models_refuse_what_is_no_sarif(wrong: str) -> None:
    said = render_sarif([GONE])
    with pytest.raises(ValueError, match="validation error"):
        SarifLog.model_validate_json(said.replace('"level": "error",\n', f"{wrong},\n", 1))


# --- GitHub: `::command name=value,...::message`, one to a line ---------------------------

COMMAND = re.compile(r"::(?P<kind>error|warning|notice) (?P<properties>[^\n]*?)::(?P<message>.*)")
NUMBERS = {"line", "endLine", "col", "endColumn"}


def unescaped(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ",")):
        text = text.replace(code, character)
    return text.replace("%25", "%")


@given(documents())
def test_annotations_are_what_the_runner_reads(text: str) -> None:
    shown = reports(text)
    expected = [
        (report.name, problem.code, problem.message)
        for report in shown
        for problem in report.diagnostics
    ]
    # The runner ends a line where its console does.
    lines = re.split(r"[\r\n]", render_github(shown))
    read = []
    for line in lines:
        found = COMMAND.fullmatch(line)
        assert found, line
        pairs = [pair.partition("=") for pair in found["properties"].split(",")]
        properties = {name: unescaped(value) for name, _, value in pairs}
        assert len(properties) == len(pairs)
        assert properties.keys() <= NUMBERS | {"file", "title"}
        numbers = {name: int(properties[name]) for name in NUMBERS & properties.keys()}
        assert all(number >= 1 for number in numbers.values())
        if numbers:
            assert numbers["line"] <= numbers["endLine"]
            assert numbers.get("col", 1) <= numbers.get("endColumn", numbers.get("col", 1))
            # Columns are for one line; with more the runner drops them and says so.
            assert (numbers["line"] == numbers["endLine"]) == ("col" in numbers)
        name = properties["file"]
        read.append(("-" if name == "<stdin>" else name, properties["title"],
                     unescaped(found["message"])))  # fmt: skip
    assert read[:-1] == expected
    assert read[-1] == ("k.dlm", "file-unreadable", "is\na folder: 100% wrong")
