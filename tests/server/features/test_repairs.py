"""Fixes of problems for which the engine proposes none: each removes its own and adds no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from tests.server.features.cursor import HEAD, declared, selected
from tests.server.features.random_documents import documents

from dlm_engine.checks import check_surroundings
from dlm_engine.document import Diagnostic, LiveDocument, apply_edits, parse
from dlm_server.features.actions import Action, actions
from dlm_server.features.edit_pieces import edited
from dlm_server.features.repairs import repairs

PAIR = "::instruction::\n### Q\na\n### A\nb\n"
LONG = "word and word. " * 700
MINED = (
    'judge_name="j" judge_score_chosen="1.5" judge_score_rejected="-2" '
    'mined_at="2026-01-02T03:04:05Z" mined_run_id="3"'
)
NEW_ID = re.compile(r"dlm_id: [0-9A-Z]{26}")


def front(lines: str) -> str:
    return f"{HEAD[:-4]}{lines}---\n"


def problems(live: LiveDocument, folder: Path | None = None) -> list[Diagnostic]:
    return [*live.diagnostics, *check_surroundings(live, folder)]


def fixed(marked: str, title: str, folder: Path | None = None) -> tuple[Action, str]:
    """The quick fix of this title at the marked place, and the text after it."""
    live, span = selected(marked)
    found = actions(live, problems(live, folder), span, ["quickfix"])
    assert title in [a.title for a in found], ([a.title for a in found], problems(live, folder))
    action = next(a for a in found if a.title == title)
    new = apply_edits(live.text, action.edits)
    before = Counter(p.code for p in problems(live, folder))
    after = Counter(p.code for p in problems(LiveDocument.open(new), folder))
    assert action.code is not None
    assert after[action.code] < before[action.code]
    assert after <= before, after - before
    return action, new


#: code, document with the place marked, title, and what it becomes
FIXES: list[tuple[str, str, str, str | None]] = [
    (
        "key-unknown",
        front("⟦wibble⟧: 3 # what\nexport: {}\n"),
        "Remove wibble",
        front("export: {}\n"),
    ),
    (
        "key-unknown",
        front("training:\n  seed: 3\n  ⟦wibble⟧:\n    - 3\n    - 4\n"),
        "Remove wibble",
        front("training:\n  seed: 3\n"),
    ),
    ("key-unknown", front("training:\n  ⟦wibble⟧: 3\n"), "Remove wibble", HEAD),
    (
        "value-range",
        front("training:\n  lora_r: ⟦0⟧\n  seed: 3\n"),
        "Remove lora_r: its default holds",
        front("training:\n  seed: 3\n"),
    ),
    (
        "value-choice",
        front("training:\n  seed: 3\n  adapter: ⟦zzzzzzzz⟧\n"),
        "Remove adapter: its default holds",
        front("training:\n  seed: 3\n"),
    ),
    (
        "value-type",
        front("training:\n  lora_r: ⟦many⟧\n  seed: 3\n"),
        "Remove lora_r: its default holds",
        front("training:\n  seed: 3\n"),
    ),
    (
        "setting-refused",
        front("training:\n  precision: ⟦fp16⟧\n  seed: 3\n"),
        "Remove precision: its default holds",
        front("training:\n  seed: 3\n"),
    ),
    (
        "setting-refused",
        front("training:\n  precision: ⟦fp16⟧\n"),
        "Remove precision: its default holds",
        HEAD,
    ),
    (
        "setting-refused",
        front("training:\n  target_modules: [q_proj, ⟦nobody⟧]\n"),
        "Set target_modules to auto",
        front("training:\n  target_modules: auto\n"),
    ),
    (
        "setting-refused",
        front("training:\n  preference:\n    method: dpo\n    hyperparams:\n      beta: ⟦0⟧\n"),
        "Set beta to 0.1",
        front("training:\n  preference:\n    method: dpo\n    hyperparams:\n      beta: 0.1\n"),
    ),
    (
        "source-missing",
        front(
            "training:\n  sources:\n    - path: /no/one\n"
            "    - path: ⟦/no/where⟧\n      include: ['*']\n"
        ),
        "Remove this source",
        front("training:\n  sources:\n    - path: /no/one\n"),
    ),
    (
        "source-missing",
        front("training:\n  seed: 3\n  sources:\n    - path: ⟦/no/where⟧\n"),
        "Remove this source",
        front("training:\n  seed: 3\n"),
    ),
    (
        "section-long",
        front("training:\n  sequence_len: 512\n") + f"⟦::prose::⟧\n{LONG}\n",
        "Raise training.sequence_len to 2816",
        front("training:\n  sequence_len: 2816\n") + f"::prose::\n{LONG}\n",
    ),
    (
        "section-refused",
        HEAD + PAIR + '\n⟦::image path="/etc/hostname" alt="x"::⟧\nwords\n\n::prose::\ny\n',
        "Remove this section",
        HEAD + PAIR + "\n::prose::\ny\n",
    ),
    (
        "section-empty",
        HEAD + PAIR + "\n⟦::prose::⟧\n\n" + PAIR[:-2] + "c\n",
        "Remove this section",
        None,
    ),
    (
        "section-text-unused",
        HEAD + '::audio path="/etc/hostname" transcript="x"::\n⟦words⟧\n',
        "Put it in a section of prose",
        HEAD + '::audio path="/etc/hostname" transcript="x"::\n::prose::\nwords\n',
    ),
    (
        "header-outside-section",
        HEAD + "Some words.\n\n⟦### Q⟧\na\n### A\nb\n",
        "Begin a section here: ::instruction::",
        HEAD + "Some words.\n\n::instruction::\n### Q\na\n### A\nb\n",
    ),
    (
        "header-outside-section",
        declared("tone") + "::prose#tone::\nx\n\n⟦### Q⟧\na\n### A\nb\n",
        "Begin a section here: ::instruction#tone::",
        declared("tone") + "::prose#tone::\nx\n\n::instruction#tone::\n### Q\na\n### A\nb\n",
    ),
    (
        "answer-empty",
        HEAD + "::instruction::\n### Q\na\n⟦### A⟧\n\n### Q\nc\n### A\nd\n",
        "Write words to replace",
        HEAD + "::instruction::\n### Q\na\n### A\nWrite the answer here.\n\n### Q\nc\n### A\nd\n",
    ),
    (
        "question-empty",
        HEAD + "::instruction::\n⟦### Q !probe⟧\n### A\nb\n",
        "Write words to replace",
        HEAD + "::instruction::\n### Q !probe\nWrite the question here.\n### A\nb\n",
    ),
    (
        "preference-empty",
        HEAD + "::preference::\n### Prompt\na\n### Chosen\nb\n⟦### Rejected⟧",
        "Write words to replace",
        HEAD
        + "::preference::\n### Prompt\na\n### Chosen\nb\n### Rejected\n"
        + "Write the worse answer here.",
    ),
    (
        "question-duplicate",
        HEAD + PAIR + "\n### Q\n⟦a⟧\n### A\nb\n\n### Q\nc\n### A\nd\n",
        "Remove this repeated question",
        HEAD + PAIR + "\n### Q\nc\n### A\nd\n",
    ),
    (
        "question-duplicate",
        HEAD + PAIR + PAIR.replace("a\n", "⟦a⟧\n"),
        "Remove this section",
        HEAD + PAIR,
    ),
    (
        "attribute-missing",
        HEAD + '⟦::audio path="/etc/hostname"::⟧\n',
        "Add transcript",
        HEAD + '::audio path="/etc/hostname" transcript="Write what is said here."::\n',
    ),
    (
        "attribute-duplicate",
        HEAD + '::image path="/etc/hostname" ⟦path⟧="b"::\n',
        "Remove this attribute",
        HEAD + '::image path="/etc/hostname"::\n',
    ),
    (
        "attribute-unknown",
        HEAD + '::image path="/etc/hostname" ⟦wibble⟧="b" alt="c"::\n',
        "Remove this attribute",
        HEAD + '::image path="/etc/hostname" alt="c"::\n',
    ),
    (
        "marker-misplaced",
        HEAD + PAIR.replace("::\n", f"::\n⟦<!-- dlm-auto-mined: {MINED} -->⟧\n"),
        "Remove the marker",
        HEAD + PAIR,
    ),
    ("frontmatter-missing", "⟦⟧" + PAIR, "Add a frontmatter for smollm2-135m", None),
    ("frontmatter-missing", "⟦⟧", "Add a frontmatter for smollm2-135m", None),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("code", "marked", "title", "expected"), FIXES)
def test_a_fix_removes_its_problem_and_adds_none(
    code: str, marked: str, title: str, expected: str | None, ending: str, tmp_path: Path
) -> None:
    action, new = fixed(marked.replace("\n", ending), title, tmp_path)
    assert action.code == code
    if expected is not None:
        assert new == expected.replace("\n", ending)
    if ending == "\r\n" and "\n" in marked:
        assert "\n" not in new.replace("\r\n", "")


def test_every_kind_of_repair_is_in_the_table() -> None:
    source = Path(repairs.__code__.co_filename).read_text()
    cases = re.findall(r"^        case (.*?):?$", source, re.MULTILINE)
    codes = {code for case in cases for code in re.findall(r'"([a-z-]+)"', case)}
    # Of these the twin is there.
    codes -= {"source-denied", "marker-malformed", "value-conflict"}
    assert codes == {code for code, *_ in FIXES}


@pytest.mark.parametrize(
    "marked",
    [
        # whose names and values are needed, or hold more than the problem
        front("training: {precision: ⟦fp16⟧, seed: 3}\n"),
        front("training:\n  adapters:\n    ⟦versions⟧: {}\n"),
        # nothing to raise: the base takes no more, or is not known
        HEAD + "⟦::prose::⟧\n" + LONG * 20 + "\n",
        HEAD.replace("smollm2-135m", "hf:some/model") + "⟦::prose::⟧\n" + LONG + "\n",
        # the heading would begin what the answer below it does not belong to
        HEAD + "words\n\n⟦### A⟧\nb\n",
        HEAD + "words\n\n⟦### Q⟧\nb\n",
        # whose words the author alone knows
        HEAD + PAIR + PAIR.replace("b\n", "c\n").replace("a\n", "⟦a⟧\n"),
        HEAD + "::preference::\n### Prompt\na\n### Chosen\nb\n⟦### Rejected⟧\nb\n",
        HEAD + '⟦::audio transcript="x"::⟧\n',
        "---\nbase_model: smollm2-135m\n⟦base_model⟧: qwen3-4b\n---\n",
    ],
)
def test_what_only_the_author_knows_has_no_fix(marked: str, tmp_path: Path) -> None:
    live, span = selected(marked)
    found = problems(live, tmp_path)
    assert [p for p in found if p.span.start <= span.end and span.start <= p.span.end]
    offered = {a.title for a in actions(live, found, span, ["quickfix"])}
    assert offered <= {"Remove this section", "Give the document a new id"}, offered
    if "::audio" not in marked:
        assert not offered - {"Give the document a new id"}


def test_a_new_frontmatter_has_an_id_of_its_own() -> None:
    ids = set()
    for text in (f"⟦⟧{PAIR}", f"\ufeff⟦⟧{PAIR}", "⟦⟧"):
        _, new = fixed(text, "Add a frontmatter for smollm2-135m")
        document, found = parse(new)
        assert document.frontmatter is not None
        assert not [p for p in found if p.code.startswith("frontmatter")]
        assert new.startswith("\ufeff") == text.startswith("\ufeff")
        ids.update(NEW_ID.findall(new))
    assert len(ids) == 3


@settings(max_examples=120)
@given(documents())
def test_any_repair_of_any_document_adds_no_problem(text: str) -> None:
    live = LiveDocument.open(text)
    before = Counter(p.code for p in problems(live))
    for problem in problems(live)[:20]:
        for title, edits in repairs(live, problem):
            new = edited(live, edits)
            after = Counter(p.code for p in problems(new))
            assert after[problem.code] < before[problem.code], (title, problem)
            assert after <= before, (title, problem, after - before)
            assert new.text == apply_edits(text, edits)
