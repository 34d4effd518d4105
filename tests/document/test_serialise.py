"""The canonical form, and that reading it back loses nothing."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.document.marked import HEAD

from dlm_engine.document import Document, parse, serialise
from dlm_engine.document.yaml_text import literal_lines, scalar_text
from dlm_engine.errors import DocumentError

TOP = HEAD.removesuffix("---\n")


def again(text: str) -> tuple[Document, Document, str]:
    before, problems = parse(text)
    assert problems == []
    once = serialise(before)
    after, problems = parse(once)
    assert problems == []
    assert serialise(after) == once
    return before, after, once


BODIES = [
    "x",
    "\n\n  indented\n\n\nmore  \n\n\n",
    "x\n::prose::\ny\n",
    "::prose::\nx\n::prose::\ny\n\n\n::prose::\nz",
    "::prose#a::\nx\n::instruction#b::\n### Q\na\n### A\nb\n\n\n\n::prose#a::\ny\n",
    "::preference::\n### Prompt\np\n### Chosen\nc\n### Rejected\nr\n",
    '::image path="a.png" alt="x y"::\ncaption\n\n::audio path="a" transcript="t"::\n',
    '::instruction::\n<!-- dlm-auto-harvest: source="a" -->\n'
    "### Q !probe\na\n### A\n```\n::x::\n```\n",
    '::preference::\n<!-- dlm-auto-mined: judge_name="j" judge_score_chosen="1e3" '
    'judge_score_rejected="0" mined_at="2026-01-01" mined_run_id="2" -->\n'
    "### Prompt\np\n### Chosen\nc\n### Rejected\nr\n",
    "",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_sections_survive(body: str, ending: str) -> None:
    text = TOP + "training: {adapters: {a: {}, b: {}}}\n---\n" + body
    before, after, _ = again(text.replace("\n", ending))
    shown = [
        [
            (s.type, s.id, s.content, s.adapter, s.attributes, s.provenance, s.fence_span is None)
            for s in document.sections
        ]
        for document in (before, after)
    ]
    assert shown[0] == shown[1]


FRONTMATTERS = [
    "",
    "training:\n  preference: {enabled: false}\n",
    "training:\n  lora_r: 8\n  preference:\n    hyperparams: {learning_rate: 5e-6, beta: 0}\n",
    "training:\n  target_modules: [q_proj, 'null', '1', 'a b']\n",
    "training:\n  target_modules: []\n  precision: null\n  micro_batch_size: 4\n",
    "training:\n  adapters:\n    a: {}\n    b: {lora_r: 4, target_modules: [q]}\n",
    "training:\n  sources:\n    - path: ./src\n      include: ['**/*.py', '*.md']\n"
    "    - {path: '~/x', max_files: 3}\n  sources_policy: strict\n",
    "training:\n  sources: []\n",
    "training: {}\nexport: {}\n",
    "export:\n  default_temperature: 1\n  default_top_p: 0.9\n",
    "system_prompt: ''\n",
    "system_prompt: null\n",
    "system_prompt: |\n  one\n\n  two: 3 # not a comment\n",
    "system_prompt: |-\n  one\n  two\n",
    'system_prompt: "  leading\\n tabs\\t"\n',
    'system_prompt: "\\u2028 \\x01 \\U0001F600 yes"\n',
]


@pytest.mark.parametrize("frontmatter", FRONTMATTERS)
def test_frontmatter_survives(frontmatter: str) -> None:
    before, after, _ = again(f"{TOP}{frontmatter}---\n\nx\n")
    assert before.frontmatter == after.frontmatter
    assert before.frontmatter is not None
    assert after.frontmatter is not None
    assert before.frontmatter.model_dump(exclude_unset=True) == after.frontmatter.model_dump(
        exclude_unset=True
    )


def test_canonical_form() -> None:
    text = (
        "---\nsystem_prompt: Be brief.\nbase_model: '123'\ntraining: {preference: {enabled: no}, "
        "learning_rate: 1e-5}\ndlm_version: 15\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n---\n"
        "first\n::prose::\nsecond\n\n\n\n::instruction::\n\n### Q\na\n### A\nb"
    )
    assert again(text)[2] == (
        "---\n"
        "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n"
        "dlm_version: 15\n"
        'base_model: "123"\n'
        "training:\n"
        "  learning_rate: 1.0e-05\n"
        "  preference:\n"
        "    enabled: false\n"
        'system_prompt: "Be brief."\n'
        "---\n"
        "\n"
        "first\n"
        "\n"
        "::prose::\n"
        "second\n"
        "\n"
        "::instruction::\n"
        "### Q\na\n### A\nb\n"
    )


def test_refuses_what_it_cannot_write() -> None:
    with pytest.raises(DocumentError):
        serialise(parse("no frontmatter")[0])


@settings(deadline=None)
@given(
    st.text(max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.booleans()
)
def test_every_value_is_read_back_by_yaml(value: str | float) -> None:
    read = yaml.safe_load(f"a: [{scalar_text(value)}]")["a"][0]
    assert read == value
    assert type(read) is type(value)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \n\t#:-'\"\u2028é"), max_size=20))
def test_block_scalars_are_read_back_by_yaml(value: str) -> None:
    lines = literal_lines(value, "    ")
    if lines is not None:
        read = yaml.safe_load("a:\n  b: " + "\n".join(lines) + "\n  c: 1\n")
        assert read == {"a": {"b": value, "c": 1}}
