"""The outline as indented lines: `kind name | detail`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from unittest.mock import patch

from hypothesis import given, settings
from tests.server.features.cursor import HEAD
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument
from dlm_server.features import symbols as module
from dlm_server.features.symbols import Kind, Symbol, first_words, flattened, symbols


def outline(text: str) -> str:
    def lines(found: Iterable[Symbol], indent: str) -> list[str]:
        made: list[str] = []
        for s in found:
            made.append(f"{indent}{s.kind.value} {s.name}" + (f" | {s.detail}" if s.detail else ""))
            made += lines(s.children, indent + "  ")
        return made

    return re.sub(r"\b[0-9a-f]{16}\b", "id", "\n".join(lines(symbols(LiveDocument.open(text)), "")))


def check(text: str, expected: str) -> None:
    assert outline(text) == expected.strip("\n")


def test_questions_and_answers() -> None:
    live = LiveDocument.open(
        HEAD + "::instruction#tone::\n### Q\nWho founded it?\n### A\nIngrid did.\n"
        "### Q !probe\nWhen?\n### A\nIn 1974.\n### Q\nand\n"
    )
    (_, section) = symbols(live)
    known = live.document.sections[0].id
    assert section.name == "Who founded it?"
    assert section.detail == f"instruction#tone · 3 questions · {known}"
    assert [(c.kind, c.name, c.detail) for c in section.children] == [
        (Kind.QUESTION, "Who founded it?", "Ingrid did."),
        (Kind.PROBE, "When?", "In 1974."),
        (Kind.QUESTION, "and", "no answer yet"),
    ]
    first = section.children[0]
    assert live.text[first.selection.start : first.selection.end] == "### Q"
    assert live.text[first.span.start : first.span.end].endswith("Ingrid did.")


def test_headings_nest_by_level() -> None:
    check(
        "# A #\nx\n### B\ny\n## C\n# D\n#\n",
        """
prose A | prose · id
  heading A
    heading B
    heading C
  heading D
  heading #
""",
    )


def test_frontmatter_keys() -> None:
    check(
        "---\na: 1\nb:\n  c:\n    - x\n    - d: 2\n      e: 3\n  f: {}\n---\n",
        """
frontmatter frontmatter
  value a | 1
  block b
    list c | 2 items
      value x
      block 2
        value d | 2
        value e | 3
    value f | {}
""",
    )


def test_other_sections() -> None:
    text = (
        '::preference::\n### Prompt\nP\n### Chosen\nC\n### Rejected\nR\n::image path="a b.png"::\n'
        "::prose::\n::nothing::\nSome words\n::prose::\n\n  First words.\nMore\n"
    )
    lines = outline(text).splitlines()
    assert [line.split(" · ")[0] for line in lines] == [
        "preference P | preference",
        "  question P | C",
        "media a b.png | image",
        "prose prose | prose",
        "unknown Some words | nothing",
        "prose First words. | prose",
    ]


def test_long_names_are_cut_at_a_word() -> None:
    assert first_words("\n  one   two\nthree") == "one two"
    assert first_words("word " * 40, 12) == "word word…"
    assert first_words("x" * 100, 10) == "x" * 9 + "…"
    assert first_words("   \n") == ""


def test_a_bound_with_a_note() -> None:
    text = "::instruction::\n" + "### Q\nq\n### A\na\n" * 20
    with patch.object(module, "MAX_SYMBOLS", 5):
        found = symbols(LiveDocument.open(text))
    assert [s.kind for s in found] == [Kind.INSTRUCTION, Kind.NOTE]
    assert len(list(flattened(found))) == 6
    assert found[-1].name == "Only the first 5 entries are listed"
    assert symbols(LiveDocument.open("a"))[-1].kind is not Kind.NOTE


def test_flattened_with_containers() -> None:
    live = LiveDocument.open("# A\n## B\n")
    assert [(s.name, c) for s, c in flattened(symbols(live))] == [
        ("A", None),
        ("A", "A"),
        ("B", "A"),
    ]


@given(documents())
@settings(deadline=None, max_examples=200)
def test_children_lie_inside_their_parents(text: str) -> None:
    def check_level(found: tuple[Symbol, ...], start: int, end: int) -> None:
        at = start
        for symbol in found:
            assert at <= symbol.span.start <= symbol.selection.start
            assert symbol.selection.start <= symbol.selection.end <= symbol.span.end <= end
            assert symbol.name.strip()
            assert "\n" not in symbol.name
            check_level(symbol.children, symbol.span.start, symbol.span.end)
            at = symbol.span.end

    check_level(symbols(LiveDocument.open(text)), 0, len(text))
