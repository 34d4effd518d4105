"""The fields of instruction and preference sections: headers and the text under them.

The grammar finds the exact headers. Where the order of headers breaks, a line that is
almost the missing header is taken for it: one clear error with a fix, in place of the
several that would follow from it. Otherwise such a line stays text, with a warning.
A broken pair or triple never takes its sound neighbours along.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.model import (
    Diagnostic,
    Fix,
    PreferenceTriple,
    QuestionAnswer,
    SectionType,
    Span,
    TextEdit,
)
from dlm_engine.document.syntax import Window
from dlm_engine.document.text import with_lf

#: header text by field node type
HEADERS = {
    "question": "### Q",
    "answer": "### A",
    "prompt": "### Prompt",
    "chosen": "### Chosen",
    "rejected": "### Rejected",
}
FIELDS_OF = {
    SectionType.INSTRUCTION: ("question", "answer"),
    SectionType.PREFERENCE: ("prompt", "chosen", "rejected"),
}
_NEAR_WORDS = {
    "q": "question",
    "question": "question",
    "a": "answer",
    "answer": "answer",
    "prompt": "prompt",
    "chosen": "chosen",
    "accepted": "chosen",
    "rejected": "rejected",
}
_NEAR = re.compile(
    r"\s{0,3}#{1,6}[ \t]{0,9}([A-Za-z]{1,9})(?P<probe>[ \t]{0,9}!?probe)?[ \t]{0,9}[:.]?", re.I
)


@dataclass(frozen=True, slots=True)
class _Near:
    """A line that is almost the header of `kind`; None when of no known kind."""

    kind: str | None
    span: Span
    fix: Fix | None


@dataclass(frozen=True, slots=True)
class Field:
    kind: str
    header: Span
    text: Span
    #: marked `!probe`, which is all that a header can hold
    probe: bool
    near: tuple[_Near, ...]


def near_header(window: Window, node: Node) -> _Near:
    span = window.span(node)
    written = window.text_of(node)
    match = _NEAR.match(written)
    kind = _NEAR_WORDS.get(match.group(1).lower()) if match else None
    if match is None or kind is None:
        return _Near(None, span, None)
    rest = written[match.end() :].strip()
    header = HEADERS[kind]
    if kind == "question" and match.group("probe"):
        header += " !probe"
    new = f"{header}\n{rest}" if rest else header
    return _Near(kind, span, Fix(f"Write {header}", (TextEdit(span, new),)))


def read_fields(window: Window, nodes: Sequence[Node]) -> list[Field]:
    fields: list[Field] = []
    for node in nodes:
        header = node.child_by_field_name("header")
        assert header is not None
        body = node.child_by_field_name("body")
        span = window.line_span(header)
        text = window.span(body) if body else Span(span.end, span.end)
        fields.append(
            Field(
                node.type,
                span,
                text,
                header.named_child_count > 0,
                _near_in(window, body),
            )
        )
    return fields


def _near_in(window: Window, body: Node | None) -> tuple[_Near, ...]:
    if body is None:
        return ()
    return tuple(near_header(window, n) for n in body.named_children if n.type == "near_header")


def split_at(field: Field, kind: str, problems: list[Diagnostic]) -> tuple[Field, Field] | None:
    """The field cut at its first near header of `kind`, which is reported; None without one."""
    for i, near in enumerate(field.near):
        if near.kind != kind:
            continue
        message = f"read as `{HEADERS[kind]}`, which has to be written exactly so"
        problems.append(report("header-malformed", near.span, message, near.fix))
        first = Field(
            field.kind,
            field.header,
            Span(field.text.start, near.span.start),
            field.probe,
            field.near[:i],
        )
        rest = Span(near.span.end, max(near.span.end, field.text.end))
        return first, Field(kind, near.span, rest, False, field.near[i + 1 :])
    return None


def leading_field(
    window: Window, body: Node | None, kind: SectionType, problems: list[Diagnostic]
) -> Field | None:
    """The field that text before the first header must be, or None after reporting the text."""
    if body is None:
        return None
    text = window.span(body)
    near = _near_in(window, body)
    first = FIELDS_OF[kind][0]
    line = window.line_span(body)
    if near and near[0].kind == first and near[0].span.start <= line.start:
        empty = Field(first, near[0].span, Span(text.start, text.end), False, near)
        cut = split_at(empty, first, problems)
        return cut[1] if cut else None
    is_marker = any(child.type == "near_marker" for child in body.named_children[:1])
    if line.start == line.end or is_marker:
        return None
    header = HEADERS[first]
    start = line.start
    end = start + len(window.text[start : line.end].splitlines()[0])
    message = f"text before the first `{header}` belongs to nothing"
    problems.append(report("text-before-header", Span(start, end), message))
    return None


def read_pairs(
    window: Window, fields: list[Field], problems: list[Diagnostic]
) -> tuple[QuestionAnswer, ...]:
    """The sound question and answer pairs of an instruction section."""
    pairs: list[QuestionAnswer] = []
    queue = deque(fields)
    while queue:
        field = queue.popleft()
        if field.kind == "answer":
            message = "an answer without a question; `### Q` has to come before it"
            problems.append(report("question-missing", field.header, message))
            _warn_near(field, problems)
            continue
        if not queue or queue[0].kind != "answer":
            cut = split_at(field, "answer", problems)
            if cut is None:
                message = "a question without an answer; `### A` has to follow it"
                problems.append(report("answer-missing", field.header, message))
                _warn_near(field, problems)
                continue
            field = cut[0]
            queue.appendleft(cut[1])
        answer = queue.popleft()
        if queue and queue[0].kind == "answer":
            cut = split_at(answer, "question", problems)
            if cut is not None:
                answer = cut[0]
                queue.appendleft(cut[1])
        _warn_near(field, problems)
        _warn_near(answer, problems)
        pair = _pair(window, field, answer, problems)
        if pair is not None:
            pairs.append(pair)
    return tuple(pairs)


def _pair(
    window: Window, question: Field, answer: Field, problems: list[Diagnostic]
) -> QuestionAnswer | None:
    asked, asked_span = _stripped(window, question)
    said, said_span = _stripped(window, answer)
    if not asked:
        problems.append(report("question-empty", question.header, "the question is empty"))
    if not said:
        problems.append(report("answer-empty", answer.header, "the answer is empty"))
    if not asked or not said:
        return None
    return QuestionAnswer(asked, said, question.probe, asked_span, said_span)


def read_triples(
    window: Window, fields: list[Field], problems: list[Diagnostic]
) -> tuple[PreferenceTriple, ...]:
    """The sound triples of a preference section."""
    triples: list[PreferenceTriple] = []
    queue = deque(fields)
    while queue:
        group = [queue.popleft()]
        while True:
            wanted = _next_kind(group)
            if wanted is not None and (not queue or queue[0].kind != wanted):
                cut = split_at(group[-1], wanted, problems)
                if cut is not None:
                    group[-1] = cut[0]
                    queue.appendleft(cut[1])
            if not queue or queue[0].kind == "prompt":
                break
            group.append(queue.popleft())
        for field in group:
            _warn_near(field, problems)
        triple = _triple(window, group, problems)
        if triple is not None:
            triples.append(triple)
    return tuple(triples)


def _next_kind(group: list[Field]) -> str | None:
    order = FIELDS_OF[SectionType.PREFERENCE]
    kinds = tuple(field.kind for field in group)
    return order[len(kinds)] if len(kinds) < 3 and kinds == order[: len(kinds)] else None


def _triple(
    window: Window, group: list[Field], problems: list[Diagnostic]
) -> PreferenceTriple | None:
    order = FIELDS_OF[SectionType.PREFERENCE]
    kinds = [field.kind for field in group]
    missing = [HEADERS[kind] for kind in order if kind not in kinds]
    if missing:
        message = f"this triple lacks {' and '.join(f'`{header}`' for header in missing)}"
        problems.append(report("preference-missing", group[0].header, message))
        return None
    if kinds != list(order):
        wrong = next(i for i, kind in enumerate(kinds) if i >= 3 or kind != order[i])
        message = "the order is `### Prompt`, `### Chosen`, `### Rejected`, each once"
        problems.append(report("preference-order", group[wrong].header, message))
        return None
    texts = [_stripped(window, field)[0] for field in group]
    empty = [field for field, text in zip(group, texts, strict=True) if not text]
    for field in empty:
        message = f"`{HEADERS[field.kind]}` has no text"
        problems.append(report("preference-empty", field.header, message))
    if empty:
        return None
    if texts[1] == texts[2]:
        message = "chosen and rejected are the same, so nothing is preferred"
        problems.append(report("preference-equal", group[2].header, message))
    span = Span(group[0].header.start, _stripped(window, group[2])[1].end)
    return PreferenceTriple(texts[0], texts[1], texts[2], span)


def _stripped(window: Window, field: Field) -> tuple[str, Span]:
    raw = window.text[field.text.start : field.text.end]
    start = field.text.start + len(raw) - len(raw.lstrip())
    text = raw.strip()
    return with_lf(text), Span(start, start + len(text))


def _warn_near(field: Field, problems: list[Diagnostic]) -> None:
    for near in field.near:
        wanted = f"; a header is `{near.fix.title.removeprefix('Write ')}`" if near.fix else ""
        message = f"looks like a header but is read as text{wanted}"
        problems.append(report("header-near-miss", near.span, message, near.fix))
