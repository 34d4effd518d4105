"""Finding a question, heading or adapter in all documents by a few of its letters.

The letters must occur in the name in their order; nothing else is asked for, as every
editor sorts and filters what it gets once more. Better matches come first, so that the
bound cuts the worst ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlm_engine.document import LiveDocument, Span
from dlm_server.features.entries import entries
from dlm_server.features.symbols import Kind, flattened, symbols

MAX_FOUND = 200
_FINDABLE = frozenset({Kind.HEADING, Kind.QUESTION, Kind.PROBE})


@dataclass(frozen=True, slots=True)
class Findable:
    """One thing in a document; `container` is the section it stands in."""

    name: str
    kind: Kind
    span: Span
    container: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """The index of a document in what was searched, and that of a symbol in the document."""

    document: int
    index: int


def findable(live: LiveDocument) -> tuple[Findable, ...]:
    """What of a document can be found from outside."""
    made = [
        Findable(symbol.name, symbol.kind, symbol.selection, container)
        for symbol, container in flattened(symbols(live))
        if symbol.kind in _FINDABLE
    ]
    for entry in entries(live):
        for inner in entry.children if entry.path == "training" else ():
            for adapter in inner.children if inner.path == "training.adapters" else ():
                made.append(Findable(adapter.name, Kind.ADAPTER, adapter.key, "training.adapters"))
    return tuple(made)


def search(documents: Sequence[Iterable[Findable]], query: str) -> tuple[Found, ...]:
    """The best `MAX_FOUND` matches over all documents."""
    wanted = "".join(query.lower().split())
    scored: list[tuple[int, int, int]] = []
    for number, document in enumerate(documents):
        for index, symbol in enumerate(document):
            score = score_of(wanted, symbol.name)
            if score is not None:
                scored.append((-score, number, index))
    return tuple(Found(number, index) for _, number, index in sorted(scored)[:MAX_FOUND])


def score_of(wanted: str, name: str) -> int | None:
    """How well `wanted` (lower case, no blanks) fits, or None if its letters are not there.

    A letter right after the one before counts more, one that begins a word most.
    """
    score = 0
    at = -1
    lower = name.lower()
    for letter in wanted:
        found = lower.find(letter, at + 1)
        if found < 0:
            return None
        if found == at + 1:
            score += 2
        if found == 0 or not lower[found - 1].isalnum():
            score += 3
        at = found
    return score
