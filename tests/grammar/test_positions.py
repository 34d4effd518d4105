"""Where nodes begin and end: line ends, byte-order mark, wide and odd characters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tree_sitter import Tree

Parse = Callable[[str], Tree]
Texts = Callable[..., list[tuple[str, str]]]

DOCUMENT = """---
key: value
---

Prose.
::instruction#a::
<!-- dlm-auto-harvest: source="x" -->
### Q !probe
Who?
### A
```py
x
```
:: prose ::
"""

LEAVES = (
    "frontmatter_open",
    "yaml",
    "frontmatter_close",
    "paragraph",
    "fence",
    "provenance_marker",
    "question_header",
    "answer_header",
    "code_fence_open",
    "language",
    "code",
    "code_fence_close",
    "near_fence",
)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("start", ["", "\ufeff"], ids=["", "BOM"])
def test_line_ends_and_byte_order_mark(parse: Parse, texts: Texts, start: str, end: str) -> None:
    tree = parse(start + DOCUMENT.replace("\n", end))
    assert texts(tree, *LEAVES) == [
        ("frontmatter_open", "---"),
        ("yaml", f"key: value{end}"),
        ("frontmatter_close", "---"),
        ("paragraph", f"Prose.{end}"),
        ("fence", "::instruction#a::"),
        ("provenance_marker", f'<!-- dlm-auto-harvest: source="x" -->{end}'),
        ("question_header", "### Q !probe"),
        ("paragraph", f"Who?{end}"),
        ("answer_header", "### A"),
        ("code_fence_open", "```"),
        ("language", "py"),
        ("code", f"x{end}"),
        ("code_fence_close", "```"),
        ("near_fence", ":: prose ::"),
    ]


def test_the_last_line_needs_no_end(parse: Parse) -> None:
    for cut in range(len(DOCUMENT)):
        parse(DOCUMENT[:cut])


def test_only_a_leading_byte_order_mark_is_dropped(parse: Parse, texts: Texts) -> None:
    assert parse("\ufeff").root_node.children == []
    assert texts(parse("\ufeff::prose::"), "fence") == [("fence", "::prose::")]
    assert texts(parse("\n\ufeff::prose::"), "fence", "paragraph") == [
        ("paragraph", "\ufeff::prose::")
    ]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x00"])
def test_other_separators_end_no_line(parse: Parse, texts: Texts, separator: str) -> None:
    tree = parse(f"a{separator}::prose::{separator}\n::prose::\n```{separator}\n::prose::\n```\n")
    assert texts(tree, "paragraph", "fence", "quoted_fence") == [
        ("paragraph", f"a{separator}::prose::{separator}\n"),
        ("fence", "::prose::"),
        ("quoted_fence", "::prose::\n"),
    ]


def test_astral_characters(parse: Parse, texts: Texts) -> None:
    tree = parse('🦀\n::image path="🦀.png" alt=""::\n```🦀\n🦀\n```\n')
    assert texts(tree, "paragraph", "attribute_value", "language", "code") == [
        ("paragraph", "🦀\n"),
        ("attribute_value", "🦀.png"),
        ("language", "🦀"),
        ("code", "🦀\n"),
    ]


def test_an_attribute_with_nul_is_no_attribute(parse: Parse, texts: Texts) -> None:
    tree = parse('::image path="\x00"::')
    assert texts(tree, "fence", "near_fence") == [("near_fence", '::image path="\x00"::')]


def test_parts_of_structured_lines(parse: Parse, texts: Texts) -> None:
    tree = parse(
        '::instruction#a#b::  \n  ### Q !probe \n::x k="v w"  l="" ::\n   ```c++ y z\n   ```  \n'
    )
    assert texts(
        tree,
        "section_type",
        "adapter_name",
        "trailing_space",
        "question_header",
        "probe",
        "attribute",
        "attribute_name",
        "attribute_value",
        "code_fence_open",
        "info_string",
        "language",
        "code_fence_close",
    ) == [
        ("section_type", "instruction"),
        ("adapter_name", "a#b"),
        ("trailing_space", "  "),
        ("question_header", "  ### Q !probe"),
        ("probe", "!probe"),
        ("section_type", "x"),
        ("attribute", 'k="v w"'),
        ("attribute_name", "k"),
        ("attribute_value", "v w"),
        ("attribute", 'l=""'),
        ("attribute_name", "l"),
        ("code_fence_open", "   ```"),
        ("info_string", "c++ y z"),
        ("language", "c++"),
        ("code_fence_close", "   ```"),
    ]


def test_near_misses_cover_their_line(parse: Parse, texts: Texts) -> None:
    tree = parse("::instruction::\n ### q \n  :: prose ::  \n <!-- dlm-auto-x \n")
    assert texts(tree, "near_header", "near_fence", "near_marker") == [
        ("near_header", " ### q "),
        ("near_fence", "  :: prose ::  "),
        ("near_marker", " <!-- dlm-auto-x "),
    ]
