"""The headings of a body, nested by level.

A heading reaches to the next one of its level or above, or to the end of its body, so
that a heading inside another one lies inside it by place too.
"""

from __future__ import annotations

from dataclasses import dataclass

from tree_sitter import Node

from dlm_engine.document import LiveDocument, Span


@dataclass(frozen=True, slots=True)
class Heading:
    """`line` is the heading's own text, `span` what stands under it too; `depth` from 0."""

    level: int
    title: str
    line: Span
    span: Span
    depth: int


def headings_in(live: LiveDocument, body: Node) -> tuple[Heading, ...]:
    """In the order of the text, each before those inside it."""
    flat: list[tuple[int, str, Span]] = []
    for node in body.named_children:
        if node.type == "heading":
            place = live.span(node)
            written = live.text[place.start : place.end]
            start = place.start + len(written) - len(written.lstrip())
            end = place.start + len(written.rstrip())
            level, title = _level_and_title(written.strip())
            flat.append((level, title, Span(start, end)))
    last = live.span(body).end
    ends = [last] * len(flat)
    depths = [0] * len(flat)
    above: list[int] = []
    for i, (level, _, line) in enumerate(flat):
        while above and flat[above[-1]][0] >= level:
            ends[above.pop()] = line.start
        depths[i] = len(above)
        above.append(i)
    return tuple(
        Heading(level, title, line, Span(line.start, end), depth)
        for (level, title, line), end, depth in zip(flat, ends, depths, strict=True)
    )


def _level_and_title(line: str) -> tuple[int, str]:
    words = line.lstrip("#")
    level = len(line) - len(words)
    title = words.strip()
    # Closing hashes count as such only after a blank, as in markdown.
    unclosed = title.rstrip("#")
    if unclosed != title and (not unclosed or unclosed[-1] in " \t"):
        title = unclosed.rstrip()
    return level, title
