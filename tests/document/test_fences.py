"""Fences: what is one, what is almost one, and what stands on it."""

from __future__ import annotations

import pytest
from tests.document.marked import HEAD, check_body, fixed

from dlm_engine.document import SectionType, parse

DECLARED = HEAD.replace(
    "base_model: smollm2-135m\n",
    "base_model: smollm2-135m\ntraining:\n  adapters:\n    knowledge: {}\n    tone: {}\n",
)
QA = "### Q\na\n### A\nb\n"


def kinds(body: str) -> list[str]:
    return [s.type.value for s in parse(HEAD + body)[0].sections]


def test_every_type_of_section_is_read() -> None:
    body = (
        "\nfirst\n\n::instruction::\n" + QA + "::preference::\n"
        "### Prompt\np\n### Chosen\nc\n### Rejected\nr\n"
        '::image path="a.png" alt="x"::\ncaption\n'
        '::audio path="a.wav" transcript="hello"::\n'
        "::prose::\nlast\n"
    )
    assert check_body(body) == []
    assert kinds(body) == ["prose", "instruction", "preference", "image", "audio", "prose"]


@pytest.mark.parametrize(
    "body",
    [
        "⟦fence-near-miss|:: instruction ::⟧\n",
        " ⟦fence-near-miss|::instruction::⟧\n",
        "::⟦fence-near-miss|Instruction⟧::\n" + QA,
        "::instruction::⟦fence-near-miss|  ⟧\n" + QA,
        "⟦fence-near-miss|::instruction⟧\n",
        "⟦fence-near-miss|:instruction:⟧\n",
        "⟦fence-near-miss|：：instruction：：⟧\n",
        "::⟦fence-unknown|instrction⟧::\n" + QA,
        "::⟦fence-unknown|poem⟧::\nroses\n",
        "::prose#⟦fence-adapter-undeclared|tone⟧::\nx\n",
        "::prose#⟦fence-adapter-invalid|Tone⟧::\nx\n",
        "⟦fence-adapter-invalid|::prose#::⟧\nx\n",
        "⟦fence-attributes-required|::image::⟧\n",
        "⟦fence-attributes-required|::audio#x::⟧\n",
        '::prose ⟦fence-attributes-refused|path="x"⟧::\nx\n',
        "⟦fence-attributes-malformed|::image path=a.png::⟧\n",
        '⟦attribute-missing|::image alt="x"::⟧\n',
        '::image ⟦attribute-unknown|pth⟧="x" path="y"::\n',
        '::image path="x" ⟦attribute-duplicate|path⟧="y"::\n',
        '::image path=⟦attribute-empty|""⟧::\n',
        '::image path="⟦attribute-not-ascii|é.png⟧"::\n',
        '::audio path="x" transcript=⟦attribute-empty|""⟧::\n',
        '::audio path="x" transcript="y"::\n⟦section-text-unused|more⟧\n',
        "⟦section-empty|::instruction::⟧\n\n::prose::\nx\n",
        "⟦section-empty|::prose::⟧\n",
        "words\n⟦code-block-unclosed|```⟧py\nx\n",
    ],
)
def test_complaint_is_at_its_place(body: str) -> None:
    check_body(body)


@pytest.mark.parametrize(
    ("before", "code", "after"),
    [
        (":: instruction ::\n" + QA, "fence-near-miss", "::instruction::\n" + QA),
        ("::Preference#tone::\n", "fence-near-miss", "::preference#tone::\n"),
        ("::instruction:: \n" + QA, "fence-near-miss", "::instruction::\n" + QA),
        ("::intsruction::\n" + QA, "fence-unknown", "::instruction::\n" + QA),
        ("::prose#tome::\nx\n", "fence-adapter-undeclared", "::prose#tone::\nx\n"),
        ("::prose#Tone::\nx\n", "fence-adapter-invalid", "::prose#tone::\nx\n"),
        ('::prose a="b"::\nx\n', "fence-attributes-refused", "::prose::\nx\n"),
        ('::image pth="b"::\n', "attribute-unknown", '::image path="b"::\n'),
        ("~~~~\ncode\n", "code-block-unclosed", "~~~~\ncode\n~~~~\n"),
    ],
)
def test_fix_removes_the_cause(before: str, code: str, after: str) -> None:
    text = fixed(DECLARED + before, code)
    assert text == DECLARED + after
    assert code not in {p.code for p in parse(text)[1]}


def test_wrong_case_is_understood_and_unknown_type_loses_no_text() -> None:
    assert kinds("::Instruction::\n" + QA) == ["instruction"]
    (section,) = parse(HEAD + "::poem::\nroses\n")[0].sections
    assert (section.type, section.content) == (SectionType.PROSE, "roses")


def test_declared_adapters_are_accepted_on_every_text_section() -> None:
    text = DECLARED + "::instruction#knowledge::\n" + QA + "::prose#tone::\nx\n"
    document, problems = parse(text)
    assert problems == []
    assert [s.adapter for s in document.sections] == ["knowledge", "tone"]


@pytest.mark.parametrize(
    "block",
    [
        "```\n::instruction::\n### Q\n```",
        "~~~\n::instruction::\n~~~",
        "   ```\n::instruction::\n   ```",
        "````\n```\n::instruction::\n````",
        "```py\n~~~\n::instruction::\n```",
    ],
)
def test_code_blocks_hide_fences(block: str) -> None:
    body = f"text\n\n{block}\n\nmore\n"
    assert check_body(body) == []
    assert kinds(body) == ["prose"]


def test_unclosed_code_block_does_not_hide_what_follows() -> None:
    assert kinds("```py\nx = 1\n\n::instruction::\n" + QA) == ["prose", "instruction"]


def test_prose_that_looks_like_questions_is_pointed_at() -> None:
    check_body("⟦header-outside-section|### Q⟧\na\n⟦header-outside-section|### A⟧\nb\n")
