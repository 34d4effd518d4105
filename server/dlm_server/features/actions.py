"""Code actions: a fix for a problem, or another way to write the same thing.

Every action is an edit of the document and nothing else, and is offered only if the document
it leads to was parsed and has no error that was not there before. A quick fix may uncover others
(what a misspelt section holds is judged once it is spelt right), but not where it writes. What a
problem's own fix does is the engine's; what needs a choice, a new id or text to write is made
here, and what can be left out in `repairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dlm_engine.document import (
    Diagnostic,
    LiveDocument,
    Severity,
    Span,
    TextEdit,
    new_id,
    set_key,
)
from dlm_engine.errors import DocumentError
from dlm_server.features.action_kinds import ActionKind, Asked
from dlm_server.features.base_docs import closest_base, is_known, written_base
from dlm_server.features.edit_pieces import Pieces, edited
from dlm_server.features.repairs import FIRST_BASE, repairs
from dlm_server.features.stubs import missing_text
from dlm_server.features.to_instruction import to_instruction

if TYPE_CHECKING:
    from dlm_engine.document import Fix


@dataclass(frozen=True, slots=True)
class Action:
    """`code` and `span` name the problem that the action removes; None where it removes none."""

    title: str
    kind: ActionKind
    edits: tuple[TextEdit, ...]
    code: str | None = None
    span: Span | None = None
    preferred: bool = False


#: problems whose fix writes only what dlm reads there anyway, or cannot mean anything else;
#: the others guess what was meant, and a guess is for a person to take
SAFE = frozenset(
    {
        "code-block-unclosed",
        "fence-adapter-invalid",
        "fence-near-miss",
        "frontmatter-delimiter",
        "frontmatter-trailing-space",
        "frontmatter-unclosed",
        "header-malformed",
        "value-type",
        "version-invalid",
    }
)
_ROUNDS = 10
_NEW_ID = "Give the document a new id"


def actions(
    live: LiveDocument,
    problems: Sequence[Diagnostic],
    selection: Span,
    only: Collection[str] = (),
    asked: Asked = Asked.BY_A_PERSON,
) -> tuple[Action, ...]:
    """What can be done at the selection.

    Args:
        problems: all of the document's, those of its surroundings included.
        only: kinds that are wanted, each with what is below it; none means all.
        asked: an editor asks by itself whenever the cursor moves, which is answered without
            what concerns the whole document, unless `only` names it.
    """
    makers: tuple[tuple[ActionKind, Callable[[], Iterator[Action]]], ...] = (
        (ActionKind.QUICK_FIX, lambda: _quick_fixes(live, problems, selection)),
        (ActionKind.REWRITE, lambda: _rewrites(live, selection)),
        (ActionKind.FIX_ALL, lambda: _fix_all(live)),
        (ActionKind.MIGRATE, lambda: _migrate(live)),
    )
    here_only = asked is Asked.BY_THE_EDITOR and not only
    return tuple(
        action
        for kind, make in makers
        if _wanted(kind, only) and not (here_only and kind.startswith("source."))
        for action in make()
    )


def _wanted(kind: ActionKind, only: Collection[str]) -> bool:
    return not only or any(kind == o or kind.startswith(f"{o}.") or o == "" for o in only)


def _touches(span: Span, selection: Span) -> bool:
    return span.start <= selection.end and selection.start <= span.end


# quick fixes


def _quick_fixes(
    live: LiveDocument, problems: Sequence[Diagnostic], selection: Span
) -> Iterator[Action]:
    for problem in problems:
        if not _touches(problem.span, selection):
            continue
        repaired = (Action(t, ActionKind.QUICK_FIX, e) for t, e in repairs(live, problem))
        proposed = (*_own_fix(problem), *_made_fixes(live, problem), *repaired)
        made = [action for action in proposed if _mends(live, problem, action.edits)]
        for action in made:
            yield replace(
                action,
                code=problem.code,
                span=problem.span,
                preferred=len(made) == 1 and problem.severity is not Severity.INFORMATION,
            )


def _own_fix(problem: Diagnostic) -> Iterator[Action]:
    fix: Fix | None = problem.fix
    if fix is not None:
        yield Action(fix.title, ActionKind.QUICK_FIX, fix.edits)


def _made_fixes(live: LiveDocument, problem: Diagnostic) -> Iterator[Action]:
    """Fixes that need something from outside the text: an id, a choice, words to fill in."""
    match problem.code:
        case "id-invalid" | "id-duplicate":
            yield from _set(live, _NEW_ID, "dlm_id", new_id())
        case "key-missing" if problem.message.startswith("dlm_id "):
            yield from _set(live, _NEW_ID, "dlm_id", new_id())
        case "key-missing" if problem.message.startswith("base_model "):
            yield from _set(live, f"Set base_model: {FIRST_BASE}", "base_model", FIRST_BASE)
        case "base-unknown":
            yield from _closest_base(live, problem)
        case "fence-adapter-undeclared":
            name = live.text[problem.span.start : problem.span.end]
            title = f"Declare the adapter {name}"
            yield from _set(live, title, f"training.adapters.{name}.adapter", "lora")
        case "answer-missing" | "question-missing" | "preference-missing":
            found = missing_text(live, problem)
            if found is not None:
                edits = (found[1],)
                if not adds_error(live, edited(live, edits)):
                    yield Action(found[0], ActionKind.QUICK_FIX, edits)


def _set(live: LiveDocument, title: str, path: str, value: str) -> Iterator[Action]:
    try:
        new = set_key(live.text, path, value)
    except DocumentError:
        return
    yield Action(title, ActionKind.QUICK_FIX, (_difference(live.text, new),))


def _closest_base(live: LiveDocument, problem: Diagnostic) -> Iterator[Action]:
    """A base of the registry, where its own fix proposes another or none."""
    written = written_base(live)
    if written is None or is_known(written[0]):
        return
    name, span = written
    near = closest_base(name)
    proposed = problem.fix.edits[0].new_text if problem.fix else None
    if near is not None and near != proposed:
        yield Action(f"Use {near}", ActionKind.QUICK_FIX, (TextEdit(span, near),))


def _mends(live: LiveDocument, problem: Diagnostic, edits: tuple[TextEdit, ...]) -> bool:
    """Whether the problem is gone after the edits, and no new error stands where they write.

    A problem of the document's surroundings is taken to be: what a fix makes of those, only
    files and other documents can say.
    """
    new = edited(live, edits)
    before, after = _times(live, problem), _times(new, problem)
    if new.text == live.text or (before and after >= before):
        return False
    known, places = _errors(live), list(written(edits))
    return not any(
        p.severity is Severity.ERROR
        and (p.code, p.message) not in known
        and any(_touches(p.span, place) for place in places)
        for p in new.diagnostics
    )


def written(edits: Iterable[TextEdit]) -> Iterator[Span]:
    """Where in the new text the edits' own words stand."""
    moved = 0
    for edit in sorted(edits, key=lambda e: e.span):
        start = edit.span.start + moved
        yield Span(start, start + len(edit.new_text))
        moved += len(edit.new_text) - (edit.span.end - edit.span.start)


