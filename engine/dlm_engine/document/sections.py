"""From the section nodes of the tree to `Section`s with their rows.

Reads what the grammar found and judges it; decides nothing about lines itself. A
section keeps its exact place, fence included, up to the next fence, so that removing
one is removing its span.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.fences import AdapterName, Fence, near_fence, read_fence
from dlm_engine.document.fields import (
    FIELDS_OF,
    HEADERS,
    Field,
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
from dlm_engine.document.pieces import (
    Left,
    Parent,
    Pieces,
    QuestionKey,
    Rows,
    children_from,
    is_large,
    joined,
    read_pieces,
)
from dlm_engine.document.provenance import read_marker
from dlm_engine.document.syntax import Window
from dlm_engine.document.text import line_end_of, strip_blank_lines, with_lf

#: the fields that begin a pair or triple
_BEGINS = {kind: fields[0] for kind, fields in FIELDS_OF.items()}


@dataclass(frozen=True, slots=True)
class SectionReading:
    """What the text of one section says; `judging` adds what only several can say together."""

    #: None for prose without text
    section: Section | None
    problems: tuple[Diagnostic, ...]
    adapter: AdapterName | None = None
    #: of each of the section's pairs
    questions: tuple[QuestionKey, ...] = ()
    #: further problems, looked for by themselves
    secrets: tuple[Diagnostic, ...] = ()
    #: of a large section
    pieces: Pieces | None = field(default=None, compare=False, repr=False)
    #: what others have worked out from this section's text and tree alone, by a name of theirs;
    #: kept here, because an edit keeps the readings of all sections that it does not touch
    kept: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def noted(self) -> bool:
        """Whether it has something to say beyond its section."""
        return bool(self.problems or self.secrets or self.adapter)


class _Lead(NamedTuple):
    """A section up to its fields."""

    fence: Fence
    fence_span: Span | None
    markers: Sequence[Node]
    body: Node | None
    #: the fields; of a large section up to the first that begins a pair or triple
    fields: Sequence[Node]

    @property
    def content(self) -> Node | None:
        """What the content begins with."""
        return self.body or (self.fields[0] if self.fields else None)


class _Context(NamedTuple):
    """What the reading of a part of a section depends on besides the part's own text."""

    kind: SectionType
    adapter: str | None
    #: whether headings are looked at that would be headers in another section
    headers_are_text: bool
    #: the section's own, because a reading does not look beyond its section
    line_end: str


def read_section(window: Window, node: Node, left: Left | None = None) -> SectionReading:
    """The reading of a section node, which lies inside the window.

    Depends on the node and the text it covers, and on nothing else: `left` only says what
    of it has been read before.
    """
    problems: list[Diagnostic] = []
    span = window.span(node)
    lead = _lead(window, node, problems)
    fence, fence_span = lead.fence, lead.fence_span
    adapter = fence.adapter.name if fence.adapter else None
    provenance = dict(
        found for m in lead.markers if (found := read_marker(window, m, fence.kind, problems))
    )
    pieces, rows = _rows(window, node, lead, left)
    problems += rows.problems
    content_start = span.end if lead.content is None else window.span(lead.content).start
    raw = with_lf(window.text[content_start : span.end])
    if fence_span is None:
        raw = raw.removeprefix("\n")
    raw = raw.removesuffix("\n")
    content = strip_blank_lines(raw)
    if not content and fence_span is not None and fence.kind in (*FIELDS_OF, SectionType.PROSE):
        problems.append(report("section-empty", fence_span, "this section is empty"))
    if fence.kind is SectionType.AUDIO and content and lead.body is not None:
        message = "text under an audio section is not used; put it in `transcript` or in prose"
        problems.append(report("section-text-unused", window.line_span(lead.body), message))
    if fence.kind is SectionType.PROSE and not content:
        return SectionReading(None, tuple(problems), fence.adapter)
    section = Section(
        type=fence.kind,
        id=section_id(fence.kind, content, fence.attributes),
        legacy_id=legacy_section_id(fence.kind, raw, fence.attributes),
        content=content,
        span=span,
        fence_span=fence_span,
        adapter=adapter,
        pairs=rows.pairs,
        triples=rows.triples,
        attributes=fence.attributes,
        provenance=provenance,
    )
    return SectionReading(section, tuple(problems), fence.adapter, rows.questions, pieces=pieces)


def _lead(window: Window, node: Node, problems: list[Diagnostic]) -> _Lead:
    large = is_large(node)
    fence = Fence(SectionType.PROSE)
    fence_span: Span | None = None
    markers: list[Node] = []
    body: Node | None = None
    fields: list[Node] = []
    for child in children_from(node, node.start_byte) if large else node.named_children:
        kind = child.type
        if kind == "fence":
            fence_span = window.span(child)
            fence = read_fence(window, child, problems)
        elif kind == "body":
            body = child
        elif kind == "provenance_marker":
            markers.append(child)
        elif kind == "trailing_space":
            where = window.span(child)
            fix = Fix("Remove the blanks", (TextEdit(where, ""),))
            message = "blanks after a fence; read as a fence all the same"
            problems.append(report("fence-near-miss", where, message, fix))
        else:
            fields.append(child)
            if large and kind == _BEGINS.get(fence.kind):
                break
    return _Lead(fence, fence_span, markers, body, fields)


