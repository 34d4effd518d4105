"""An edited document equals a fresh one, whatever the edits, and reads only what changed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.document.marked import HEAD
from tree_sitter import Node

from dlm_engine.document import LineIndex, LiveDocument, parse
from dlm_engine.document.head import Head, read_head
from dlm_engine.document.pieces import Left
from dlm_engine.document.sections import SectionReading, read_section
from dlm_engine.document.syntax import Window

OPEN = HEAD.removesuffix("---\n")
ADAPTERS = OPEN + "training:\n  adapters:\n    tone: {}\n    other: {}\n---\n"
SECRET = "gh" + "p_" + "aZ3kQ9xWv7Lp2RtY8mBc5NdF1gHj4SuE6oKi"
BODY = (
    "\n# Title\n\nprose 😀 with é\n\n::instruction#tone::\n"
    '<!-- dlm-auto-harvest: source="x" -->\n### Q !probe\nwhy?\n\n### A\n```py\n### Q\n```\n\n'
    "### Q\nb\n### A\nc\n\n::preference::\n### Prompt\na\n### Chosen\nb\n### Rejected\nc\n\n"
    '::image path="a.png" alt="x"::\ncaption\n\n::instruction::\n### Q\nb\n### A\nc\n'
    f"::prose::\n{SECRET}\n::instruction#nobody::\n### Q\nb\n### A\nd\n::prose::\nend\n"
)
PIECES = [
    "", "", "x", "\n", "\r\n", "\r", "\n\n", " ", "-", "---", "---\n", "--- \n", ":", "::",
    "::instruction::\n", "::prose#a::\n", "\n::Prose::\n", "::instruction#tone::", "### Q\n",
    "### A\n", "\n### A\n", "### q\n", "b\n", "```", "```\n", "\n````\n", "~~~", "`", "#",
    "dlm_version: 3\n", "training:\n  adapters:\n    a: {}\n", "training:\n  dpo: {beta: 0.2}\n",
    "\ufeff", "\u2028", "\x85", "\x0b", "\x00", "\ud800", "\udc00", "😀", "é", "::image",
    '\n::image path="a"::\n', "<!-- dlm-auto-mined: ", " -->\n", "password: hunter2Xq9!kd\n",
    SECRET, "api\n", "key: aB3dE5gH7jK9mN\n", "### Prompt\n", "### Chosen\n",
    "::instruction::\n### Q\nb\n### A\nd\n\n", "word é " * 40 + "\n",
]  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A place as a fraction of the text's length, how much goes there, and what comes."""

    at: float
    removed: int
    new: str

    def on(self, text: str) -> tuple[int, int, str]:
        start = round(self.at * len(text))
        return start, min(len(text), start + self.removed), self.new


removals = st.sampled_from([0, 0, 0, 1, 1, 2, 5, 12, 40, 200])
pieces = st.one_of(st.sampled_from(PIECES), st.sampled_from(PIECES), st.text(max_size=4))
changes = st.builds(Change, st.floats(0, 1), removals, pieces)
documents = st.one_of(
    st.builds(
        lambda start, mark, end: (mark + start + BODY).replace("\n", end),
        st.sampled_from([HEAD, ADAPTERS, "", "---\n", OPEN, OPEN + "\n"]),
        st.sampled_from(["", "", "\ufeff"]),
        st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    ),
    st.builds("".join, st.lists(pieces, max_size=30)),
)


def flat(node: Node) -> list[tuple[object, ...]]:
    """Every node below, hidden ones aside, with its place and the field it stands in."""
    found: list[tuple[object, ...]] = []
    cursor = node.walk()
    while True:
        here = cursor.node
        assert here is not None
        place = (here.start_byte, here.end_byte, here.start_point, here.end_point)
        found.append((cursor.depth, cursor.field_name, here.type, *place))
        if cursor.goto_first_child() or cursor.goto_next_sibling():
            continue
        while cursor.goto_parent():
            if cursor.goto_next_sibling():
                break
        else:
            return found


