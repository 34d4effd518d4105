"""What only several parts of a document can say together.

A section names an adapter that the frontmatter declares, or not; a question stands in two
sections. Neither belongs to the reading of one section, which must stay true whatever
changes elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from dlm_engine.document.codes import closest, report
from dlm_engine.document.fences import AdapterName
from dlm_engine.document.model import Diagnostic, Fix, QuestionAnswer, TextEdit
from dlm_engine.document.pieces import QuestionKey


def undeclared(adapter: AdapterName, declared: Set[str]) -> Diagnostic | None:
    """The complaint about an adapter that `training.adapters` does not have."""
    name, span = adapter
    if name in declared:
        return None
    near = closest(name, tuple(sorted(declared)))
    message = f"adapter `{name}` is not declared in training.adapters"
    fix = None
    if near:
        message += f"; did you mean `{near}`?"
        fix = Fix(f"Replace with {near}", (TextEdit(span, near),))
    return report("fence-adapter-undeclared", span, message, fix)


def repeats(
    asked: Iterable[tuple[QuestionKey, QuestionAnswer]], line_of: Callable[[int], int]
) -> list[Diagnostic]:
    """Questions asked twice: the same answer is noted, a different one contradicts.

    Args:
        asked: in the order of the text; questions that stand only once may be left out.
        line_of: the 0-based line of an offset.
    """
    problems: list[Diagnostic] = []
    first: dict[QuestionKey, QuestionAnswer] = {}
    for key, pair in asked:
        known = first.setdefault(key, pair)
        if known is pair:
            continue
        line = line_of(known.question_span.start) + 1
        if " ".join(known.answer.split()) == " ".join(pair.answer.split()):
            message = f"the same question and answer as on line {line}"
            problems.append(report("question-duplicate", pair.question_span, message))
        else:
            message = f"the same question as on line {line}, answered differently"
            problems.append(report("question-contradiction", pair.question_span, message))
    return problems
