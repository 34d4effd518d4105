"""What can be folded: frontmatter, sections, fields, headings, code blocks, markers.

A fold is whole lines, from the line that stays to the last that is hidden, and there is
one for a starting line at most. Editors that fold lines only and those that fold from any
character then show the same, and no fold is half of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tree_sitter import Node

from dlm_engine.document import LiveDocument, Span
from dlm_server.features.entries import Entry, entries
from dlm_server.features.headings import headings_in

FIELDS = ("question", "answer", "prompt", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Fold:
    """Lines count from 0, both included; `depth` is how many folds this one lies in."""

    start_line: int
    end_line: int
    kind: Literal["region", "comment"] | None
    depth: int


def folds(live: LiveDocument) -> tuple[Fold, ...]:
    """Every fold, sorted by starting line."""
    widest: dict[int, Fold] = {}
    for span, kind, depth in _candidates(live):
        end = span.start + len(live.text[span.start : span.end].rstrip())
        first, last = live.line_of(span.start), live.line_of(max(span.start, end))
        known = widest.get(first)
        if last > first and (known is None or known.end_line < last):
            widest[first] = Fold(first, last, kind, depth)
    return tuple(widest[line] for line in sorted(widest))


def at_most(found: Iterable[Fold], limit: int) -> tuple[Fold, ...]:
    """The `limit` outermost folds, in the order of the text."""
    kept = sorted(found, key=lambda f: (f.depth, f.start_line))[: max(0, limit)]
    return tuple(sorted(kept, key=lambda f: f.start_line))


_Candidate = tuple[Span, Literal["region", "comment"] | None, int]


def _candidates(live: LiveDocument) -> Iterator[_Candidate]:
    for node in live.root.named_children:
        if node.type == "frontmatter":
            yield live.span(node), "region", 0
            yield from _nested(entries(live), 1)
        elif node.type == "section":
            yield from _section(live, node)


def _nested(found: Iterable[Entry], depth: int) -> Iterator[_Candidate]:
    for entry in found:
        yield entry.span, None, depth
        yield from _nested(entry.children, depth + 1)


def _section(live: LiveDocument, section: Node) -> Iterator[_Candidate]:
    span = live.span(section)
    fenced = section.child_by_field_name("fence") is not None
    if fenced:
        yield span, "region", 0
    markers: list[Node] = []
    for child in section.named_children:
        if child.type == "provenance_marker":
            markers.append(child)
        elif child.type == "body":
            yield from ((h.span, None, h.depth + 1) for h in headings_in(live, child))
            yield from _code_blocks(live, child, 1)
        elif child.type in FIELDS:
            yield _field_span(live, child), None, 1
            body = child.child_by_field_name("body")
            if body is not None:
                yield from _code_blocks(live, body, 2)
    if markers:
        yield Span(live.span(markers[0]).start, live.span(markers[-1]).end), "comment", 1


def _field_span(live: LiveDocument, node: Node) -> Span:
    """The field from its header: blanks before the header belong to its node as well."""
    span = live.span(node)
    text = live.text[span.start : span.end]
    return Span(span.start + len(text) - len(text.lstrip()), span.end)


def _code_blocks(live: LiveDocument, body: Node, depth: int) -> Iterator[_Candidate]:
    for block in body.named_children:
        if block.type == "code_block":
            yield live.span(block), None, depth
