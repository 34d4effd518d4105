"""Several rounds of edits as one set of edits of the first text.

Fixes of one round may make room for others, whose places are offsets into a text the client
has never seen. The text is kept as pieces of the original and new text between them, so what
comes out touches only what some round changed, and nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable

from dlm_engine.document import LiveDocument, Span, TextEdit


def edited(live: LiveDocument, edits: Iterable[TextEdit]) -> LiveDocument:
    """The document after edits of it that do not overlap; only what they touch is read anew."""
    from_the_end = sorted(edits, key=lambda e: e.span, reverse=True)
    return live.edit((e.span.start, e.span.end, e.new_text) for e in from_the_end)


class Pieces:
    """A text under edit that remembers which of its parts are still the original's."""

    def __init__(self, text: str) -> None:
        self._original = text
        #: parts of the original as spans, new text as it is
        self._parts: list[Span | str] = [Span(0, len(text))]

    @property
    def text(self) -> str:
        return "".join(
            self._original[part.start : part.end] if isinstance(part, Span) else part
            for part in self._parts
        )

    def apply(self, edits: Iterable[TextEdit]) -> None:
        """Apply edits of `text` that do not overlap."""
        for edit in sorted(edits, key=lambda e: e.span, reverse=True):
            before, rest = _cut(self._parts, edit.span.start)
            _, after = _cut(rest, edit.span.end - edit.span.start)
            self._parts = [*before, *([edit.new_text] if edit.new_text else []), *after]

    def edits(self) -> tuple[TextEdit, ...]:
        """The edits of the original that lead to `text`, in order."""
        found: list[TextEdit] = []
        at, new = 0, ""
        for part in (*self._parts, Span(len(self._original), len(self._original))):
            if isinstance(part, str):
                new += part
            elif part.start < part.end or part.start == len(self._original):
                if new or part.start > at:
                    found.append(TextEdit(Span(at, part.start), new))
                at, new = part.end, ""
        return tuple(found)


def _cut(parts: list[Span | str], at: int) -> tuple[list[Span | str], list[Span | str]]:
    """The parts before and after `at` characters."""
    for i, part in enumerate(parts):
        length = part.end - part.start if isinstance(part, Span) else len(part)
        if at < length:
            if at == 0:
                return parts[:i], parts[i:]
            if isinstance(part, Span):
                middle = part.start + at
                first: Span | str = Span(part.start, middle)
                second: Span | str = Span(middle, part.end)
            else:
                first, second = part[:at], part[at:]
            return [*parts[:i], first], [second, *parts[i + 1 :]]
        at -= length
    return parts, []