def _rows(window: Window, node: Node, lead: _Lead, left: Left | None) -> tuple[Pieces | None, Rows]:
    """The rows of a section, and the pieces they were read in if it is large."""
    fence, body, fields = lead.fence, lead.body, lead.fields
    begins = _BEGINS.get(fence.kind)
    context = _Context(
        fence.kind,
        fence.adapter.name if fence.adapter else None,
        fence.kind is SectionType.PROSE and fence.known,
        line_end_of(window.text, *window.span(node)),
    )
    problems: list[Diagnostic] = []
    leading: Field | None = None
    parent: Parent | None = None
    if begins is not None:
        if body is not None:
            _judge_blocks(window, body.named_children, context, problems)
            leading = leading_field(window, body, fence.kind, problems)
        if is_large(node) and fields and fields[-1].type == begins:
            # Such a field ends the one before it, whatever that one lacks.
            parent = Parent(node, node, fields[-1], begins)
            fields = fields[:-1]
    elif body is not None and is_large(node) and body.named_child_count:
        first = body.named_child(0)
        parent = first and Parent(node, body, first, None)
    elif body is not None:
        _judge_blocks(window, body.named_children, context, problems)
    rows = _read_fields(window, fields, context, leading, problems)
    if parent is None:
        return None, rows
    read = _read_fields if begins else _read_blocks
    pieces, more = read_pieces(window, parent, lambda n: read(window, n, context), context, left)
    return pieces, joined([rows, more])


def _read_blocks(window: Window, nodes: Sequence[Node], context: _Context) -> Rows:
    problems: list[Diagnostic] = []
    _judge_blocks(window, nodes, context, problems)
    return Rows(problems=tuple(problems))


def _read_fields(
    window: Window,
    nodes: Sequence[Node],
    context: _Context,
    leading: Field | None = None,
    problems: Sequence[Diagnostic] = (),
) -> Rows:
    """What fields say, in front of which there may be one more and problems."""
    found = list(problems)
    for node in nodes:
        body = node.child_by_field_name("body")
        if body is not None:
            _judge_blocks(window, body.named_children, context, found)
    fields = read_fields(window, nodes)
    if leading is not None:
        fields.insert(0, leading)
    pairs: tuple[QuestionAnswer, ...] = ()
    triples: tuple[PreferenceTriple, ...] = ()
    if context.kind is SectionType.INSTRUCTION:
        pairs = read_pairs(window, fields, found)
    elif context.kind is SectionType.PREFERENCE:
        triples = read_triples(window, fields, found)
    questions = tuple([(context.adapter, " ".join(pair.question.split())) for pair in pairs])
    return Rows(pairs, triples, questions, tuple(found))


def _judge_blocks(
    window: Window, blocks: Iterable[Node], context: _Context, problems: list[Diagnostic]
) -> None:
    for block in blocks:
        if block.type != "paragraph":
            _judge_block(window, block, context, problems)


def _judge_block(
    window: Window, block: Node, context: _Context, problems: list[Diagnostic]
) -> None:
    match block.type:
        case "near_fence":
            span = window.line_span(block)
            # Fewer than four blanks; with them the line would still be no fence.
            before = window.text[max(0, span.start - 3) : span.start]
            indent = len(before) - len(before.rstrip(" "))
            problems.append(near_fence(window.text_of(block).rstrip(), span, indent))
        case "near_marker":
            message = "looks like a provenance marker but is read as text"
            problems.append(report("marker-near-miss", window.line_span(block), message))
        case "code_block" if block.child_by_field_name("close") is None:
            problems.append(_unclosed(window, block, context.line_end))
        case "heading" if context.headers_are_text:
            words = window.text_of(block).strip().removesuffix("!probe").rstrip()
            if words in (HEADERS["question"], HEADERS["answer"]):
                message = (
                    f"`{words}` is a header only in a section that starts with ::instruction::"
                )
                problems.append(report("header-outside-section", window.line_span(block), message))


def _unclosed(window: Window, block: Node, line_end: str) -> Diagnostic:
    opening = block.child_by_field_name("open")
    assert opening is not None
    fence = window.text_of(opening).strip()
    span = window.span(block)
    text = window.text[span.start : span.end]
    end = span.start + len(text.rstrip())
    fix = Fix("Close the code block", (TextEdit(Span(end, end), line_end + fence),))
    message = "this code block is never closed"
    return report("code-block-unclosed", window.line_span(opening), message, fix)