def _times(live: LiveDocument, problem: Diagnostic) -> int:
    alike = (problem.code, problem.message)
    return sum((p.code, p.message) == alike for p in live.diagnostics)


def adds_error(live: LiveDocument, new: LiveDocument) -> bool:
    """Whether `new` has an error that the document lacks, by code and message."""
    known = _errors(live)
    return any(error not in known for error in _errors(new))


def _errors(live: LiveDocument) -> set[tuple[str, str]]:
    return {(p.code, p.message) for p in live.diagnostics if p.severity is Severity.ERROR}


def _difference(old: str, new: str) -> TextEdit:
    """One edit from `old` to `new`, without the lines they share at both ends."""
    start = 0
    limit = min(len(old), len(new))
    while start < limit and old[start] == new[start]:
        start += 1
    end = 0
    while end < limit - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return TextEdit(Span(start, len(old) - end), new[start : len(new) - end])


# the whole document


def _fix_all(live: LiveDocument) -> Iterator[Action]:
    edits = fix_all(live)
    if edits:
        yield Action("Fix all that is safe to fix", ActionKind.FIX_ALL, edits)


def fix_all(live: LiveDocument) -> tuple[TextEdit, ...]:
    """Every safe fix, repeated until none is left; edits of the document that never overlap."""
    pieces = Pieces(live.text)
    current = live
    for _ in range(_ROUNDS):
        edits = _disjoint(p.fix for p in current.diagnostics if p.fix and p.code in SAFE)
        if not edits:
            break
        pieces.apply(edits)
        current = edited(current, edits)
    same = current.text == live.text
    return () if same or adds_error(live, current) else pieces.edits()


def _disjoint(fixes: Iterator[Fix]) -> list[TextEdit]:
    """The edits of as many whole fixes as fit beside each other."""
    taken: list[TextEdit] = []
    for fix in fixes:
        if not any(_touches(new.span, old.span) for new in fix.edits for old in taken):
            taken += fix.edits
    return taken


def _migrate(live: LiveDocument) -> Iterator[Action]:
    old = next((p for p in live.diagnostics if p.code == "version-old"), None)
    if old is None or old.fix is None:
        return
    # A document that would not be valid afterwards has to be repaired first.
    if not _errors(edited(live, old.fix.edits)):
        yield Action(old.fix.title, ActionKind.MIGRATE, old.fix.edits, old.code, old.span)


# rewriting


def _rewrites(live: LiveDocument, selection: Span) -> Iterator[Action]:
    edit = to_instruction(live, selection)
    if edit is not None and not adds_error(live, edited(live, [edit])):
        title = "Turn the selection into a question and its answer"
        yield Action(title, ActionKind.REWRITE, (edit,))
