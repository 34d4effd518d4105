"""Growing a selection by what a writer means: word, line, field text, field, section.

In the frontmatter: value, entry, the mapping around it, the whole block. Every step
strictly holds the one before, and the last is the whole document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tree_sitter import Node

from dlm_engine.document import LiveDocument, Span
from dlm_server.features.entries import Entry, entries
from dlm_server.features.folding import FIELDS
from dlm_server.features.headings import headings_in

_WORD = re.compile(r"[\w'’-]+")
#: as far from the cursor as a word is looked for: lines can be very long
_REACH = 256


def selections(live: LiveDocument, offset: int) -> tuple[Span, ...]:
    """The steps from the smallest to the whole document."""
    steps: list[Span] = []
    for span in sorted(_around(live, offset), key=lambda s: (s.end - s.start, s.start)):
        inner = steps[-1] if steps else Span(offset, offset)
        grows = span.start <= inner.start and inner.end <= span.end and span != inner
        if grows and span.start < span.end:
            steps.append(span)
    return tuple(steps) or (Span(0, len(live.text)),)


def _around(live: LiveDocument, offset: int) -> Iterator[Span]:
    yield Span(0, len(live.text))
    yield from _line(live, offset)
    if live.in_frontmatter(offset):
        head = live.frontmatter_span
        assert head is not None
        yield head
        yield from _entries(entries(live), offset)
        return
    section = next((n for n in _holding(live, live.root, offset) if n.type == "section"), None)
    if section is not None:
        yield from _section(live, section, offset)


def _holding(live: LiveDocument, node: Node, offset: int) -> Iterator[Node]:
    """The named children that hold `offset`; one that ends there only if none begins there."""
    byte = len(live.text[:offset].encode("utf-8", "surrogatepass"))
    around = [c for c in node.named_children if c.start_byte <= byte <= c.end_byte]
    yield from (c for c in around if byte < c.end_byte)
    yield from (c for c in around if byte == c.end_byte)


def _line(live: LiveDocument, offset: int) -> Iterator[Span]:
    line = live.line_of(offset)
    start = live.line_start(line)
    written = live.line_text(line)
    inner = written.strip()
    at = start + len(written) - len(written.lstrip())
    if inner:
        yield Span(at, at + len(inner))
    low, high = max(start, offset - _REACH), min(start + len(written), offset + _REACH)
    for match in _WORD.finditer(live.text, low, high):
        if match.start() <= offset <= match.end():
            yield Span(*match.span())


def _entries(found: Iterable[Entry], offset: int) -> Iterator[Span]:
    for entry in found:
        if not entry.span.start <= offset <= entry.span.end:
            continue
        yield entry.span
        if entry.key.start <= offset <= entry.key.end and not entry.children:
            yield entry.key
        if entry.value.start <= offset <= entry.value.end:
            yield entry.value
        yield from _entries(entry.children, offset)


def _section(live: LiveDocument, section: Node, offset: int) -> Iterator[Span]:
    whole = live.span(section)
    yield _trimmed(live, whole)
    fence = section.child_by_field_name("fence")
    if fence is not None:
        place = live.span(fence)
        if place.start <= offset <= place.end:
            yield place
            for part in fence.named_children:
                yield from _parts(live, part, offset)
            return
        after = live.line_of(place.end) + 1
        if after < live.line_count and live.line_start(after) <= offset:
            yield _trimmed(live, Span(live.line_start(after), whole.end))
    for child in section.named_children:
        place = live.span(child)
        if not place.start <= offset <= place.end:
            continue
        if child.type in FIELDS:
            yield _trimmed(live, place)
            yield from _body(live, child.child_by_field_name("body"), offset)
        elif child.type == "body":
            yield from _body(live, child, offset)


def _parts(live: LiveDocument, part: Node, offset: int) -> Iterator[Span]:
    place = live.span(part)
    if place.start <= offset <= place.end:
        yield place
        for inner in part.named_children:
            yield from _parts(live, inner, offset)


def _body(live: LiveDocument, body: Node | None, offset: int) -> Iterator[Span]:
    if body is None:
        return
    place = live.span(body)
    if not place.start <= offset <= place.end:
        return
    yield _trimmed(live, place)
    for heading in headings_in(live, body):
        yield _trimmed(live, heading.span)
    for block in body.named_children:
        if block.type != "code_block":
            continue
        yield _trimmed(live, live.span(block))
        content = block.child_by_field_name("content")
        if content is not None:
            yield _trimmed(live, live.span(content))
    yield from _paragraphs(live, body)


def _paragraphs(live: LiveDocument, body: Node) -> Iterator[Span]:
    """The runs of lines between blank ones, headings and code: the tree cuts long ones."""
    run: Span | None = None
    for block in body.named_children:
        place = live.span(block) if block.type == "paragraph" else None
        if run is not None and place is not None and place.start == run.end:
            run = Span(run.start, place.end)
            continue
        if run is not None:
            yield _trimmed(live, run)
        run = place
    if run is not None:
        yield _trimmed(live, run)


def _trimmed(live: LiveDocument, span: Span) -> Span:
    """Without blank lines around it; the first line keeps its indentation out as well."""
    text = live.text[span.start : span.end]
    start = span.start + len(text) - len(text.lstrip())
    return Span(min(start, span.end), max(start, span.start + len(text.rstrip())))
