"""An edited tree equals a fresh one, and is much cheaper to make."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from tree_sitter import Parser, Tree

Flatten = Callable[[Tree], list[tuple[object, ...]]]

# Lines that mean something, or nearly, so that random texts reach every rule.
LINES = [
    "---",
    "--- ",
    "key: value",
    "",
    "  ",
    "Some words.",
    "::instruction::",
    "::prose::",
    "::preference#a::",
    "::Instruction::  ",
    '::image path="a" alt=""::',
    '::audio path="x" ::',
    "::foo::",
    "::a#b#c::",
    "::#x::",
    "::instruction#::",
    ":: instruction ::",
    " ::prose::",
    ":instruction:",
    "::instruction",
    "::image path=x",
    "：：instruction：：",
    "### Q",
    "### Q !probe",
    "### A",
    "  ### A  ",
    "### Prompt",
    "### Chosen",
    "### Rejected",
    "### q",
    "## Answer",
    "# Title",
    "#tag",
    "```",
    "```py x",
    "````",
    "~~~",
    "~~~ `x`",
    "``` a`b",
    "   ```",
    "    ```",
    "\t### A",
    '<!-- dlm-auto-harvest: source="x" -->',
    '<!-- dlm-auto-mined: a="1" b="2" -->',
    "<!-- dlm-auto-synth: x -->",
    "<!-- other",
    "\u2028x",
    "🦀",
    "x\u2028::prose::",
    "\ufeff",
    "\x00",
    '::image path="\x00"::',
    "```\x00",
    "- item",
]

line_ends = st.sampled_from(["\n", "\n", "\n", "\n", "\r\n", "\r", "\n\n", ""])
lines = st.builds(str.__add__, st.sampled_from(LINES), line_ends)
documents = st.builds(
    lambda start, body: start + "".join(body),
    st.sampled_from(["", "", "---\n", "---\r\n", "\ufeff", "\ufeff---\n"]),
    st.lists(lines, max_size=40),
)
insertions = st.one_of(
    st.just(""),
    st.sampled_from(["x", "\n", "\r", "`", "```", ":", "#", " ", '"', "---\n", "\ufeff", "🦀"]),
    lines,
    st.text(max_size=5),
)


@dataclass(frozen=True)
class Edit:
    """A place as fractions of the text's length, and what to put there."""

    at: float
    removed: int
    inserted: str


edits = st.builds(Edit, st.floats(0, 1), st.sampled_from([0, 0, 0, 1, 1, 2, 9, 40]), insertions)


def point(source: bytes, offset: int) -> tuple[int, int]:
    return source.count(b"\n", 0, offset), offset - (source.rfind(b"\n", 0, offset) + 1)


def apply(tree: Tree, text: str, edit: Edit) -> str:
    """Tell `tree` of an edit of `text`; returns the new text."""
    start = round(edit.at * len(text))
    end = min(len(text), start + edit.removed)
    new = text[:start] + edit.inserted + text[end:]
    old_source, new_source = text.encode(), new.encode()
    start_byte = len(text[:start].encode())
    old_end = len(text[:end].encode())
    new_end = start_byte + len(edit.inserted.encode())
    tree.edit(
        start_byte,
        old_end,
        new_end,
        point(old_source, start_byte),
        point(old_source, old_end),
        point(new_source, new_end),
    )
    return new


@settings(max_examples=400)
@given(text=documents, changes=st.lists(edits, min_size=1, max_size=6))
def test_edits_equal_a_fresh_parse(
    parser: Parser, parse: Callable[[str], Tree], flatten: Flatten, text: str, changes: list[Edit]
) -> None:
    tree = parse(text)
    for change in changes:
        text = apply(tree, text, change)
        tree = parser.parse(text.encode(), tree)
        assert flatten(tree) == flatten(parse(text))


@settings(max_examples=300)
@given(text=st.text())
def test_any_text_has_a_tree_without_errors(parse: Callable[[str], Tree], text: str) -> None:
    parse(text)


@settings(max_examples=40)
@given(
    blocks=st.lists(st.lists(lines, min_size=1, max_size=12), min_size=1, max_size=4),
    repeats=st.integers(40, 120),
    changes=st.lists(edits, min_size=1, max_size=4),
)
def test_edits_of_long_documents_equal_a_fresh_parse(
    parser: Parser,
    parse: Callable[[str], Tree],
    flatten: Flatten,
    blocks: list[list[str]],
    repeats: int,
    changes: list[Edit],
) -> None:
    # Long enough for groups to form and to move.
    text = "".join(
        f"Line {number}.\n" + "".join(block) for number in range(repeats) for block in blocks
    )
    tree = parse(text)
    for change in changes:
        text = apply(tree, text, change)
        tree = parser.parse(text.encode(), tree)
        assert flatten(tree) == flatten(parse(text))


def test_every_keystroke_of_a_document(parser: Parser, flatten: Flatten) -> None:
    typed = "---\nk: v\n---\n\nText.\n::instruction::\n### Q\n```py\n::prose::\n```\n### A\nMe.\n"
    text = ""
    tree = parser.parse(b"")
    for character in typed:
        text = apply(tree, text, Edit(1, 0, character))
        tree = parser.parse(text.encode(), tree)
        assert flatten(tree) == flatten(parser.parse(text.encode()))
    while text:
        text = apply(tree, text, Edit((len(text) - 1) / len(text), 1, ""))
        tree = parser.parse(text.encode(), tree)
        assert flatten(tree) == flatten(parser.parse(text.encode()))


def long_document(sections: int) -> str:
    return "---\ndlm_id: x\n---\n\n" + "".join(
        f"::instruction::\n### Q\nWhat is number {n}?\n### A\nNumber {n} is one.\n\n"
        f"::prose::\n# Part {n}\n\nSome words of part {n}.\n```py\nx = {n}\n```\n\n"
        for n in range(sections)
    )


def test_an_edit_is_at_least_five_times_cheaper_than_a_full_parse(parser: Parser) -> None:
    text = long_document(4000)
    source = text.encode()
    full = []
    for _ in range(3):
        start = time.process_time()
        parsed = parser.parse(source)
        full.append(time.process_time() - start)
    incremental = []
    for at in (0.01, 0.3, 0.5, 0.7, 0.99):
        for inserted in ("x", "\n"):
            tree = parsed.copy()
            new = apply(tree, text, Edit(at, 0, inserted)).encode()
            start = time.process_time()
            parser.parse(new, tree)
            incremental.append(time.process_time() - start)
    incremental.sort()
    assert incremental[len(incremental) // 2] * 5 < min(full)


def tokens_read(parser: Parser, text: str, edit: Edit) -> int:
    """How many tokens are read again after an edit."""
    log: list[str] = []
    tree = parser.parse(text.encode())
    new = apply(tree, text, edit).encode()
    assert parser.language is not None
    logging = Parser(parser.language)
    logging.logger = lambda _, message: log.append(message)
    logging.parse(new, tree)
    return sum(message.startswith("lexed_lookahead") for message in log)


def test_an_edit_reads_again_only_what_is_near(parser: Parser) -> None:
    text = long_document(400)
    read = [
        tokens_read(parser, text, Edit(at / 20, 0, inserted))
        for at in range(1, 20)
        for inserted in ("x", "\n", "A line.\n")
    ]
    assert sorted(read)[len(read) // 2] < 50
    assert max(read) < text.count("\n") / 2
