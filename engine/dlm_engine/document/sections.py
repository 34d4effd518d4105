"""From the section nodes of the tree to `Section`s with their rows.

Reads what the grammar found and judges it; decides nothing about lines itself. A
section keeps its exact place, fence included, up to the next fence, so that removing
one is removing its span.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.fences import Fence, near_fence, read_fence
from dlm_engine.document.fields import (
    FIELDS_OF,
    HEADERS,
    leading_field,
    read_fields,
    read_pairs,
    read_triples,
)
from dlm_engine.document.identity import legacy_section_id, section_id
from dlm_engine.document.model import (
    Diagnostic,
    Fix,
    LineIndex,
    PreferenceTriple,
    QuestionAnswer,
    Section,
    SectionType,
    Span,
    TextEdit,
)
from dlm_engine.document.provenance import read_marker
from dlm_engine.document.syntax import Syntax
from dlm_engine.document.text import line_end_of, strip_blank_lines, with_lf


def read_sections(
    syntax: Syntax, adapters: Collection[str] | None, problems: list[Diagnostic]
) -> tuple[Section, ...]:
    read = (_section(syntax, node, adapters, problems) for node in syntax.sections())
    return tuple(section for section in read if section is not None)


def _section(
    syntax: Syntax, node: Node, adapters: Collection[str] | None, problems: list[Diagnostic]
) -> Section | None:
    span = syntax.span(node)
    fence_node = node.child_by_field_name("fence")
    fence = Fence(SectionType.PROSE)
    fence_span = None
    if fence_node is not None:
        fence_span = syntax.span(fence_node)
        fence = read_fence(syntax, fence_node, adapters, problems)
    content_start = span.start if fence_node is None else None
    markers: list[Node] = []
    fields: list[Node] = []
    for child in node.named_children:
        if child.type == "trailing_space":
            where = syntax.span(child)
            fix = Fix("Remove the blanks", (TextEdit(where, ""),))
            message = "blanks after a fence; read as a fence all the same"
            problems.append(report("fence-near-miss", where, message, fix))
        elif child.type == "provenance_marker":
            markers.append(child)
        elif child.type in HEADERS:
            fields.append(child)
    if content_start is None:
        content_start = _content_start(syntax, node, span.end)
    body = node.child_by_field_name("body")
    provenance = dict(
        found for m in markers if (found := read_marker(syntax, m, fence.kind, problems))
    )
    for block in _blocks(body, fields):
        _judge_block(syntax, block, fence, problems)
    raw = with_lf(syntax.text[content_start : span.end])
    if fence_node is None:
        raw = raw.removeprefix("\n")
    raw = raw.removesuffix("\n")
    content = strip_blank_lines(raw)
    pairs: tuple[QuestionAnswer, ...] = ()
    triples: tuple[PreferenceTriple, ...] = ()
    if fence.kind in FIELDS_OF:
        first = leading_field(syntax, body, fence.kind, problems)
        read = ([first] if first else []) + read_fields(syntax, fields)
        if fence.kind is SectionType.INSTRUCTION:
            pairs = read_pairs(syntax, read, problems)
        else:
            triples = read_triples(syntax, read, problems)
    if not content and fence_span is not None and fence.kind in (*FIELDS_OF, SectionType.PROSE):
        problems.append(report("section-empty", fence_span, "this section is empty"))
    if fence.kind is SectionType.AUDIO and content and body is not None:
        message = "text under an audio section is not used; put it in `transcript` or in prose"
        problems.append(report("section-text-unused", syntax.line_span(body), message))
    if fence.kind is SectionType.PROSE and not content:
        return None
    return Section(
        type=fence.kind,
        id=section_id(fence.kind, content, fence.attributes),
        legacy_id=legacy_section_id(fence.kind, raw, fence.attributes),
        content=content,
        span=span,
        fence_span=fence_span,
        adapter=fence.adapter,
        pairs=pairs,
        triples=triples,
        attributes=fence.attributes,
        provenance=provenance,
    )


def _content_start(syntax: Syntax, node: Node, end: int) -> int:
    """Where the text after the fence line and its markers begins."""
    for child in node.children:
        if child.type == "body" or child.type in HEADERS:
            return syntax.span(child).start
    return end


def _blocks(body: Node | None, fields: list[Node]) -> Iterator[Node]:
    for holder in (body, *(field.child_by_field_name("body") for field in fields)):
        if holder is not None:
            yield from (b for b in holder.named_children if b.type != "paragraph")


def _judge_block(syntax: Syntax, block: Node, fence: Fence, problems: list[Diagnostic]) -> None:
    match block.type:
        case "near_fence":
            problems.append(near_fence(syntax.text_of(block).rstrip(), syntax.line_span(block)))
        case "near_marker":
            message = "looks like a provenance marker but is read as text"
            problems.append(report("marker-near-miss", syntax.line_span(block), message))
        case "code_block" if block.child_by_field_name("close") is None:
            problems.append(_unclosed(syntax, block))
        case "heading" if fence.kind is SectionType.PROSE and fence.known:
            words = syntax.text_of(block).strip().removesuffix("!probe").rstrip()
            if words in (HEADERS["question"], HEADERS["answer"]):
                message = (
                    f"`{words}` is a header only in a section that starts with ::instruction::"
                )
                problems.append(report("header-outside-section", syntax.line_span(block), message))


def _unclosed(syntax: Syntax, block: Node) -> Diagnostic:
    opening = block.child_by_field_name("open")
    assert opening is not None
    fence = syntax.text_of(opening).strip()
    span = syntax.span(block)
    text = syntax.text[span.start : span.end]
    end = span.start + len(text.rstrip())
    new = line_end_of(syntax.text) + fence
    fix = Fix("Close the code block", (TextEdit(Span(end, end), new),))
    message = "this code block is never closed"
    return report("code-block-unclosed", syntax.line_span(opening), message, fix)


def judge_repeats(
    sections: Iterable[Section], lines: LineIndex, problems: list[Diagnostic]
) -> None:
    """Report questions asked twice: the same answer is noted, a different one contradicts."""
    first: dict[tuple[str | None, str], QuestionAnswer] = {}
    for section in sections:
        for pair in section.pairs:
            key = (section.adapter, " ".join(pair.question.split()))
            known = first.setdefault(key, pair)
            if known is pair:
                continue
            line = lines.line_column(known.question_span.start)[0] + 1
            if " ".join(known.answer.split()) == " ".join(pair.answer.split()):
                message = f"the same question and answer as on line {line}"
                problems.append(report("question-duplicate", pair.question_span, message))
            else:
                message = f"the same question as on line {line}, answered differently"
                problems.append(report("question-contradiction", pair.question_span, message))
