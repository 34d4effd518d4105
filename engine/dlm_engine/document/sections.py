"""From the section nodes of the tree to `Section`s with their rows.

Reads what the grammar found and judges it; decides nothing about lines itself. A
section keeps its exact place, fence included, up to the next fence, so that removing
one is removing its span.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.fences import AdapterName, Fence, near_fence, read_fence
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
    PreferenceTriple,
    QuestionAnswer,
    Section,
    SectionType,
    Span,
    TextEdit,
)
from dlm_engine.document.provenance import read_marker
from dlm_engine.document.syntax import Window
from dlm_engine.document.text import line_end_of, strip_blank_lines, with_lf

#: the adapter of a question and its words, blanks aside
QuestionKey = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class SectionReading:
    """What the text of one section says; `judging` adds what only several can say together."""

    #: None for prose without text
    section: Section | None
    problems: tuple[Diagnostic, ...]
    adapter: AdapterName | None = None
    #: of each of the section's pairs
    questions: tuple[QuestionKey, ...] = ()
    #: what others have worked out from this section's text and tree alone, by a name of theirs;
    #: kept here, because an edit keeps the readings of all sections that it does not touch
    kept: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)


def read_section(window: Window, node: Node) -> SectionReading:
    """The reading of a section node, which lies inside the window.

    Depends on the node and the text it covers, and on nothing else.
    """
    problems: list[Diagnostic] = []
    span = window.span(node)
    fence_node: Node | None = None
    body: Node | None = None
    markers: list[Node] = []
    fields: list[Node] = []
    for child in node.named_children:
        match child.type:
            case "fence":
                fence_node = child
            case "body":
                body = child
            case "provenance_marker":
                markers.append(child)
            case "trailing_space":
                where = window.span(child)
                fix = Fix("Remove the blanks", (TextEdit(where, ""),))
                message = "blanks after a fence; read as a fence all the same"
                problems.append(report("fence-near-miss", where, message, fix))
            case _:
                fields.append(child)
    fence_span = None if fence_node is None else window.span(fence_node)
    fence = Fence(SectionType.PROSE)
    if fence_node is not None:
        fence = read_fence(window, fence_node, problems)
    provenance = dict(
        found for m in markers if (found := read_marker(window, m, fence.kind, problems))
    )
    for block in _blocks(body, fields):
        _judge_block(window, block, fence, span, problems)
    first = body or (fields[0] if fields else None)
    content_start = span.end if first is None else window.span(first).start
    raw = with_lf(window.text[content_start : span.end])
    if fence_node is None:
        raw = raw.removeprefix("\n")
    raw = raw.removesuffix("\n")
    content = strip_blank_lines(raw)
    pairs: tuple[QuestionAnswer, ...] = ()
    triples: tuple[PreferenceTriple, ...] = ()
    if fence.kind in FIELDS_OF:
        leading = leading_field(window, body, fence.kind, problems)
        read = ([leading] if leading else []) + read_fields(window, fields)
        if fence.kind is SectionType.INSTRUCTION:
            pairs = read_pairs(window, read, problems)
        else:
            triples = read_triples(window, read, problems)
    if not content and fence_span is not None and fence.kind in (*FIELDS_OF, SectionType.PROSE):
        problems.append(report("section-empty", fence_span, "this section is empty"))
    if fence.kind is SectionType.AUDIO and content and body is not None:
        message = "text under an audio section is not used; put it in `transcript` or in prose"
        problems.append(report("section-text-unused", window.line_span(body), message))
    if fence.kind is SectionType.PROSE and not content:
        return SectionReading(None, tuple(problems), fence.adapter)
    adapter = fence.adapter.name if fence.adapter else None
    section = Section(
        type=fence.kind,
        id=section_id(fence.kind, content, fence.attributes),
        legacy_id=legacy_section_id(fence.kind, raw, fence.attributes),
        content=content,
        span=span,
        fence_span=fence_span,
        adapter=adapter,
        pairs=pairs,
        triples=triples,
        attributes=fence.attributes,
        provenance=provenance,
    )
    questions = tuple((adapter, " ".join(pair.question.split())) for pair in pairs)
    return SectionReading(section, tuple(problems), fence.adapter, questions)


def _blocks(body: Node | None, fields: list[Node]) -> Iterator[Node]:
    for holder in (body, *(f.child_by_field_name("body") for f in fields)):
        if holder is not None:
            yield from (b for b in holder.named_children if b.type != "paragraph")


def _judge_block(
    window: Window, block: Node, fence: Fence, section: Span, problems: list[Diagnostic]
) -> None:
    match block.type:
        case "near_fence":
            problems.append(near_fence(window.text_of(block).rstrip(), window.line_span(block)))
        case "near_marker":
            message = "looks like a provenance marker but is read as text"
            problems.append(report("marker-near-miss", window.line_span(block), message))
        case "code_block" if block.child_by_field_name("close") is None:
            problems.append(_unclosed(window, block, section))
        case "heading" if fence.kind is SectionType.PROSE and fence.known:
            words = window.text_of(block).strip().removesuffix("!probe").rstrip()
            if words in (HEADERS["question"], HEADERS["answer"]):
                message = (
                    f"`{words}` is a header only in a section that starts with ::instruction::"
                )
                problems.append(report("header-outside-section", window.line_span(block), message))


def _unclosed(window: Window, block: Node, section: Span) -> Diagnostic:
    opening = block.child_by_field_name("open")
    assert opening is not None
    fence = window.text_of(opening).strip()
    span = window.span(block)
    text = window.text[span.start : span.end]
    end = span.start + len(text.rstrip())
    # The section's own line end: a reading does not look beyond its section.
    new = line_end_of(window.text[section.start : section.end]) + fence
    fix = Fix("Close the code block", (TextEdit(Span(end, end), new),))
    message = "this code block is never closed"
    return report("code-block-unclosed", window.line_span(opening), message, fix)
