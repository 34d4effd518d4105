"""Code actions: each leads to a document without its problem and without a new one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.features.cursor import HEAD, declared, selected
from tests.server.features.random_documents import documents

from dlm_engine.checks import check_surroundings, same_id
from dlm_engine.document import (
    Diagnostic,
    LiveDocument,
    Severity,
    Span,
    TextEdit,
    apply_edits,
    parse,
)
from dlm_server.features.action_kinds import ActionKind, Asked
from dlm_server.features.actions import (
    Action,
    actions,
    adds_error,
    fix_all,
    written,
)
from dlm_server.features.edit_pieces import Pieces

ULID = re.compile(r"[0-9A-HJ-KM-NP-TV-Z]{26}")
PAIR = "::instruction::\n### Q\na\n### A\nb\n"


def made(
    live: LiveDocument, span: Span, only: Sequence[str] = (), asked: Asked = Asked.BY_A_PERSON
) -> tuple[Action, ...]:
    return actions(live, problems(live), span, only, asked)


def problems(live: LiveDocument) -> list[Diagnostic]:
    return [*live.diagnostics, *check_surroundings(live, None)]


def chosen(live: LiveDocument, span: Span, title: str) -> Action:
    found = made(live, span)
    assert title in [a.title for a in found], [a.title for a in found]
    return next(a for a in found if a.title == title)


def errors(text: str) -> set[str]:
    return {p.code for p in parse(text)[1] if p.severity is Severity.ERROR}


def done(live: LiveDocument, action: Action) -> str:
    """The text after the action, whose problem is gone and which has no new error."""
    for one, two in pairwise(action.edits):
        assert one.span.end <= two.span.start, "edits overlap or are out of order"
    new = apply_edits(live.text, action.edits)
    assert not adds_error(live, LiveDocument.open(new))
    if action.code is not None:
        before = [p.code for p in problems(live)].count(action.code)
        after = [p.code for p in problems(LiveDocument.open(new))].count(action.code)
        assert after < before
    return new


@pytest.mark.parametrize(
    ("marked", "title", "expected"),
    [
        # the engine's own fixes
        (HEAD + "::⟦instrction⟧::\n### Q\na\n### A\nb\n", "Replace with instruction", HEAD + PAIR),
        (HEAD + PAIR.replace("::\n", "::⟦ ⟧\n", 1), "Remove the blanks", HEAD + PAIR),
        (HEAD + PAIR + "⟦```⟧\nx", "Close the code block", None),
        (HEAD.replace("base_model", "⟦base_modle⟧") + PAIR, "Rename to base_model", HEAD + PAIR),
        (HEAD.replace("15", "⟦1⟧") + PAIR, "Migrate to version 15", HEAD + PAIR),
        (
            HEAD[:-4] + "training:\n  adapter: ⟦Lora⟧\n---\n",
            "Replace with lora",
            HEAD[:-4] + "training:\n  adapter: lora\n---\n",
        ),
        (HEAD + "  ⟦::instruction::⟧\n### Q\na\n### A\nb\n", "Write ::instruction::", HEAD + PAIR),
        (
            HEAD[:-4] + "training:\n  adapters:\n    ⟦Tone-2⟧: {}\n---\n::prose#tone_2::\nx\n",
            "Write tone_2",
            HEAD[:-4] + "training:\n  adapters:\n    tone_2: {}\n---\n::prose#tone_2::\nx\n",
        ),
        (
            HEAD[:-4] + "training:\n⟦\t⟧adapters:\n\t\ttone: {}\n---\nx\n",
            "Indent with spaces",
            HEAD[:-4] + "training:\n  adapters:\n    tone: {}\n---\nx\n",
        ),
        # those that need a choice or words
        (
            HEAD + "::prose#⟦tone⟧::\nx\n",
            "Declare the adapter tone",
            HEAD[:-4]
            + "training:\n  adapters:\n    tone:\n      adapter: lora\n---\n::prose#tone::\nx\n",
        ),
        (
            declared("voice") + "::prose#⟦tone⟧::\nx\n",
            "Declare the adapter tone",
            declared("voice")[:-4] + "    tone:\n      adapter: lora\n---\n::prose#tone::\nx\n",
        ),
        (
            HEAD + "::instruction::\n⟦### Q⟧\na\n\n" + PAIR,
            "Add ### A",
            HEAD + "::instruction::\n### Q\na\n\n### A\nWrite the answer here.\n\n" + PAIR,
        ),
        (
            HEAD + "::instruction::\n⟦### Q⟧\na",
            "Add ### A",
            HEAD + "::instruction::\n### Q\na\n\n### A\nWrite the answer here.",
        ),
        (
            HEAD + "::instruction::\n⟦### Q⟧\n",
            "Add ### A",
            HEAD
            + "::instruction::\n### Q\nWrite the question here.\n\n### A\nWrite the answer here.\n",
        ),
        (
            HEAD + "::instruction::\n⟦### A⟧\nb\n",
            "Add ### Q before it",
            HEAD + "::instruction::\n### Q\nWrite the question here.\n\n### A\nb\n",
        ),
        (
            HEAD + "::preference::\n⟦### Prompt⟧\na\n### Chosen\nb\n",
            "Add ### Rejected",
            HEAD
            + "::preference::\n### Prompt\na\n### Chosen\nb\n\n### Rejected\n"
            + "Write the worse answer here.\n",
        ),
        (HEAD + "::preference::\n⟦### Prompt⟧\na\n", "Add ### Chosen and ### Rejected", None),
        (
            HEAD.replace("smollm2-135m", "⟦smollm2-13m⟧") + PAIR,
            "Use smollm2-135m",
            HEAD + PAIR,
        ),
        (
            HEAD.replace("smollm2-135m", "'⟦Qwen3-4B⟧' # x"),
            "Use qwen3-4b",
            HEAD.replace("smollm2-135m", "qwen3-4b # x"),
        ),
        (
            HEAD.replace("base_model: smollm2-135m\n", "").replace("---\nd", "⟦---⟧\nd", 1),
            "Set base_model: smollm2-135m",
            None,
        ),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_fix_removes_its_problem(
    marked: str, title: str, expected: str | None, ending: str
) -> None:
    live, span = selected(marked.replace("\n", ending))
    action = chosen(live, span, title)
    new = done(live, action)
    assert action.kind is ActionKind.QUICK_FIX
    assert (
        "\n" in new.replace("\r\n", "") if ending == "\n" else "\n" not in new.replace("\r\n", "")
    )
    if expected is not None:
        assert new == expected.replace("\n", ending)


def test_a_fix_may_uncover_what_the_problem_hid() -> None:
    live, span = selected(HEAD + "::⟦instrction⟧::\nx\n")
    action = chosen(live, span, "Replace with instruction")
    assert errors(apply_edits(live.text, action.edits)) == {"text-before-header"}


@pytest.mark.parametrize(
    "marked",
    [
        HEAD.replace("01HZ4X7TGZM3J1A2B3C4D5E6F7", "⟦nonsense⟧"),
        HEAD.replace("dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\n", "").replace("---", "⟦---⟧", 1),
    ],
)
def test_a_missing_or_wrong_id_becomes_a_new_one(marked: str) -> None:
    live, span = selected(marked)
    action = chosen(live, span, "Give the document a new id")
    new = done(live, action)
    assert action.preferred
    frontmatter = parse(new)[0].frontmatter
    assert frontmatter is not None
    assert ULID.fullmatch(frontmatter.dlm_id)
    assert "nonsense" not in new


def test_an_id_that_another_document_has_becomes_a_new_one() -> None:
    taken = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
    live, span = selected(HEAD.replace(taken, f"⟦{taken}⟧"))
    assert made(live, span) == ()
    shared = list(same_id(live.keys, ["other.dlm"]))
    (action,) = actions(live, shared, span)
    assert (action.code, action.span, action.preferred) == ("id-duplicate", span, True)
    new = apply_edits(live.text, action.edits)
    assert taken not in new
    assert errors(new) == set()


@pytest.mark.parametrize(
    "marked",
    [
        HEAD + "⟦x⟧\n",
        HEAD + PAIR + "⟦⟧",
        HEAD + "api_key = ⟦sk_live_4eC39HqLyjWDarjtT1zdp7dc⟧\n",
        HEAD.replace("smollm2-135m", "⟦hf:a/b⟧"),
        HEAD.replace("smollm2-135m", "⟦zzzzzzzz⟧"),
        HEAD[:-4] + "training:\n  lora_r: 16\n---\n::prose#⟦tone⟧::\nx\n",
        # what would put one error in the place of another
        HEAD[:-4] + "⟦--⟧\n",
    ],
)
def test_there_is_nothing_to_fix(marked: str) -> None:
    live, span = selected(marked)
    assert made(live, span, only=["quickfix"]) == ()


def test_one_fix_is_preferred_and_one_of_several_is_not() -> None:
    live, span = selected(HEAD + "::⟦instrction⟧::\n### Q\na\n### A\nb\n")
    assert [a.preferred for a in made(live, span, ["quickfix"])] == [True]
    live, span = selected(declared("tone") + "::prose#⟦tons⟧::\nx\n")
    found = made(live, span, ["quickfix"])
    assert [a.title for a in found] == ["Replace with tone", "Declare the adapter tons"]
    assert [a.preferred for a in found] == [False, False]


@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        ([], {ActionKind.FIX_ALL, ActionKind.MIGRATE, ActionKind.REWRITE}),
        (["source"], {ActionKind.FIX_ALL, ActionKind.MIGRATE}),
        (["source.fixAll"], {ActionKind.FIX_ALL}),
        (["source.fixAll.dlm"], {ActionKind.FIX_ALL}),
        (["source.fixAll.ruff"], set()),
        (["refactor"], {ActionKind.REWRITE}),
        (["quickfix", "refactor.rewrite"], {ActionKind.REWRITE}),
        (["source.organizeImports"], set()),
    ],
)
def test_only_the_wanted_kinds_are_made(only: list[str], kinds: set[ActionKind]) -> None:
    marked = HEAD.replace("15", "14") + "⟦some prose⟧\n\n:: instruction ::\n"
    live, span = selected(marked)
    assert {a.kind for a in made(live, span, only)} == kinds


def test_an_editor_that_asks_by_itself_is_not_told_of_the_whole_document() -> None:
    live, span = selected(HEAD.replace("15", "14") + "⟦⟧x\n\n:: instruction ::\n")
    assert made(live, span, asked=Asked.BY_THE_EDITOR) == ()
    found = made(live, span, ["source.fixAll"], asked=Asked.BY_THE_EDITOR)
    assert [a.kind for a in found] == [ActionKind.FIX_ALL]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + PAIR, None),
        (HEAD.replace("---\n", "--- \n") + "::Instruction:: \n### q\na\n### A:\nb\n", HEAD + PAIR),
        # repairing one thing uncovers another
        (HEAD + "::instruction\n### q\na\n### A\nb\n", HEAD + PAIR),
        (HEAD + ":: instruction ::\n### Q\na\n## answer\nb\n", HEAD + PAIR),
        # a guess is left to a person
        (HEAD + "::instrction::\n### Q\na\n### A\nb\n", None),
        (HEAD.replace("base_model", "base_modle"), None),
        (HEAD.replace("15", "14") + PAIR, None),
    ],
)
def test_fix_all(text: str, expected: str | None) -> None:
    live = LiveDocument.open(text)
    edits = fix_all(live)
    new = apply_edits(text, edits)
    assert new == (expected or text)
    assert not adds_error(live, LiveDocument.open(new))
    assert fix_all(LiveDocument.open(new)) == ()
    for one, two in pairwise(edits):
        assert one.span.end <= two.span.start


@settings(max_examples=150)
@given(documents())
def test_what_is_offered_changes_the_text_and_mends(text: str) -> None:
    live = LiveDocument.open(text)
    offers = made(live, Span(0, len(text)), ["quickfix", "source.fixAll"])
    for action in offers:
        new = LiveDocument.open(apply_edits(text, action.edits))
        assert new.text != text, action
        known_errors = {(p.code, p.message) for p in live.diagnostics}
        for problem in new.diagnostics:
            fresh = (problem.code, problem.message) not in known_errors
            if fresh and problem.severity is Severity.ERROR:
                assert action.kind is ActionKind.QUICK_FIX, action
                assert all(
                    problem.span.end < place.start or place.end < problem.span.start
                    for place in written(action.edits)
                ), (action, problem)
        alike = [p for p in problems(live) if (p.code, p.span) == (action.code, action.span)]
        if alike:
            left = [(p.code, p.message) for p in problems(new)]
            known = [(p.code, p.message) for p in problems(live)]
            assert any(
                left.count((p.code, p.message)) < known.count((p.code, p.message)) for p in alike
            ), action


OLD = (
    "---\n# mine\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\nbase_model: smollm2-135m # small\n"
    "training:\n  dpo:\n    enabled: false\n    beta: 0.2\n---\n\ntext\n"
)


def test_migration_is_an_edit_of_only_what_differs() -> None:
    live = LiveDocument.open(OLD)
    action = next(a for a in made(live, Span(0, 0)) if a.kind is ActionKind.MIGRATE)
    new = done(live, action)
    assert action.title == "Migrate to version 15"
    assert new == OLD.replace("base_model", "dlm_version: 15\nbase_model", 1).replace(
        "  dpo:\n    enabled: false\n    beta: 0.2\n",
        "  preference:\n    method: dpo\n    enabled: false\n    hyperparams:\n      beta: 0.2\n",
    )
    touched = sum(e.span.end - e.span.start for e in action.edits)
    assert touched < len("  dpo:\n    enabled: false\n    beta: 0.2\n") + 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "⟦The oars hang in the shed.⟧\n",
            "::instruction::\n### Q\n?\n\n### A\nThe oars hang in the shed.\n",
        ),
        (
            "# Head\n\nSome ⟦text\nof two⟧ lines.\n\nMore.\n",
            "# Head\n\n::instruction::\n### Q\n?\n\n### A\nSome text\nof two lines.\n\n"
            "::prose::\nMore.\n",
        ),
        (
            "One.\n⟦Two.\n⟧Three.\n",
            "One.\n\n::instruction::\n### Q\n?\n\n### A\nTwo.\n\n::prose::\nThree.\n",
        ),
        (
            "::prose#tone::\n⟦One.⟧\n\nTwo.\n" + PAIR,
            "::instruction#tone::\n### Q\n?\n\n### A\nOne.\n\n::prose#tone::\nTwo.\n" + PAIR,
        ),
        (
            PAIR + "::prose::\n⟦One.⟧\n\n" + PAIR,
            PAIR + "::instruction::\n### Q\n?\n\n### A\nOne.\n\n" + PAIR,
        ),
        # what an answer cannot hold as it is
        ("a\n\n⟦### Q\nb⟧\n", "a\n\n::instruction::\n### Q\n?\n\n### A\n\\### Q\nb\n"),
        ("⟦:: prose ::\nb⟧", "::instruction::\n### Q\n?\n\n### A\n\\:: prose ::\nb\n"),
        ("⟦```\n::prose::\n```⟧\n", "::instruction::\n### Q\n?\n\n### A\n```\n::prose::\n```\n"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_selected_prose_becomes_a_question_and_its_answer(
    body: str, expected: str, ending: str
) -> None:
    head = declared("tone")
    live, span = selected((head + body).replace("\n", ending))
    action = chosen(live, span, "Turn the selection into a question and its answer")
    new = done(live, action)
    stub = expected.replace("### Q\n?\n", "### Q\nWrite the question here.\n")
    assert new == (head + stub).replace("\n", ending)


@pytest.mark.parametrize(
    "body",
    [
        "⟦⟧text\n",
        "text\n⟦ \n\n⟧more\n",
        PAIR.replace("a\n", "⟦a⟧\n"),
        "on⟦e\n\n::prose::\ntw⟧o\n",
        "⟦::prose::\none⟧\n",
        "a\n```\n⟦x⟧\n```\nb\n",
    ],
)
def test_what_is_no_text_of_one_prose_section_stays(body: str) -> None:
    live, span = selected(HEAD + body)
    assert [a for a in made(live, span) if a.kind is ActionKind.REWRITE] == []


edits_of = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 3), st.text("xyz", max_size=3)), max_size=3
)


@settings(max_examples=200)
@given(st.lists(edits_of, max_size=4))
def test_rounds_of_edits_are_one_set_of_edits(rounds: list[list[tuple[int, int, str]]]) -> None:
    text = "abcdefgh"
    pieces = Pieces(text)
    current = text
    for drawn in rounds:
        edits: list[TextEdit] = []
        at = 0
        for gap, length, new in drawn:
            start = min(at + gap, len(current))
            end = min(start + length, len(current))
            edits.append(TextEdit(Span(start, end), new))
            at = end + 1
            if at > len(current):
                break
        current = apply_edits(current, edits)
        pieces.apply(edits)
        assert pieces.text == current
    final = pieces.edits()
    assert apply_edits(text, final) == current
    assert all(a.span.end <= b.span.start for a, b in pairwise(final))
