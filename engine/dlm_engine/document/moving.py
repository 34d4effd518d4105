"""Readings at another place: the same values, every offset moved by one amount.

An edit moves all that stands behind it. Moving a reading is many times cheaper than
reading again, and one that has not moved is itself.
"""

from __future__ import annotations

from dlm_engine.document.model import (
    Diagnostic,
    Fix,
    PreferenceTriple,
    QuestionAnswer,
    Section,
    Span,
    TextEdit,
)


def moved_span(span: Span, by: int) -> Span:
    return Span(span.start + by, span.end + by)


def moved_problem(problem: Diagnostic, by: int) -> Diagnostic:
    if not by:
        return problem
    fix = problem.fix
    if fix is not None:
        edits = tuple(TextEdit(moved_span(e.span, by), e.new_text) for e in fix.edits)
        fix = Fix(fix.title, edits)
    span = moved_span(problem.span, by)
    return Diagnostic(problem.code, problem.severity, problem.message, span, fix)


def moved_section(section: Section, by: int) -> Section:
    if not by:
        return section
    fence = section.fence_span
    # Not by `replace`, which takes three times as long, and there are thousands.
    return Section(
        section.type,
        section.id,
        section.legacy_id,
        section.content,
        moved_span(section.span, by),
        fence and moved_span(fence, by),
        section.adapter,
        tuple([moved_pair(pair, by) for pair in section.pairs]),
        tuple([moved_triple(triple, by) for triple in section.triples]),
        section.attributes,
        section.provenance,
    )


def moved_pair(pair: QuestionAnswer, by: int) -> QuestionAnswer:
    return QuestionAnswer(
        pair.question,
        pair.answer,
        pair.probe,
        moved_span(pair.question_span, by),
        moved_span(pair.answer_span, by),
    )


def moved_triple(triple: PreferenceTriple, by: int) -> PreferenceTriple:
    span = moved_span(triple.span, by)
    return PreferenceTriple(triple.prompt, triple.chosen, triple.rejected, span)