def check_equal(live: LiveDocument, text: str) -> None:
    """`live` gives the values that a fresh parse of `text` gives."""
    fresh = LiveDocument.open(text)
    document, problems = parse(text)
    assert live.text == text
    assert live.data == fresh.data
    assert flat(live.root) == flat(fresh.root)
    assert live.document == document
    assert live.diagnostics == tuple(problems)
    assert live.frontmatter_span == document.frontmatter_span
    check_places(live)


def check_places(live: LiveDocument) -> None:
    text = live.text
    starts = LineIndex(text).starts
    assert live.line_count == len(starts)
    assert [live.line_start(line) for line in range(len(starts))] == starts
    for line, end in enumerate([*starts[1:], len(text)]):
        assert live.line_text(line) == text[starts[line] : end].rstrip("\r\n")
    step = len(text) // 50 + 1
    for offset in [*range(0, len(text), step), len(text)]:
        byte = live.byte_of(offset)
        assert byte == len(text[:offset].encode("utf-8", "surrogatepass"))
        assert live.offset_of(byte) == offset
        assert live.line_of(offset) == LineIndex(text).line_column(offset)[0]
        assert live.line_column(offset) == LineIndex(text).line_column(offset)
        holders = [
            s
            for s in live.document.sections
            if s.span.start <= offset < s.span.end or offset == len(text) == s.span.end
        ]
        assert live.section_at(offset) == (holders[0] if holders else None)
        node = live.node_at(offset)
        span = live.span(node)
        assert span.start <= offset <= span.end or node == live.root
        assert live.text_of(node) == text[span.start : span.end]


def applied(text: str, edits: list[tuple[int, int, str]]) -> str:
    for start, end, new in edits:
        text = text[:start] + new + text[end:]
    return text


MARK = Change(0, 0, "\ufeff")
UNMARK = Change(0, 1, "")
IMAGE = Change(0, 0, "::image")


@given(documents, st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=5))
@example("", [[MARK, IMAGE], [UNMARK]])
@example("\ufeff", [[IMAGE], [UNMARK], [MARK]])
@example("\ufeff::image", [[UNMARK], [MARK]])
@example("\ufeff" + HEAD + BODY, [[IMAGE], [MARK], [UNMARK, UNMARK]])
@example(BODY, [[MARK, IMAGE], [IMAGE, MARK]])
@settings(deadline=None, max_examples=150)
def test_any_edits(text: str, batches: list[list[Change]]) -> None:
    live = LiveDocument.open(text)
    for batch in batches:
        before, edits = live, []
        now = text
        for change in batch:
            edits.append(change.on(now))
            now = applied(now, edits[-1:])
        live = live.edit(edits)
        check_equal(live, now)
        check_equal(before, text)
        text = now


LONG = "".join(
    f"::instruction::\n### Q\nWhat is {n}?\n### A\nIt is {n}.\n```py\nx = {n}\n```\n\n"
    f"::prose#tone::\n# Part {n}\n\nWords of {n}: é.\n\n"
    for n in range(150)
)


@given(st.lists(st.lists(changes, min_size=1, max_size=3), min_size=1, max_size=3))
@settings(deadline=None, max_examples=20)
def test_any_edits_of_many_sections(batches: list[list[Change]]) -> None:
    text = ADAPTERS + LONG
    live = LiveDocument.open(text)
    for batch in batches:
        for change in batch:
            live = live.edit([change.on(live.text)])
        fresh = LiveDocument.open(live.text)
        assert flat(live.root) == flat(fresh.root)
        assert live.document == fresh.document
        assert live.diagnostics == fresh.diagnostics


