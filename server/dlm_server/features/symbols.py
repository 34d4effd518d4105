"""The outline of a document: settings, sections, questions and headings, nested.

Built from the tree, so that a half-written question shows in the outline before its
answer exists. Every child lies inside its parent and every symbol's selection inside its
range, which editors refuse an outline for. Names are one short line and never empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from tree_sitter import Node

from dlm_engine.document import LiveDocument, Section, Span
from dlm_engine.document.moving import moved_span
from dlm_server.features.entries import Entry, entries
from dlm_server.features.headings import Heading, headings_in

MAX_SYMBOLS = 5000
_NAME = 60
_DETAIL = 60


class Kind(Enum):
    FRONTMATTER = "frontmatter"
    BLOCK = "block"
    LIST = "list"
    VALUE = "value"
    PROSE = "prose"
    INSTRUCTION = "instruction"
    PREFERENCE = "preference"
    MEDIA = "media"
    UNKNOWN = "unknown"
    HEADING = "heading"
    QUESTION = "question"
    PROBE = "probe"
    ADAPTER = "adapter"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Symbol:
    """`selection` is what is revealed when the symbol is chosen; it lies inside `span`."""

    name: str
    detail: str
    kind: Kind
    span: Span
    selection: Span
    children: tuple[Symbol, ...] = ()


_SECTION_KINDS = {
    "prose": Kind.PROSE,
    "instruction": Kind.INSTRUCTION,
    "preference": Kind.PREFERENCE,
    "image": Kind.MEDIA,
    "audio": Kind.MEDIA,
}
#: what begins a pair or triple -> what goes on with it
_GROUPS = {"question": ("answer",), "prompt": ("chosen", "rejected")}


def symbols(live: LiveDocument) -> tuple[Symbol, ...]:
    """The outline, at most `MAX_SYMBOLS` and a last one that says so."""
    roots: list[Symbol] = []
    sections = 0
    left = MAX_SYMBOLS
    for node in live.root.named_children:
        if left <= 0:
            break
        if node.type == "frontmatter":
            found = _frontmatter(live, node)
        else:
            sections += 1
            found = _kept_section(live, node, sections)
        cut, left = _cut(found, left)
        roots.append(cut)
    if left <= 0:
        end = Span(len(live.text), len(live.text))
        name = f"Only the first {MAX_SYMBOLS} entries are listed"
        roots.append(Symbol(name, "", Kind.NOTE, end, end))
    return tuple(roots)


def _kept_section(live: LiveDocument, node: Node, index: int) -> Symbol:
    """The symbol of chunk `index`, which the chunk keeps as long as it is as it was."""
    kept, start = live.chunks.items[index].reading.kept, live.chunks.characters[index]
    if "symbol" not in kept:
        kept["symbol"] = _section(live, node, live.section_of(index)), start
    symbol, then = kept["symbol"]
    return _moved(symbol, start - then)


def _moved(symbol: Symbol, by: int) -> Symbol:
    if not by:
        return symbol
    return Symbol(
        symbol.name,
        symbol.detail,
        symbol.kind,
        moved_span(symbol.span, by),
        moved_span(symbol.selection, by),
        tuple([_moved(child, by) for child in symbol.children]),
    )


def flattened(
    found: Iterable[Symbol], container: str | None = None
) -> Iterator[tuple[Symbol, str | None]]:
    """Every symbol with the name of the one it lies in."""
    for symbol in found:
        yield symbol, container
        yield from flattened(symbol.children, symbol.name)


def first_words(text: str, limit: int = _NAME) -> str:
    """The beginning of the first line with words, on one line, cut at a word."""
    # A line may be very long; only its beginning can be shown.
    line = next((w for part in text.splitlines() if (w := part[: limit * 4].strip())), "")
    words = " ".join(line.split())
    if len(words) <= limit:
        return words
    cut = words[: limit - 1].rsplit(" ", 1)[0] if " " in words[: limit - 1] else words[: limit - 1]
    return f"{cut.rstrip()}…"


def _cut(symbol: Symbol, left: int) -> tuple[Symbol, int]:
    left -= 1
    kept: list[Symbol] = []
    for child in symbol.children:
        if left <= 0:
            break
        cut, left = _cut(child, left)
        kept.append(cut)
    if len(kept) == len(symbol.children) and all(
        a is b for a, b in zip(kept, symbol.children, strict=True)
    ):
        return symbol, left
    return replace(symbol, children=tuple(kept)), left


def _trimmed(live: LiveDocument, span: Span) -> Span:
    text = live.text[span.start : span.end]
    start = span.start + len(text) - len(text.lstrip())
    return Span(start, max(start, span.start + len(text.rstrip()))) if text.strip() else span


def _frontmatter(live: LiveDocument, node: Node) -> Symbol:
    opening = node.child_by_field_name("open")
    assert opening is not None
    children = tuple(_key(live, entry) for entry in entries(live))
    span = _trimmed(live, live.span(node))
    return Symbol("frontmatter", "", Kind.FRONTMATTER, span, live.span(opening), children)


def _key(live: LiveDocument, entry: Entry) -> Symbol:
    children = tuple(_key(live, child) for child in entry.children)
    kind, detail = Kind.VALUE, ""
    if not children:
        detail = first_words(live.text[entry.value.start : entry.value.end], _DETAIL)
    elif all(child.name.isdigit() for child in entry.children):
        kind, detail = Kind.LIST, f"{len(children)} items" if len(children) > 1 else "1 item"
    else:
        kind = Kind.BLOCK
    name = entry.name.strip()
    if name.isdigit() and entry.key == entry.value:
        # An item of a list: its number says less than what it holds.
        first = children[0] if children else None
        name = first.detail or name if first else detail or name
        detail = ""
    return Symbol(
        first_words(name) or '""', detail, kind, entry.span, _selection(live, entry), children
    )


def _selection(live: LiveDocument, entry: Entry) -> Span:
    """The key, or the first line of an item."""
    text = live.text[entry.key.start : entry.key.end]
    first = text.splitlines()[0].rstrip() if text else ""
    return Span(entry.key.start, entry.key.start + len(first))


def _section(live: LiveDocument, node: Node, section: Section | None) -> Symbol:
    span = _trimmed(live, live.span(node))
    fence = node.child_by_field_name("fence")
    written = "prose"
    selection = Span(span.start, span.start + len(_first_line(live, span)))
    if fence is not None:
        kind_node = fence.child_by_field_name("type")
        assert kind_node is not None
        place = live.span(kind_node)
        written = live.text[place.start : place.end]
        selection = live.span(fence)
    kind = _SECTION_KINDS.get(written.lower(), Kind.UNKNOWN)
    if kind in (Kind.INSTRUCTION, Kind.PREFERENCE):
        children = _asked(live, node)
    else:
        body = node.child_by_field_name("body")
        flat = headings_in(live, body)[:MAX_SYMBOLS] if body is not None else ()
        children = _heading_symbols(live, flat, 0, len(flat), 0)
    name = _section_name(live, node, kind, section, children) or written
    adapter = f"#{section.adapter}" if section and section.adapter else ""
    count = len(children) if kind in (Kind.INSTRUCTION, Kind.PREFERENCE) else 0
    counted = _counted(count, "question" if kind is Kind.INSTRUCTION else "preference")
    known = section.id if section else ""
    detail = " · ".join(part for part in (f"{written}{adapter}", counted, known) if part)
    return Symbol(name, detail, kind, span, selection, children)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' if count > 1 else ''}" if count else ""


def _first_line(live: LiveDocument, span: Span) -> str:
    lines = live.text[span.start : span.end].splitlines()
    return lines[0].rstrip() if lines else ""


def _section_name(
    live: LiveDocument,
    node: Node,
    kind: Kind,
    section: Section | None,
    children: tuple[Symbol, ...],
) -> str:
    if kind is Kind.MEDIA and section is not None:
        return first_words(section.attributes.get("path", ""))
    if children and kind is not Kind.MEDIA:
        return children[0].name
    body = node.child_by_field_name("body")
    if body is None:
        return ""
    place = live.span(body)
    return first_words(live.text[place.start : place.end])


def _asked(live: LiveDocument, section: Node) -> tuple[Symbol, ...]:
    """The pairs of an instruction section, the triples of a preference section."""
    groups: list[list[Node]] = []
    for child in section.named_children:
        if child.type in _GROUPS:
            if len(groups) == MAX_SYMBOLS:
                break
            groups.append([child])
        elif groups and child.type in _GROUPS[groups[-1][0].type]:
            groups[-1].append(child)
    return tuple(_question(live, group) for group in groups)


def _question(live: LiveDocument, group: list[Node]) -> Symbol:
    header = group[0].child_by_field_name("header")
    assert header is not None
    probe = any(child.type == "probe" for child in header.named_children)
    line = _trimmed(live, live.span(header))
    texts = [_field_text(live, node) for node in group]
    span = Span(line.start, max(line.end, _trimmed(live, live.span(group[-1])).end))
    name = first_words(texts[0]) or live.text[line.start : line.end].strip("# \t")
    detail = first_words(texts[1], _DETAIL) if len(texts) > 1 else "no answer yet"
    return Symbol(name, detail, Kind.PROBE if probe else Kind.QUESTION, span, line)


def _field_text(live: LiveDocument, node: Node) -> str:
    body = node.child_by_field_name("body")
    if body is None:
        return ""
    place = live.span(body)
    return live.text[place.start : place.end]


def _heading_symbols(
    live: LiveDocument, flat: tuple[Heading, ...], start: int, end: int, depth: int
) -> tuple[Symbol, ...]:
    made: list[Symbol] = []
    at = start
    while at < end:
        heading = flat[at]
        after = at + 1
        while after < end and flat[after].depth > depth:
            after += 1
        children = _heading_symbols(live, flat, at + 1, after, depth + 1)
        name = first_words(heading.title) or "#" * heading.level
        span = _trimmed(live, heading.span)
        made.append(Symbol(name, "", Kind.HEADING, span, heading.line, children))
        at = after
    return tuple(made)
