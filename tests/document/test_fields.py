"""Questions, answers and preferences."""

from __future__ import annotations

import pytest
from tests.document.marked import HEAD, check_body, fixed, unmark

from dlm_engine.document import QuestionAnswer, parse


def pairs(body: str) -> list[tuple[str, str]]:
    document, _ = parse(HEAD + unmark(body)[0])
    return [(p.question, p.answer) for s in document.sections for p in s.pairs]


def triples(body: str) -> list[tuple[str, str, str]]:
    document, _ = parse(HEAD + unmark(body)[0])
    return [(t.prompt, t.chosen, t.rejected) for s in document.sections for t in s.triples]


I = "::instruction::\n"  # noqa: E741
GOOD = "### Q\ngood\n### A\nyes\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (I + GOOD, [("good", "yes")]),
        (I + "\n\n  ### Q \n\n a\n\n b \n\n### A\nc\n\n", [("a\n\n b", "c")]),
        (I + "### Q\na\n### A\n```\n### A\n### Q\n```\n", [("a", "```\n### A\n### Q\n```")]),
        (I + "### Q\na\u2028### A\nb\n### A\nc", [("a\u2028### A\nb", "c")]),
        (I + "⟦answer-missing|### Q⟧\na\n" + GOOD, [("good", "yes")]),
        (I + GOOD + "⟦answer-missing|### Q⟧\na\n", [("good", "yes")]),
        (I + "⟦question-missing|### A⟧\na\n" + GOOD, [("good", "yes")]),
        (I + GOOD + "⟦question-missing|### A⟧\nx\n", [("good", "yes")]),
        (I + "### Q\na\n⟦answer-empty|### A⟧\n\n" + GOOD, [("good", "yes")]),
        (I + "⟦question-empty|### Q⟧\n### A\nb\n" + GOOD, [("good", "yes")]),
        (I + "⟦text-before-header|hello⟧\nmore\n" + GOOD, [("good", "yes")]),
        (I + "⟦text-before-header|only words⟧\n", []),
        (I + "⟦header-malformed|### q⟧\na\n### A\nb\n", [("a", "b")]),
        (I + "### Q\na\n⟦header-malformed|## A⟧\nb\n" + GOOD, [("a", "b"), ("good", "yes")]),
        (I + "### Q\na\n⟦header-malformed|###A⟧\nb\n", [("a", "b")]),
        (I + "### Q\na\n### A\nb\n⟦header-malformed|### Question⟧\nc\n### A\nd\n",
         [("a", "b"), ("c", "d")]),
        (I + "### Q\na\n### A\nb\n⟦header-near-miss|### q⟧\nc\n", [("a", "b\n### q\nc")]),
        (I + "### Q\na\n### A\nb\n### Notes\nc\n", [("a", "b\n### Notes\nc")]),
    ],
)  # fmt: skip
def test_pairs_and_complaints(body: str, expected: list[tuple[str, str]]) -> None:
    check_body(body)
    assert pairs(body) == expected


P = "::preference::\n"
TRIPLE = "### Prompt\np\n### Chosen\nc\n### Rejected\nr\n"


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (P + TRIPLE + TRIPLE, 2),
        (P + "⟦preference-missing|### Prompt⟧\na\n### Chosen\nb\n" + TRIPLE, 1),
        (P + "⟦preference-missing|### Chosen⟧\na\n" + TRIPLE, 1),
        (P + "### Prompt\na\n⟦preference-order|### Rejected⟧\nb\n### Chosen\nc\n" + TRIPLE, 1),
        (P + "### Prompt\na\n### Chosen\nb\n⟦preference-empty|### Rejected⟧\n" + TRIPLE, 1),
        (P + "### Prompt\na\n### Chosen\nb\n⟦preference-equal|### Rejected⟧\nb\n", 1),
        (P + "### Prompt\na\n⟦header-malformed|### chosen⟧\nb\n### Rejected\nc\n", 1),
        (P + TRIPLE + "⟦preference-order|### Rejected⟧\nx\n" + TRIPLE, 1),
        (P + "⟦text-before-header|words⟧\n" + TRIPLE, 1),
    ],
)
def test_triples_and_complaints(body: str, count: int) -> None:
    check_body(body)
    assert triples(body) == [("p", "c", "r")] * count or len(triples(body)) == count


def test_probe_is_marked_and_kept_as_a_pair() -> None:
    (section,) = parse(HEAD + I + "### Q !probe\na\n### A\nb\n")[0].sections
    (pair,) = section.pairs
    assert (pair.question, pair.answer, pair.probe) == ("a", "b", True)


def test_places_of_texts_are_exact() -> None:
    text = (
        HEAD.replace("\n", "\r\n") + "::instruction::\r\n### Q\r\n 😀 why?\r\n\r\n### A\r\nso\r\n"
    )
    (section,) = parse(text)[0].sections
    (pair,) = section.pairs
    assert isinstance(pair, QuestionAnswer)
    assert text[pair.question_span.start : pair.question_span.end] == "😀 why?"
    assert text[pair.answer_span.start : pair.answer_span.end] == "so"


@pytest.mark.parametrize(
    ("near", "after"),
    [
        ("### q", "### Q\nwhy?"),
        ("###Q", "### Q\nwhy?"),
        ("### Question:", "### Q\nwhy?"),
        ("### q !probe", "### Q !probe\nwhy?"),
    ],
)
def test_fix_of_a_header(near: str, after: str) -> None:
    text = HEAD + I + f"{near}\nwhy?\n### A\nso\n"
    assert fixed(text, "header-malformed") == HEAD + I + after + "\n### A\nso\n"


def test_fix_moves_text_behind_a_header_to_its_own_line() -> None:
    text = HEAD + I + "### Q: why?\n### A\nso\n"
    assert fixed(text, "header-malformed") == HEAD + I + "### Q\nwhy?\n### A\nso\n"


def test_same_question_twice() -> None:
    check_body(I + GOOD + I + "### Q\n⟦question-duplicate|good⟧\n### A\nyes\n")
    problems = check_body(I + GOOD + I + "### Q\n⟦question-contradiction|good⟧\n### A\nno\n")
    assert "line 8" in problems[0].message


def test_same_question_to_two_adapters_is_no_contradiction() -> None:
    head = HEAD.removesuffix("---\n") + "training: {adapters: {a: {}, b: {}}}\n---\n"
    text = head + "::instruction#a::\n" + GOOD + "::instruction#b::\n### Q\ngood\n### A\nno\n"
    assert parse(text)[1] == []