CRLF = (HEAD + BODY).replace("\n", "\r\n")
OPEN_CODE = HEAD + "::prose::\n```\na\n::prose::\nb\n::prose::\nc\n::prose::\nd\n"
EXAMPLES: dict[str, tuple[str, list[tuple[int, int, str]]]] = {
    "an empty document": ("", [(0, 0, "-"), (1, 1, "--\n"), (0, 4, "")]),
    "a mark put in front": (HEAD + BODY, [(0, 0, "\ufeff"), (0, 0, "\ufeff"), (0, 1, "")]),
    "words right behind a mark": ("\ufeffabc\n::prose::\nb", [(3, 3, "x"), (1, 1, "y")]),
    "a line end split": (CRLF, [(CRLF.index("\r\n") + 1, CRLF.index("\r\n") + 1, "x")]),
    "a line end joined": ("---\rx: y\r---\rx", [(4, 4, "\n"), (14, 14, "\n"), (14, 15, "")]),
    "the frontmatter's end taken away": (HEAD + BODY, [(len(HEAD) - 4, len(HEAD), "")]),
    "and put back": (OPEN + BODY, [(len(OPEN), len(OPEN), "---\n")]),
    "an end given to a frontmatter far above": (
        OPEN + "\nWords without a key.\n\n" + BODY,
        [(len(OPEN) + 23, len(OPEN) + 23, "---\n")],
    ),
    "a code block that swallows what follows": (
        OPEN_CODE,
        [(len(OPEN_CODE), len(OPEN_CODE), "```\n"), (len(OPEN_CODE), len(OPEN_CODE) + 1, "")],
    ),
    "a fence taken away and typed again": (
        HEAD + "::prose::\na\n::instruction::\n### Q\nb\n### A\nc\n",
        [(len(HEAD) + 12, len(HEAD) + 13, ""), (len(HEAD) + 12, len(HEAD) + 12, ":")],
    ),
    "the first of equal questions taken away": (
        HEAD + "::instruction::\n### Q\na\n### A\nb\n" * 3,
        [(len(HEAD), len(HEAD) + 34, "")],
    ),
    "an adapter declared later": (
        HEAD + BODY,
        [(len(OPEN), len(OPEN), "training:\n  adapters: {tone: {}}\n")],
    ),
    "half of a pair of surrogates": ("\ud83dx", [(1, 2, "\ude00"), (0, 1, "")]),
    "a separator that ends no line": ("a\u2028::prose::\nb", [(1, 2, "\n"), (1, 2, "\u2028")]),
    "a line of 100,000 characters": (
        HEAD + "::prose::\n" + "é word " * 15_000 + "\n::prose::\nx\n",
        [(60_000, 60_000, "\n::prose::\n"), (90_000, 90_001, "😀"), (60_000, 60_011, "")],
    ),
    "all of it": (HEAD + BODY, [(0, len(HEAD + BODY), ""), (0, 0, BODY)]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_named_edits(name: str) -> None:
    text, edits = EXAMPLES[name]
    live = LiveDocument.open(text)
    check_equal(live.edit(edits), applied(text, edits))
    for edit in edits:
        live = live.edit([edit])
        text = applied(text, [edit])
        check_equal(live, text)


def test_every_keystroke() -> None:
    text = (HEAD + BODY)[: len(HEAD) + 330]
    live = LiveDocument.open("")
    for at, character in enumerate(text):
        live = live.edit([(at, at, character)])
        assert live.diagnostics == tuple(parse(text[: at + 1])[1])
    assert live.document == parse(text)[0]
    for at in reversed(range(len(text))):
        live = live.edit([(at, at + 1, "")])
        assert live.diagnostics == tuple(parse(text[:at])[1])


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the parts that are read, as they are."""
    texts: list[str] = []

    def section(window: Window, node: Node, left: Left | None) -> SectionReading:
        texts.append(window.text_of(node))
        return read_section(window, node, left)

    def head(window: Window, node: Node | None) -> Head:
        texts.append("head")
        return read_head(window, node)

    monkeypatch.setattr("dlm_engine.document.reading.read_section", section)
    monkeypatch.setattr("dlm_engine.document.reading.read_head", head)
    return texts


def test_an_edit_reads_only_its_section(read: list[str]) -> None:
    live = LiveDocument.open(ADAPTERS + LONG)
    assert len(read) == 301
    for n in range(150):
        read.clear()
        at = live.text.index(f"Words of {n}:")
        live = live.edit([(at, at, "More w"), (at + 6, at + 7, "")])
        assert live.diagnostics == ()
        assert [part.count(f"More words of {n}:") for part in read] == [1]


def test_an_edit_between_sections_reads_the_two_that_meet(read: list[str]) -> None:
    live = LiveDocument.open(ADAPTERS + LONG)
    at = live.text.index("::prose#tone::\n# Part 70\n")
    read.clear()
    live.edit([(at, at, "x\n")])
    assert [part[:15] for part in read] == ["::instruction::", "::prose#tone::\n"]


def test_an_edit_reads_as_far_as_it_reaches(read: list[str]) -> None:
    sections = [f"::prose::\nWords of {n}.\n" for n in range(100)]
    sections[43] += "```\n"
    live = LiveDocument.open(HEAD + "".join(sections))
    at = live.text.index("Words of 40.")
    read.clear()
    swallowing = live.edit([(at, at, "```\n")])
    assert [part.count("Words") for part in read] == [4]
    read.clear()
    swallowing.edit([(at, at + 4, "")])
    assert read == sections[40:44]
    end = swallowing.text.index("::prose::\nWords of 44.")
    read.clear()
    swallowing.edit([(end - 4, end - 1, "")])
    assert [part.count("Words") for part in read] == [1, 1, 1, 1]


def test_an_edit_of_the_frontmatter_reads_no_section(read: list[str]) -> None:
    live = LiveDocument.open(ADAPTERS + LONG)
    at = live.text.index("tone")
    read.clear()
    live = live.edit([(at, at + 4, "tune")])
    assert read == ["head"]
    assert {p.code for p in live.diagnostics} == {"fence-adapter-undeclared"}
    assert len(live.diagnostics) == 150


def test_edits_far_apart_read_only_where_they_are(read: list[str]) -> None:
    live = LiveDocument.open(ADAPTERS + LONG)
    edits = [(at, at, "x") for n in (140, 77, 3) if (at := live.text.index(f"Words of {n}:"))]
    read.clear()
    live.edit(edits)
    assert [part.count("xWords") for part in read] == [1, 1, 1]


@pytest.mark.parametrize("edit", [(-1, 0, ""), (0, 3, ""), (2, 1, "")])
def test_an_edit_outside_the_text_is_refused(edit: tuple[int, int, str]) -> None:
    with pytest.raises(ValueError, match="not inside 2 characters"):
        LiveDocument.open("ab").edit([edit])


@pytest.mark.parametrize("line", [-1, 2])
def test_there_is_no_such_line(line: int) -> None:
    with pytest.raises(IndexError):
        LiveDocument.open("a\nb").line_start(line)


def test_the_frontmatter_and_its_ends() -> None:
    live = LiveDocument.open("\ufeff---\na: 1\n---\nx")
    inside = [offset for offset in range(len(live.text) + 1) if live.in_frontmatter(offset)]
    assert inside == list(range(1, 14))
    assert not LiveDocument.open("x").in_frontmatter(0)


def test_sections_of_a_range() -> None:
    live = LiveDocument.open(HEAD + "a\n::prose::\nb\n::prose::\n\n::prose::\nc\n")
    body = len(HEAD)
    end = len(live.text)

    def contents(start: int, stop: int) -> list[str]:
        return [section.content for section in live.sections_in(start, stop)]

    assert contents(0, end) == ["a", "b", "c"]
    assert contents(body, body + 2) == ["a"]
    assert contents(body, body + 3) == ["a", "b"]
    assert contents(body + 5, body + 5) == ["b"]
    assert contents(end, end) == ["c"]
    assert contents(0, body) == []
