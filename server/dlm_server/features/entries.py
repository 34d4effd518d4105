"""The entries of the frontmatter as a tree by place, for outlines, folds and selections.

Nested by where entries stand and not by their paths: a name may hold a dot, and what an
alias repeats stands in one place only. Each entry lies inside its parent, siblings never
overlap, and what cannot be read as YAML is simply not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dlm_engine.document import KeySpan, LiveDocument, Span


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value`, or one item of a list (whose key is the whole item)."""

    name: str
    path: str
    key: Span
    value: Span
    children: tuple[Entry, ...] = ()

    @property
    def span(self) -> Span:
        return Span(self.key.start, max(self.key.end, self.value.end))


@dataclass(slots=True)
class _Open:
    entry: Entry
    children: list[_Open] = field(default_factory=list)

    def closed(self) -> Entry:
        e = self.entry
        return Entry(e.name, e.path, e.key, e.value, tuple(c.closed() for c in self.children))


def entries(live: LiveDocument) -> tuple[Entry, ...]:
    """The top-level entries in the order of the text."""
    found: dict[Span, Entry] = {}
    for path, place in live.keys.items():
        found.setdefault(place.key, _entry(path, place))
    roots: list[_Open] = []
    above: list[_Open] = []
    for entry in sorted(found.values(), key=lambda e: (e.span.start, -e.span.end)):
        while above and above[-1].entry.span.end <= entry.span.start:
            above.pop()
        if above and above[-1].entry.span.end < entry.span.end:
            # Only an entry with a damaged place crosses another's end.
            continue
        opened = _Open(entry)
        (above[-1].children if above else roots).append(opened)
        above.append(opened)
    return tuple(opened.closed() for opened in roots)


def _entry(path: str, place: KeySpan) -> Entry:
    value = place.value
    if value.start < place.key.start:
        # The value of an alias stands where its anchor is.
        value = Span(place.key.end, place.key.end)
    return Entry(path.rsplit(".", 1)[-1], path, place.key, value)
