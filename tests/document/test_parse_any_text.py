"""Parsing never raises, whatever the text, and its promises hold for all of it."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.document.marked import HEAD

from dlm_engine.document import CODES, apply_edits, parse, serialise

VALID = (
    "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\nbase_model: smollm2-135m # é\n"
    "training:\n  lora_r: 8\n  adapters: &a\n    tone: {lora_r: 4}\n    knowledge: {}\n"
    "  sources:\n    - path: ./src\n      include: ['*.py']\nexport:\n  default_quant: Q8_0\n"
    'system_prompt: |\n  Be "brief" 😀.\n---\n\n# Title\n\nprose with `code`\n\n'
    '::instruction#tone::\n<!-- dlm-auto-harvest: source="x" -->\n### Q !probe\nwhy?\n\n### A\n'
    "```py\n### Q\n```\n\n### Q\nb\n### A\nc\n\n::preference::\n### Prompt\na\n### Chosen\nb\n"
    '### Rejected\nc\n\n::image path="a.png" alt="x"::\ncaption\n\n::prose::\nend\n'
)
PIECES = [
    "---", "\n", "\r\n", "\r", "::", "instruction", "::instruction::", "::prose#a::", "### Q",
    "### A", "### q", "```", "~~~", "dlm_version: ", "training:", "  ", "\t", ": ", "- ", "[", "}",
    "&a ", "*a", "<<: *a", "|", ">", '"', "'", "!!int ", "#", "\ufeff", "\u2028", "\x00", "\ud800",
    "😀", "é", "\x85", '::image path="', "<!-- dlm-auto-mined: ", " -->", "1e400", "0x", "!probe",
    "::Instruction::", "### Prompt", "### Chosen", "### Rejected", "2024-13-45", "%YAML", "...",
]  # fmt: skip


def check_promises(text: str) -> None:
    document, problems = parse(text)
    assert document.text == text
    assert parse(text)[1] == problems
    assert [p.span for p in problems] == sorted(p.span for p in problems)
    for problem in problems:
        assert problem.code in CODES
        assert problem.severity is CODES[problem.code].severity
        assert problem.message
        assert 0 <= problem.span.start <= problem.span.end <= len(text)
        if problem.fix is not None:
            edits = sorted(problem.fix.edits, key=lambda e: e.span)
            assert all(0 <= e.span.start <= e.span.end <= len(text) for e in edits)
            assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(edits))
            parse(apply_edits(text, edits))
    at = document.body_start
    for section in document.sections:
        assert at <= section.span.start <= section.span.end <= len(text)
        at = section.span.end
        for pair in section.pairs:
            assert pair.question == pair.question.strip() != ""
            assert pair.answer == pair.answer.strip() != ""
    for key in document.keys.values():
        assert 0 <= key.key.start <= key.key.end <= document.body_start
    if not any(p.severity.value == "error" for p in problems):
        once = serialise(document)
        assert [s.id for s in parse(once)[0].sections] == [s.id for s in document.sections]
        assert serialise(parse(once)[0]) == once


@given(st.text(alphabet=st.characters(), max_size=200))
@settings(deadline=None)
def test_random_characters(text: str) -> None:
    check_promises(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40), st.sampled_from(["", "---\n", HEAD]))
@settings(deadline=None, max_examples=120)
def test_random_pieces(pieces: list[str], head: str) -> None:
    check_promises(head + "".join(pieces))


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_damaged_documents(data: st.DataObject) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.sampled_from(["", *PIECES])) + text[at + gone :]
    check_promises(text)


def test_every_prefix_of_a_document() -> None:
    for end in range(0, len(VALID), 11):
        check_promises(VALID[:end])


def test_the_whole_document_is_sound() -> None:
    assert parse(VALID)[1] == []


def big(lines_per_section: int) -> str:
    rng = random.Random(0)
    parts = [HEAD]
    size = 0
    while size < 1_000_000:
        words = " ".join(rng.choice(("lamp", "tea", "é", "river", "two")) for _ in range(10))
        pair = f"### Q\nWhat is {len(parts)} {words}?\n\n### A\nIt is {words}.\n\n"
        section = "::instruction::\n" + pair
        parts.append(section if len(parts) % lines_per_section == 0 else pair)
        size += len(parts[-1])
    return parts[0] + "::instruction::\n" + "".join(parts[1:])


HARD = {
    "many sections": "::prose::\nx\n\n",
    "near fences": ":: x ::\n",
    "near headers": "::instruction::\n### q\nx\n### a\ny\n",
    "questions only": "### Q\nx\n",
    "code fences": "```\n",
    "open blocks": "::instruction::\n```py\n",
    "blank lines": "\n",
    "one line": "word é ",
    "carriage returns": "x\r",
    "attributes": 'path="é" ',
}


@pytest.mark.parametrize("name", HARD)
def test_time_grows_with_the_text_only(name: str) -> None:
    def seconds(size: int) -> float:
        text = HEAD + "::instruction::\n::image " + HARD[name] * (size // len(HARD[name]))
        found = []
        for _ in range(3):
            start = time.process_time()
            parse(text)
            found.append(time.process_time() - start)
        # The quickest of three: whatever else the machine does only ever adds.
        return min(found)

    # Eight times the text: 8x when linear, 64x when quadratic.
    assert seconds(160_000) < 24 * max(seconds(20_000), 0.01)


def test_a_megabyte_is_parsed_in_a_moment() -> None:
    text = big(5)
    start = time.process_time()
    document, problems = parse(text)
    taken = time.process_time() - start
    assert len(document.sections) > 1000
    assert problems == []
    # About 0.4 s on one quiet core; the bound leaves room for a busy one.
    assert taken < 10
