"""What is never closed must not hide what follows, however far the scanner looks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tree_sitter import Node, Tree

Parse = Callable[[str], Tree]
Texts = Callable[..., list[tuple[str, str]]]

SECTION = "::instruction::\n### Q\nWho?\n### A\nMe.\n"
LOOKAHEAD = 32_768


def sections(tree: Tree) -> list[Node]:
    return [node for node in tree.root_node.children if node.type == "section"]


def test_an_unclosed_block_per_section(parse: Parse) -> None:
    tree = parse("::prose::\n````\nx\n" + SECTION + "~~~\n" + SECTION + "```py\n" + SECTION)
    assert [section.named_children[0].text for section in sections(tree)] == [
        b"::prose::",
        *[b"::instruction::"] * 3,
    ]


@pytest.mark.parametrize(("gap", "fences"), [(LOOKAHEAD - 100, 0), (LOOKAHEAD + 100, 1)])
def test_how_far_a_code_block_may_reach_past_a_fence(
    parse: Parse, texts: Texts, gap: int, fences: int
) -> None:
    lines = "x" * 49 + "\n"
    tree = parse("```\n::prose::\n" + lines * (gap // len(lines)) + "```\n")
    assert len(texts(tree, "fence")) == fences
    assert len(texts(tree, "quoted_fence")) == 1 - fences


def test_one_confirmed_block_may_hold_any_number_of_fences(parse: Parse, texts: Texts) -> None:
    tree = parse("```\n" + "::prose::\n" * 3000 + "```\n" + SECTION)
    assert len(texts(tree, "quoted_fence")) == 3000
    assert len(sections(tree)) == 2


def test_a_closing_line_cut_by_the_limit_does_not_count(parse: Parse, texts: Texts) -> None:
    for extra in range(6):
        tree = parse("```\n::prose::\n" + "x" * (LOOKAHEAD - 5 + extra) + "\n```y\n")
        assert len(texts(tree, "fence")) == 1


@pytest.mark.parametrize(("gap", "closed"), [(LOOKAHEAD - 100, True), (LOOKAHEAD + 100, False)])
def test_how_far_frontmatter_may_reach(parse: Parse, gap: int, closed: bool) -> None:
    lines = "key: " + "x" * 44 + "\n"
    tree = parse("---\nkey: value\n\nSome words.\n" + lines * (gap // len(lines)) + "---\n")
    frontmatter = tree.root_node.children[0]
    assert (frontmatter.child_by_field_name("close") is not None) == closed
    assert (b"Some words." in (frontmatter.text or b"")) == closed


@pytest.mark.parametrize(
    "line",
    ["other: value", "  indented", "# comment", "- item", "}", '"quoted', "key:", "a: b c"],
)
def test_yaml_after_a_blank_line_stays_frontmatter(parse: Parse, line: str) -> None:
    tree = parse(f"---\nkey: value\n\n{line}\n")
    assert [node.type for node in tree.root_node.children] == ["frontmatter"]


@pytest.mark.parametrize("line", ["Some words.", "*bold*", "> quote", "`code`", "élan", "1. one"])
def test_prose_after_a_blank_line_ends_unclosed_frontmatter(
    parse: Parse, texts: Texts, line: str
) -> None:
    tree = parse(f"---\nkey: value\n\n{line}\n")
    assert [node.type for node in tree.root_node.children] == ["frontmatter", "section"]
    assert texts(tree, "paragraph") == [("paragraph", f"{line}\n")]


def test_a_fence_before_the_delimiter_wins(parse: Parse, texts: Texts) -> None:
    tree = parse("---\nkey: value\n\nSome words.\n::prose::\nText.\n---\nMore.\n")
    assert texts(tree, "yaml", "paragraph") == [
        ("yaml", "key: value\n\n"),
        ("paragraph", "Some words.\n"),
        ("paragraph", "Text.\n---\nMore.\n"),
    ]


def test_long_lines_and_runs(parse: Parse, texts: Texts) -> None:
    parse("x" * 200_000)
    parse("::" + "a" * 100_000 + '::\n::image path="' + "a" * 100_000 + '"::\n')
    tree = parse("`" * 300 + "\n" + "`" * 255 + "\n" + "#" * 1000 + "\n")
    assert texts(tree, "code_fence_close") == [("code_fence_close", "`" * 255)]
    parse(":" * 100_000 + "\n" + "#" * 100_000 + "\n" + " " * 100_000)


def test_adversarial_text_stays_linear(parse: Parse, texts: Texts) -> None:
    # Each line opens a block that nothing closes, followed by a fence that looks for it.
    text = "".join("`" * run + "\n::prose::\n" for run in range(250, 3, -1))
    tree = parse(text + "x" * 100_000)
    assert len(texts(tree, "fence")) == 247
