"""Where a cursor stands in the body: on which line, in what kind of section, between which headers.

The tree decides what a line is, as everywhere; this only looks up the nodes around the cursor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlm_engine.document import SectionType, Span

if TYPE_CHECKING:
    from tree_sitter import Node

    from dlm_engine.document import LiveDocument

_FIELDS = ("question", "answer", "prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class BodyPlace:
    """A line of the body outside code blocks."""

    start: int
    text: str
    #: cursor column on the line
    column: int
    #: None above the first section of an empty body
    kind: SectionType | None
    #: headers around this line, as field types ("question", ...); the line's own is not counted
    header_above: str | None = None
    header_below: str | None = None


def body_place(live: LiveDocument, offset: int) -> BodyPlace | None:
    """The place of `offset`; None in the frontmatter and in code blocks."""
    line = live.line_of(offset)
    start = live.line_start(line)
    if live.in_frontmatter(offset) or (live.frontmatter_span or (0, 0))[1] > start:
        return None
    if in_code(live, start):
        return None
    text = live.line_text(line)
    section = around(live, start, "section")
    if section is None:
        return BodyPlace(start, text, offset - start, None)
    headers = [
        (live.span(child).start, child.type)
        for child in section.named_children
        if child.type in _FIELDS
    ]
    own = start + len(text) - len(text.lstrip())
    above = [kind for at, kind in headers if at < start]
    below = [kind for at, kind in headers if at > own]
    return BodyPlace(
        start=start,
        text=text,
        column=offset - start,
        kind=_kind(live, section),
        header_above=above[-1] if above else None,
        header_below=below[0] if below else None,
    )


def in_code(live: LiveDocument, line_start: int) -> bool:
    """Whether the line that starts here belongs to a code block, its fences included."""
    return code_block_at(live, line_start) is not None


def code_block_at(live: LiveDocument, line_start: int) -> Span | None:
    """The code block that the line which starts here belongs to."""
    node = around(live, line_start, "code_block")
    if node is None:
        return None
    # After the last line end there is no text that could belong to a block that was closed.
    after = line_start == len(live.text) and node.child_by_field_name("close") is not None
    return None if after else live.span(node)


def around(live: LiveDocument, line_start: int, kind: str) -> Node | None:
    """The node of this kind around the first character of a line, or before the text's end."""
    inside = line_start < len(live.text)
    node: Node | None = live.node_at(line_start if inside else max(0, line_start - 1))
    while node is not None and node.type != kind:
        node = node.parent
    return node


def _kind(live: LiveDocument, section: Node) -> SectionType:
    fence = section.child_by_field_name("fence")
    name = fence.child_by_field_name("type") if fence is not None else None
    if name is None:
        return SectionType.PROSE
    span = live.span(name)
    try:
        return SectionType(live.text[span.start : span.end].lower())
    except ValueError:
        return SectionType.PROSE
