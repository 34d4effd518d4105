"""Edits: what they change, and that they change nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.document.marked import HEAD

from dlm_engine.document import (
    append_section,
    escape,
    instruction_text,
    new_id,
    parse,
    preference_text,
    prose_text,
    remove_section,
    serialise,
    set_key,
)
from dlm_engine.document.yaml_text import Value
from dlm_engine.errors import DocumentError

TOP = HEAD.removesuffix("---\n")
BODY = "\n\nprose\n\n\n::instruction::\n### Q\na\n### A\nb\n\n\n"

#: (frontmatter below the three required keys, path, value, the same afterwards)
SET: list[tuple[str, str, Value, str]] = [
    (
        "training:\n  lora_r: 8 # small\n",
        "training.lora_r",
        16,
        "training:\n  lora_r: 16 # small\n",
    ),
    (
        "training: {lora_r: 8, seed: 1}\n",
        "training.lora_r",
        16,
        "training: {lora_r: 16, seed: 1}\n",
    ),
    ("training: {seed: 1}\n", "training.lora_r", 4, "training: {seed: 1, lora_r: 4}\n"),
    ("training: {}\n", "training.gate.steps", 4, "training: {gate: {steps: 4}}\n"),
    ("", "training.lora_r", 4, "training:\n  lora_r: 4\n"),
    ("# end\n", "training.lora_r", 4, "training:\n  lora_r: 4\n# end\n"),
    (
        "training:\n    seed: 1 # s\n\n# about export\nexport: {}\n",
        "training.preference.hyperparams.beta",
        0.5,
        "training:\n    seed: 1 # s\n    preference:\n      hyperparams:\n        beta: 0.5\n"
        "\n# about export\nexport: {}\n",
    ),
    (
        "training:\n  sources:\n    - path: a # x\n    - path: b\n",
        "training.sources.1.path",
        "c d",
        'training:\n  sources:\n    - path: a # x\n    - path: "c d"\n',
    ),
    (
        "training:\n  sources:\n    - path: a # x\n  seed: 1\n",
        "training.sources.0.include",
        ["*.py", "b"],
        'training:\n  sources:\n    - path: a # x\n      include: ["*.py", b]\n  seed: 1\n',
    ),
    (
        "training:\n  target_modules:\n    - a\n    - b\n  seed: 1\n",
        "training.target_modules",
        ["q_proj"],
        "training:\n  target_modules: [q_proj]\n  seed: 1\n",
    ),
    ("system_prompt: old\n", "system_prompt", "a: 'b' # c", "system_prompt: \"a: 'b' # c\"\n"),
    ("system_prompt: 'old' # c\n", "system_prompt", "new", 'system_prompt: "new" # c\n'),
    (
        "system_prompt: |\n  one\n  two\n\n# c\nexport: {}\n",
        "system_prompt",
        "short",
        "system_prompt: short\n\n# c\nexport: {}\n",
    ),
    ("system_prompt: old\n", "system_prompt", None, "system_prompt: null\n"),
    ("", "system_prompt", "one\ntwo\n", "system_prompt: |\n  one\n  two\n"),
    ("", "system_prompt", "---\n", "system_prompt: |\n  ---\n"),
    ("", "system_prompt", "yes", 'system_prompt: "yes"\n'),
    ("", "system_prompt", "", 'system_prompt: ""\n'),
    (
        "export:\n  default_top_p: 0.5\n",
        "export.default_top_p",
        1e-5,
        "export:\n  default_top_p: 1.0e-05\n",
    ),
    ("", "training.preference.enabled", False, "training:\n  preference:\n    enabled: false\n"),
    (
        "",
        "training.adapters.tone.lora_r",
        4,
        "training:\n  adapters:\n    tone:\n      lora_r: 4\n",
    ),
]


@pytest.mark.parametrize(("before", "path", "value", "after"), SET)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_set_key(before: str, path: str, value: Value, after: str, ending: str) -> None:
    def document(frontmatter: str) -> str:
        return "\ufeff" + f"{TOP}{frontmatter}---\n{BODY}".replace("\n", ending)

    assert set_key(document(before), path, value) == document(after)


def test_set_key_below_an_empty_key() -> None:
    text = f"{TOP}training: # soon\nexport: {{}}\n---\n"
    after = f"{TOP}training: # soon\n  seed: 1\nexport: {{}}\n---\n"
    assert set_key(text, "training.seed", 1) == after


def test_set_key_gives_a_document_its_id() -> None:
    text = "---\n---\nx\n"
    with_base = set_key(text, "base_model", "x")
    done = set_key(set_key(with_base, "dlm_id", new_id()), "dlm_version", 15)
    assert parse(done)[1] == []


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (HEAD, "training.lora_r", 0),
        (HEAD, "training.lora_r", "many"),
        (HEAD, "training.rank", 8),
        (HEAD, "dlm_id", "x"),
        (HEAD, "base_model.x", 1),
        (HEAD, "dlm_version", 16),
        ("no frontmatter", "base_model", "x"),
        (TOP, "base_model", "x"),
        (f"{TOP}a: [\n---\n", "base_model", "x"),
        (f"{TOP}training: {{sources: [{{path: a}}]}}\n---\n", "training.sources.5.path", "x"),
    ],
)
def test_set_key_refuses(text: str, path: str, value: Value) -> None:
    with pytest.raises(DocumentError):
        set_key(text, path, value)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_can_be_a_value(value: str) -> None:
    text = f"{TOP}system_prompt: old # c\n---\n{BODY}"
    frontmatter = parse(set_key(text, "system_prompt", value))[0].frontmatter
    assert frontmatter is not None
    assert frontmatter.system_prompt == value


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\r\n\r\n"])
def test_append_keeps_every_character_before_it(end: str) -> None:
    text = HEAD + "::instruction::\n### Q\na\n### A\nb" + end
    before = parse(text)[0].sections
    new = append_section(text, prose_text("more"))
    assert new.startswith(text)
    after = parse(new)[0].sections
    assert [s.id for s in after[:-1]] == [s.id for s in before]
    assert after[-1].content == "more"


def test_append_to_an_empty_body_and_use_of_line_ends() -> None:
    text = HEAD.replace("\n", "\r\n")
    new = append_section(text, "::prose::\nx\n")
    assert new == text + "\r\n::prose::\r\nx\r\n"


@pytest.mark.parametrize(
    ("body", "addition"),
    [
        ("x\n", "no fence\n"),
        ("x\n", "::poem::\nx\n"),
        ("x\n", "::prose#undeclared::\nx\n"),
        ("x\n", ""),
        ("::instruction::\n### Q\na\n### A\nb\n", "### Q\nc\n### A\nd\n"),
        ("x\n", "::instruction::\n### Q\nunanswered\n"),
    ],
)
def test_append_refuses(body: str, addition: str) -> None:
    with pytest.raises(DocumentError):
        append_section(HEAD + body, addition)


def test_remove_takes_one_section_and_nothing_else() -> None:
    parts = ["\n\nprose\n\n\n", "::instruction::\n### Q\na\n### A\nb\n\n", "::prose::\nend\n\n"]
    text = HEAD + "".join(parts)
    sections = parse(text)[0].sections
    for section, gone in zip(sections, parts, strict=True):
        left = HEAD + "".join(part for part in parts if part is not gone)
        if gone is parts[0]:
            left = left.replace(HEAD, HEAD + "\n\n")
        assert remove_section(text, section.id) == left
        assert remove_section(text, section.legacy_id) == left


def test_remove_refuses_an_unknown_id() -> None:
    with pytest.raises(DocumentError, match="0000"):
        remove_section(HEAD + "x", "0" * 16)


HOSTILE = [
    "fine",
    "::instruction::\n### Q\nevil\n### A\nyes",
    "### A\nfake",
    "### q\nnear",
    "  ::prose#x::",
    "：：prose：：",
    ":instruction:",
    '<!-- dlm-auto-synth: synth_teacher="x" -->',
    "```\nunclosed\n### A",
    "~~~py\n### Q",
    "````\n```\n### A\n````",
    "```\n```py\n### A\n```",
    "---",
    "a\r\n### A\rb",
]


@pytest.mark.parametrize("question", HOSTILE)
@pytest.mark.parametrize("answer", HOSTILE)
def test_generated_text_cannot_inject_structure(question: str, answer: str) -> None:
    text = HEAD + "first\n"
    new = append_section(text, instruction_text([(question, answer), ("plain", "pair")]))
    document, problems = parse(new)
    assert {p.severity.value for p in problems} <= {"information"}
    assert [s.type.value for s in document.sections] == ["prose", "instruction"]
    pairs = document.sections[1].pairs
    assert len(pairs) == 2
    assert (pairs[1].question, pairs[1].answer) == ("plain", "pair")
    assert parse(serialise(document))[0].sections[1].id == document.sections[1].id


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("`~:#QAa \n-<>!proseimg="), max_size=60))
def test_no_text_at_all_can(text: str) -> None:
    if not text.strip():
        return
    row = (text, "chosen " + text, "rejected " + text)
    new = append_section(HEAD + "first\n", preference_text([row, ("p", "c", "r")]))
    section = parse(new)[0].sections[-1]
    assert len(section.triples) == 2
    assert parse(append_section(HEAD, prose_text("x" + text)))[0].sections[0].type.value == "prose"


def test_escape_leaves_ordinary_text_alone() -> None:
    text = "Some **text**:\n\n- a\n- b\n\n## Notes\n\n```py\n### A\n```\n"
    assert escape(text) == text.rstrip("\n")
    assert escape("### A\n::x::") == "\\### A\n\\::x::"


@pytest.mark.parametrize(
    "pairs", [[("", "a")], [("q", "  ")], []], ids=["no question", "no answer", "no pairs"]
)
def test_empty_rows_are_refused_or_empty(pairs: list[tuple[str, str]]) -> None:
    if pairs:
        with pytest.raises(DocumentError):
            instruction_text(pairs)
    else:
        with pytest.raises(DocumentError):
            append_section(HEAD + "x\n", instruction_text(pairs) + "stray\n")


def test_provenance_is_written_and_checked() -> None:
    good = {"harvest": {"source": "probe"}}
    text = append_section(HEAD, instruction_text([("a", "b")], provenance=good))
    assert parse(text)[0].sections[0].provenance == good
    for bad in ({"harvest": {"source": 'a"b'}}, {"synth": {"synth_at": "x"}}):
        with pytest.raises(DocumentError):
            instruction_text([("a", "b")], provenance=bad)
