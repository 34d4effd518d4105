"""Which question a cursor stands in: from its header to the next one, its answer included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_server.features.body_place import around

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument, Section


def question_at(live: LiveDocument, offset: int) -> tuple[Section, int] | None:
    """The section and the number of its question on the line of `offset`; None elsewhere."""
    line = live.line_of(offset)
    start = live.line_start(line)
    section = live.section_at(start)
    node = around(live, start, "section")
    if section is None or node is None or live.in_frontmatter(start):
        return None
    questions = [live.span(child) for child in node.named_children if child.type == "question"]
    above = [span for span in questions if live.line_of(span.start) <= line]
    if not above:
        return None
    for number, pair in enumerate(section.pairs):
        if above[-1].start <= pair.question_span.start < above[-1].end:
            return section, number
    return None
