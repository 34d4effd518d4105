"""What each stretch of a document is, for editors that colour by meaning.

The body's tokens are the captures of the grammar's own highlight query, so they cannot
differ from what editors with tree-sitter show. The frontmatter's come from its entries;
lines of it that cannot be read as YAML still get their keys and comments, since colours
that vanish while one types say that everything is broken. Tokens never overlap and never
span lines.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from tree_sitter import Language, Query, QueryCursor

import tree_sitter_dlm
from dlm_engine.document import Frontmatter, LiveDocument, Span
from dlm_server.features.entries import Entry, entries
from dlm_server.features.highlights import BY_CAPTURE

_KEY = re.compile(r"[ \t]*(?:- +)*([A-Za-z_][A-Za-z0-9_.-]*)[ \t]{0,9}:(?=\s|$)")
_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#")
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]{0,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][-+]?\d{1,4})?")
_BOOLEAN = frozenset(["true", "false", "yes", "no", "on", "off"])
_LINE = re.compile(r"[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Token:
    """A stretch of one line; `type` is one of `highlights.TOKEN_TYPES`."""

    span: Span
    type: str


def tokens(live: LiveDocument, within: Span | None = None) -> tuple[Token, ...]:
    """The tokens that touch `within` (everything when None), in the order of the text."""
    wanted = within or Span(0, len(live.text))
    # Whole lines: what is captured inside another capture must be found together with it.
    last = live.line_of(wanted.end)
    start = live.line_start(live.line_of(wanted.start))
    found = [*_captured(live, Span(start, live.line_start(last) + len(live.line_text(last))))]
    head = live.frontmatter_span
    if head is not None and head.start < wanted.end and wanted.start <= head.end:
        found += _frontmatter(live, head)
    made = _lines(live, _without_overlap(found))
    return tuple(t for t in made if t.span.start < wanted.end and wanted.start < t.span.end)


def fresh_tokens(live: LiveDocument, kept: str) -> Iterator[tuple[int, list[Token]]]:
    """The tokens of the chunks whose reading keeps nothing under the name `kept`, by number."""
    chunks = live.chunks
    first = 0
    while first < len(chunks.items):
        last = first
        while last < len(chunks.items) and kept not in chunks.items[last].reading.kept:
            last += 1
        # Neighbours are looked at together: each look costs a walk to its place.
        places = chunks.characters[first : last + 1]
        found = deque(tokens(live, Span(places[0], places[-1])) if first < last else ())
        for index, end in enumerate(places[1:], first):
            own: list[Token] = []
            while found and found[0].span.start < end:
                own.append(found.popleft())
            yield index, own
        first = last + 1


@lru_cache(maxsize=1)
def _query() -> Query:
    return Query(Language(tree_sitter_dlm.language()), tree_sitter_dlm.HIGHLIGHTS_QUERY)


def _captured(live: LiveDocument, wanted: Span) -> Iterator[tuple[Span, int, str]]:
    """(place, rank, capture); of several captures of one place the last pattern counts."""
    cursor = QueryCursor(_query())
    if wanted != (0, len(live.text)):
        cursor.set_byte_range(live.byte_of(wanted.start), live.byte_of(wanted.end))
    for rank, captures in cursor.matches(live.root):
        for name, nodes in captures.items():
            for node in nodes:
                yield live.span(node), rank, name


def _without_overlap(found: Iterable[tuple[Span, int, str]]) -> Iterator[tuple[Span, str]]:
    """Inner stretches win over the ones around them, later patterns over earlier ones."""
    by_place: dict[Span, tuple[int, str]] = {}
    for span, rank, name in found:
        known = by_place.get(span)
        if known is None or known[0] < rank:
            by_place[span] = (rank, name)
    above: list[tuple[int, str]] = []
    at = 0
    for span, (_, name) in sorted(by_place.items(), key=lambda i: (i[0].start, -i[0].end)):
        while above and above[-1][0] <= span.start:
            end, outer = above.pop()
            if at < end:
                yield Span(at, end), outer
            at = max(at, end)
        if above and at < span.start:
            yield Span(at, span.start), above[-1][1]
        at = max(at, span.start)
        above.append((span.end, name))
    while above:
        end, outer = above.pop()
        if at < end:
            yield Span(at, end), outer
        at = max(at, end)


def _lines(live: LiveDocument, flat: Iterable[tuple[Span, str]]) -> Iterator[Token]:
    for span, name in flat:
        kind = BY_CAPTURE[name].token
        if kind is None:
            continue
        for line in _LINE.finditer(live.text, span.start, span.end):
            written = line.group()
            start = line.start() + len(written) - len(written.lstrip())
            end = line.start() + len(written.rstrip())
            if start < end:
                yield Token(Span(start, end), kind)


def _frontmatter(live: LiveDocument, head: Span) -> Iterator[tuple[Span, int, str]]:
    leaves: list[Span] = []
    keys: set[int] = set()
    for entry in _walk(entries(live)):
        if entry.key != entry.value:
            keys.add(entry.key.start)
            yield entry.key, 0, "property"
        if not entry.children and entry.value.start < entry.value.end:
            leaves.append(entry.value)
            yield entry.value, 0, _kind_of(entry, live.text[entry.value.start : entry.value.end])
    leaves.sort()

    def inside(offset: int) -> bool:
        i = bisect_right(leaves, Span(offset, len(live.text) + 1)) - 1
        return i >= 0 and leaves[i].start <= offset < leaves[i].end

    for line in _LINE.finditer(live.text, head.start, head.end):
        key = _KEY.match(line.group())
        start = line.start()
        if key and start + key.start(1) not in keys and not inside(start + key.start(1)):
            yield Span(start + key.start(1), start + key.end(1)), 0, "property"
        for mark in _COMMENT.finditer(line.group()):
            if not inside(start + mark.start()):
                yield Span(start + mark.start(), line.end()), 0, "comment"
                break


def _walk(found: Iterable[Entry]) -> Iterator[Entry]:
    for entry in found:
        yield entry
        yield from _walk(entry.children)


def _kind_of(entry: Entry, written: str) -> str:
    if written[0] in "\"'|>":
        return "string"
    if written in choices_at(entry.path):
        return "constant"
    if written.lower() in _BOOLEAN:
        return "boolean"
    if written in ("null", "~"):
        return "constant.builtin"
    return "number" if _NUMBER.fullmatch(written) else "string"


@lru_cache(maxsize=512)
def choices_at(path: str) -> frozenset[str]:
    """The words that the schema allows at a dotted path; empty where any value may stand."""
    kinds: list[Any] = [Frontmatter]
    for step in path.split("."):
        inner: list[Any] = []
        for kind in kinds:
            for part in _parts(kind):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    known = part.model_fields.get(step)
                    inner += [known.annotation] if known else []
                elif get_origin(part) is dict or (get_origin(part) is tuple and step.isdigit()):
                    inner.append(get_args(part)[-1 if get_origin(part) is dict else 0])
        kinds = inner
    found = (v for k in kinds for p in _parts(k) if get_origin(p) is Literal for v in get_args(p))
    return frozenset(v for v in found if isinstance(v, str))


def _parts(kind: Any) -> Iterator[Any]:
    """The members of a union, looking through annotations; the type itself otherwise."""
    origin = get_origin(kind)
    if origin is None or origin in (dict, tuple, Literal):
        yield kind
    elif hasattr(kind, "__metadata__"):
        yield from _parts(get_args(kind)[0])
    else:
        for part in get_args(kind):
            yield from _parts(part)
