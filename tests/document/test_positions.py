"""Places and line ends in every kind of text a person can save."""

from __future__ import annotations

import itertools

import pytest
from tests.document.marked import check, unmark

from dlm_engine.document import LineIndex, parse

MARKED = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 15
base_model: x # 😀 \u2028 é
training:
  lora_r: ⟦value-range|0⟧
  # 😀
  ⟦key-unknown|wörd⟧: 1
---

😀😀 prose\u2028 with \x0b odd \x85 ends

::⟦fence-unknown|poem⟧::
é
::instruction::
### Q
😀?
⟦header-malformed|### a⟧
ok
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_places_hold_for_every_line_end(ending: str, mark: str) -> None:
    check(mark + MARKED.replace("\n", ending))


def test_sections_are_the_same_for_every_line_end() -> None:
    text = unmark(MARKED)[0]
    expected = [(s.type, s.id, s.content, s.pairs[:1] != ()) for s in parse(text)[0].sections]
    assert len(expected) == 3
    for ending in ("\r\n", "\r"):
        other = parse(text.replace("\n", ending))[0]
        assert [(s.type, s.id, s.content, s.pairs[:1] != ()) for s in other.sections] == expected


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_section_spans_tile_the_body(ending: str) -> None:
    document, _ = parse(unmark(MARKED)[0].replace("\n", ending))
    assert document.sections[0].span.start == document.body_start
    for before, after in itertools.pairwise(document.sections):
        assert before.span.end == after.span.start
    assert document.sections[-1].span.end == len(document.text)
    fences = [s.fence_span for s in document.sections]
    assert [f and document.text[f.start : f.end] for f in fences] == [
        None,
        "::poem::",
        "::instruction::",
    ]


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        ("", [0]),
        ("a", [0]),
        ("a\nb", [0, 2]),
        ("a\r\nb\rc\n", [0, 3, 5, 7]),
        ("a\u2028b\x0bc\x85d", [0]),
        ("\r\r\n\n", [0, 1, 3, 4]),
    ],
)
def test_line_index(text: str, starts: list[int]) -> None:
    lines = LineIndex(text)
    assert lines.starts == starts
    assert lines.line_column(len(text)) == (len(starts) - 1, len(text) - starts[-1])
