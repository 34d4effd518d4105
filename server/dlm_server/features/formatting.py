"""Canonical white space, where it means nothing: nothing a model learns ever changes.

A section's id is a hash of its text, blanks at line ends and blank lines between fields
included, so only what lies around that text is touched: blank lines between sections and
under fences, blanks after fences, markers and delimiters and inside a fence, line ends of
the frontmatter, the end of the file. The result is parsed and compared before it is
offered: ids, rows, values and errors must be the same. A change that would alter one of
them (blank lines that keep a near miss from being a marker, say) is left out, and
formatting a second time finds nothing more to do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from tree_sitter import Node

from dlm_engine.document import LiveDocument, Severity, Span, TextEdit, apply_edits
from dlm_server.features.entries import Entry, entries

_LINE_END = re.compile(r"\r\n|\n|\r")
_TRAILING = re.compile(r"[ \t]+(?=\r|\n|$)")
#: how often the text is parsed to find out which change it is that would alter the meaning
_TRIALS = 64
_PASSES = 4

_Edits = tuple[TextEdit, ...]


def format_document(live: LiveDocument) -> _Edits:
    """The edits that bring the document into its canonical form; none when it is there."""
    return _settled(live, lambda now: tuple(_wanted(now)))


def format_range(live: LiveDocument, within: Span) -> _Edits:
    """Those of the edits that lie in whole inside `within`."""
    after = len(live.text) - within.end

    def inside(now: LiveDocument) -> _Edits:
        end = len(now.text) - after
        return tuple(e for e in _wanted(now) if within.start <= e.span.start and e.span.end <= end)

    return _settled(live, inside)


def _settled(live: LiveDocument, wanted: Callable[[LiveDocument], _Edits]) -> _Edits:
    """The edits to where nothing more is wanted, or what is wanted would change the meaning.

    One pass gets there, but for texts made to be awkward; those that take many stay as they are.
    """
    first, now = _sound(live, wanted(live))
    for step in range(_PASSES if first else 0):
        edits, now = _sound(now, wanted(now))
        if not edits:
            return first if not step else (_difference(live.text, now.text),)
    return ()


def _sound(live: LiveDocument, edits: _Edits) -> tuple[_Edits, LiveDocument]:
    """As many of `edits` as leave the meaning alone, taken together; and the result."""
    if not edits:
        return (), live
    before = _meaning(live)
    taken: list[TextEdit] = []
    now = live
    left = _TRIALS
    parts: list[Sequence[TextEdit]] = [edits]
    while parts and left:
        part = parts.pop()
        after = LiveDocument.open(apply_edits(live.text, [*taken, *part]))
        left -= 1
        if _meaning(after) == before:
            taken.extend(part)
            now = after
        elif len(part) > 1:
            half = len(part) // 2
            parts += [part[half:], part[:half]]
    return tuple(taken), now


def _meaning(live: LiveDocument) -> object:
    """What must not change: settings as read, sections with their rows, errors by kind."""
    document = live.document
    return (
        document.frontmatter,
        document.dlm_version,
        list(document.keys),
        [
            (s.id, s.type, s.adapter, s.content, s.attributes, s.provenance)
            for s in document.sections
        ],
        [[(p.question, p.answer, p.probe) for p in s.pairs] for s in document.sections],
        [[(t.prompt, t.chosen, t.rejected) for t in s.triples] for s in document.sections],
        [(p.code, p.message) for p in live.diagnostics if p.severity is Severity.ERROR],
    )


def _difference(old: str, new: str) -> TextEdit:
    """One edit from `old` to `new`, without their common beginning and end."""
    shorter = min(len(old), len(new))
    start = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    most = shorter - start
    tail = next((i for i in range(most) if old[-1 - i] != new[-1 - i]), most)
    return TextEdit(Span(start, len(old) - tail), new[start : len(new) - tail])


def _wanted(live: LiveDocument) -> Iterator[TextEdit]:
    """Every change that would be canonical, in the order of the text; they never touch."""
    nodes = live.root.named_children
    ending = _line_end_of(live.text)
    gap = ""
    if nodes and nodes[0].type == "frontmatter":
        if nodes[0].child_by_field_name("close") is None:
            # Where the settings never end, a blank line may be what ends them.
            return
        yield from _frontmatter(live, nodes[0])
        gap = ending
    for i, section in enumerate(n for n in nodes if n.type == "section"):
        fenced = section.child_by_field_name("fence") is not None
        above = "" if fenced else gap
        if fenced and i == 0 and gap:
            start = live.span(section).start
            yield TextEdit(Span(start, start), gap)
        below = "" if section == nodes[-1] else ending
        yield from _header_lines(live, section)
        yield from _around_text(live, section, above, below)
    if live.text[_line_start(live.text, len(live.text)) :].strip():
        end = len(live.text)
        yield TextEdit(Span(end, end), ending)


def _line_end_of(text: str) -> str:
    match = _LINE_END.search(text)
    return match.group() if match else "\n"


def _frontmatter(live: LiveDocument, node: Node) -> Iterator[TextEdit]:
    """Blanks at line ends, but for those inside a value."""
    place = live.span(node)
    values = [entry.value for entry in _leaves(entries(live))]
    for match in _TRAILING.finditer(live.text, place.start, place.end):
        if not any(v.start < match.end() and match.start() < v.end for v in values):
            yield TextEdit(Span(*match.span()), "")


def _leaves(found: Sequence[Entry]) -> Iterator[Entry]:
    for entry in found:
        if entry.children:
            yield from _leaves(entry.children)
        else:
            yield entry


def _header_lines(live: LiveDocument, section: Node) -> Iterator[TextEdit]:
    """Blanks in and after the fence and after markers."""
    for child in section.named_children:
        if child.type == "fence":
            yield from _fence(live, child)
        elif child.type == "trailing_space":
            yield TextEdit(live.span(child), "")
        elif child.type == "provenance_marker":
            blanks = (c for c in child.named_children if c.type == "trailing_space")
            yield from (TextEdit(live.span(c), "") for c in blanks)


def _fence(live: LiveDocument, fence: Node) -> Iterator[TextEdit]:
    """One blank before each attribute, none before the closing colons."""
    parts = fence.children
    for before, after in pairwise(parts):
        gap = Span(live.span(before).end, live.span(after).start)
        wanted = " " if after.type == "attribute" else ""
        if live.text[gap.start : gap.end] != wanted:
            yield TextEdit(gap, wanted)


def _around_text(live: LiveDocument, section: Node, above: str, below: str) -> Iterator[TextEdit]:
    """The blank lines over and under a section's text become `above` and `below`."""
    end = live.span(section).end
    start = _after_header_lines(live, section)
    text = live.text[start:end]
    if not text.strip():
        yield from _blank(live, Span(start, end), below or (above if below else ""))
        return
    first = _line_start(text, len(text) - len(text.lstrip()))
    yield from _blank(live, Span(start, start + first), above)
    line_end = _LINE_END.search(text, len(text.rstrip()))
    if line_end is not None:
        yield from _blank(live, Span(start + line_end.end(), end), below)


def _blank(live: LiveDocument, place: Span, wanted: str) -> Iterator[TextEdit]:
    written = live.text[place.start : place.end]
    if written == wanted or (wanted and _LINE_END.fullmatch(written)):
        return
    yield TextEdit(place, wanted)


def _after_header_lines(live: LiveDocument, section: Node) -> int:
    """Where the text of a section may begin: the line after its fence and markers."""
    at = live.span(section).start
    for child in section.named_children:
        if child.type in ("fence", "trailing_space"):
            found = _LINE_END.search(live.text, live.span(child).end)
            at = found.end() if found else len(live.text)
        elif child.type == "provenance_marker":
            at = live.span(child).end
    return at


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
