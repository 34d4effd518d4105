"""Formatting: white space that means nothing, and never anything that means something."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.server.features.cursor import HEAD, selected
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument, Severity, Span, TextEdit, apply_edits
from dlm_server.features import formatting as module
from dlm_server.features.formatting import format_document, format_range


def formatted(text: str) -> str:
    return apply_edits(text, format_document(LiveDocument.open(text)))


CASES = [
    pytest.param(
        HEAD + "Words.\n\n\n\n::prose::\n\n\nMore.\n::prose::\nEnd.",
        HEAD + "\nWords.\n\n::prose::\nMore.\n\n::prose::\nEnd.\n",
        id="one blank line between sections, none under fences, a line end at the end",
    ),
    pytest.param(
        HEAD + "::instruction::  \n\t\n### Q\na\n\n### A\nb\n \n\n",
        HEAD + "\n::instruction::\n### Q\na\n\n### A\nb\n",
        id="blanks after fences, blank lines at the end",
    ),
    pytest.param(
        HEAD + '\n\n\n::image   path="a  b"\talt=""  ::\n',
        HEAD + '\n::image path="a  b" alt=""::\n',
        id="blanks inside a fence",
    ),
    pytest.param(
        HEAD + '\n::instruction::\n<!-- dlm-auto-harvest: source="x" --> \n\n### Q\na\n### A\nb\n',
        HEAD + '\n::instruction::\n<!-- dlm-auto-harvest: source="x" -->\n### Q\na\n### A\nb\n',
        id="markers",
    ),
    pytest.param(
        HEAD.replace("15\n", "15  \n").replace("---\n", "--- \n")
        + "\n::prose::\na\n",
        HEAD + "\n::prose::\na\n",
        id="frontmatter",
    ),
    pytest.param("---\na: |\n  b  \n\n  c\n---\n", None, id="blanks inside a value stay"),
    pytest.param("---\na: 'b  \n  c'\n---\n", None, id="blanks inside a quoted value stay"),
    pytest.param(HEAD, None, id="nothing but frontmatter"),
    pytest.param(
        HEAD + "\n::instruction::\n  ### Q  \na  \nb\n\n\n### A\n\nc\n", None, id="text stays"
    ),
    pytest.param(HEAD + "\n::prose::\n```\na  \n\n\nb\n```\n", None, id="code stays"),
    pytest.param(HEAD + "\n::prose::\n    indented\n", None, id="the first indentation stays"),
    pytest.param(
        HEAD.replace("\n", "\r\n") + "a\r\n\r\n\r\n::prose::\r\nb",
        HEAD.replace("\n", "\r\n") + "\r\na\r\n\r\n::prose::\r\nb\r\n",
        id="CRLF",
    ),
    pytest.param("---\na: 1  \n\n\n::prose::  \n\n\nb", None, id="settings that never end"),
    pytest.param("\n\n---\na: 1\n---\n", None, id="blank lines that hide a frontmatter"),
    pytest.param(
        "::instruction::\n\n<!-- dlm-auto-harvest: source=\"x\" -->\n### Q\na\n### A\nb\n\n\n"
        "::prose::\nc\n",
        "::instruction::\n\n<!-- dlm-auto-harvest: source=\"x\" -->\n### Q\na\n### A\nb\n\n"
        "::prose::\nc\n",
        id="a blank line that keeps text from being a marker",
    ),
    pytest.param("a\n\n\n", "a\n", id="no frontmatter"),
    pytest.param("", None, id="empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_format(text: str, expected: str | None) -> None:
    assert formatted(text) == (text if expected is None else expected)


def test_edits_are_small() -> None:
    text = HEAD + "\n::prose:: \nWords.\n\n\n::prose::\nMore.\n"
    edits = format_document(LiveDocument.open(text))
    at, gap = text.index(":: \n") + 2, text.index("\n\n\n") + 1
    assert [(e.span, e.new_text) for e in edits] == [
        (Span(at, at + 1), ""),
        (Span(gap, gap + 2), "\n"),
    ]


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("::a:: \n\n⟦x\n\n\n::b:: \ny⟧\n::c:: \n", "::a:: \n\nx\n\n::b::\ny\n::c:: \n"),
        ("::a:: \n⟦x⟧\n\n\n::b:: \n", "::a:: \nx\n\n\n::b:: \n"),
    ],
)
def test_a_range(marked: str, expected: str) -> None:
    live, within = selected(marked)
    assert apply_edits(live.text, format_range(live, within)) == expected


def meaning(text: str) -> object:
    document, problems = LiveDocument.open(text).document, LiveDocument.open(text).diagnostics
    return (
        [(s.id, s.type, s.adapter, s.pairs and [(p.question, p.answer) for p in s.pairs])
         for s in document.sections],
        [[(t.prompt, t.chosen, t.rejected) for t in s.triples] for s in document.sections],
        document.frontmatter,
        [(p.code, p.message) for p in problems if p.severity is Severity.ERROR],
    )  # fmt: skip


@given(documents())
@example(HEAD + "::prose::\n```\n\n\n::prose::\n```\n")
@settings(deadline=None, max_examples=300)
def test_ids_rows_and_errors_stay_and_twice_is_once(text: str) -> None:
    once = formatted(text)
    assert meaning(once) == meaning(text)
    assert "".join(once.split()) == "".join(text.split())
    assert formatted(once) == once


@given(documents(), st.data())
@settings(deadline=None, max_examples=150)
def test_a_range_leaves_the_rest_alone(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    live = LiveDocument.open(text)
    edits = format_range(live, Span(start, end))
    assert all(start <= e.span.start and e.span.end <= end for e in edits)
    assert meaning(apply_edits(text, edits)) == meaning(text)


def test_several_passes_come_as_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_blank(live: LiveDocument) -> Iterator[TextEdit]:
        at = live.text.find("\n\n\n")
        if at >= 0:
            yield TextEdit(Span(at, at + 1), "")

    monkeypatch.setattr(module, "_wanted", one_blank)
    live = LiveDocument.open("::prose::\na\n\n\n\n::prose::\nb\n")
    assert format_document(live) == (TextEdit(Span(13, 15), ""),)
    endless = LiveDocument.open("::prose::\na\n" + "\n" * 20 + "::prose::\nb\n")
    assert format_document(endless) == ()
