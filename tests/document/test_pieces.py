"""A section read in pieces equals one read in one go, and an edit reads few of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.document.marked import HEAD
from tests.document.test_live import ADAPTERS, SECRET, Change, applied, changes, check_equal
from tree_sitter import Node

from dlm_engine.document import Diagnostic, LiveDocument, pieces, reading, sections
from dlm_engine.document.fields import Field, read_fields
from dlm_engine.document.secrets import find_secrets
from dlm_engine.document.syntax import Window

PAIRS = "::instruction#tone::\n" + "".join(
    f"### Q{' !probe' if n % 5 == 0 else ''}\nWhat is {n % 17} 😀?\n\n### A\nIt is {n}.\n"
    + ("```py\n### Q\nx = 1\n```\n" if n % 3 == 0 else "")
    + ("### a:\nmore\n" if n % 7 == 0 else "")
    for n in range(24)
)
TRIPLES = "::preference::\nWords before.\n" + "".join(
    f"### Prompt\nSay {n}.\n### Chosen\nSo be {n}.\n### Rejected\nNo, é.\n\n" for n in range(16)
)
PROSE = "::prose::\n" + "".join(
    f"# Part {n}\n\nWords of {n}.\nAnd more: é.\n\n"
    + (f"~~~\n# no heading {n}\n~~~\n" if n % 3 == 0 else "")
    + (f"{SECRET}\n### Q\n" if n % 5 == 0 else "")
    for n in range(20)
)
UNFENCED = PROSE.removeprefix("::prose::\n")
BROKEN = PAIRS.replace("```\n", "", 4).replace("### A\n", "", 2)


@contextmanager
def small_pieces(least: int) -> Iterator[None]:
    """As if every section were large."""
    before = pieces.LARGE, pieces.LEAST
    pieces.LARGE, pieces.LEAST = 0, least
    try:
        yield
    finally:
        pieces.LARGE, pieces.LEAST = before


documents = st.builds(
    lambda head, body, more, end: (head + body + more).replace("\n", end),
    st.sampled_from([HEAD, ADAPTERS, ""]),
    st.sampled_from([PAIRS, TRIPLES, PROSE, UNFENCED, BROKEN]),
    st.sampled_from(["", "", TRIPLES, "```\n", "::prose::\n```\n# x\n"]),
    st.sampled_from(["\n", "\n", "\r\n", "\r"]),
)


@pytest.mark.parametrize("least", [1, 60, 400])
@settings(deadline=None, max_examples=40)
@given(text=documents, batches=st.lists(st.lists(changes, min_size=1, max_size=3), max_size=5))
def test_any_edits(least: int, text: str, batches: list[list[Change]]) -> None:
    with small_pieces(least):
        live = LiveDocument.open(text)
    check_equal(live, text)
    for batch in batches:
        edits = []
        for change in batch:
            edits.append(change.on(text))
            text = applied(text, edits[-1:])
        with small_pieces(least):
            live = live.edit(edits)
        check_equal(live, text)


TWINS = HEAD + "".join(
    f"::instruction#{name}::\n" + "### Q\nWhy?\n### A\nSo.\n### Q\nHow?\n### A\nThus.\n```\nx\n"
    for name in ("tone", "zone")
)
FENCES = {
    "another adapter of the same length": ("#tone", "#zone"),
    "another type of the same length": ("instruction#tone", "iNSTRUCTION#tone"),
    "another first line end": ("#tone::\n", "#tone::\r"),
    "no fence any more": ("::instruction#tone", ":.instruction#tone"),
}


@pytest.mark.parametrize("name", FENCES)
def test_what_a_fence_says_is_said_of_every_piece(name: str) -> None:
    old, new = FENCES[name]
    at = TWINS.index(old)
    for edits in (
        [(at, at + len(old), new)],
        [(at, at, new), (at + len(new), at + len(new + old), "")],
    ):
        with small_pieces(1):
            live = LiveDocument.open(TWINS).edit(edits)
        check_equal(live, applied(TWINS, edits))


LONG_PAIRS = (
    HEAD
    + "::instruction::\n"
    + "".join(f"### Q\nWhat is item {n}?\n\n### A\nIt is {n}.\n\n" for n in range(3000))
)
LONG_PROSE = HEAD + "".join(f"# Part {n}\n\nWords of {n}.\n\n" for n in range(3000))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many fields and blocks are read, and how many characters searched for secrets."""
    counts = [0, 0, 0]
    judge = sections._judge_block

    def fields(window: Window, nodes: Sequence[Node]) -> list[Field]:
        counts[0] += len(nodes)
        return read_fields(window, nodes)

    def block(*arguments: object) -> None:
        counts[1] += 1
        judge(*arguments)  # type: ignore[arg-type]

    def secrets(text: str) -> list[Diagnostic]:
        counts[2] += len(text)
        return find_secrets(text)

    monkeypatch.setattr(sections, "read_fields", fields)
    monkeypatch.setattr(sections, "_judge_block", block)
    monkeypatch.setattr(reading, "find_secrets", secrets)
    return counts


@pytest.mark.parametrize("text", [LONG_PAIRS, LONG_PROSE], ids=["pairs", "prose"])
@pytest.mark.parametrize("new", ["x", "\n\n", "```\n"])
def test_an_edit_of_a_large_section_reads_little(text: str, new: str, looked_at: list[int]) -> None:
    live = LiveDocument.open(text)
    assert max(looked_at[:2]) >= 3000
    assert looked_at[2] == len(text)
    for n in (1500, 1501, 10, 2990):
        looked_at[:] = [0, 0, 0]
        at = text.index(f" {n}.") + 1
        edited = live.edit([(at, at, new)])
        assert 0 < max(looked_at[:2]) < 500
        assert looked_at[2] < 50
        check_equal(edited, text[:at] + new + text[at:])
