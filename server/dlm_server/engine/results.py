"""What the model answered to the questions of open documents, beside them and never in them.

The invariant: a result belongs to a section as it was when it was asked. Beside any other,
it is stale by definition: it moves along with the section that took its section's place
until it is asked again, that section is gone, or the change is undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

from dlm_engine.document import LiveDocument, Section, Span

#: More of an answer is not kept, in characters.
MOST_TEXT: Final = 64 * 2**10
#: More results of one document are not kept; the oldest go.
MOST_RESULTS: Final = 1000

ResultState = Literal["running", "ok", "stale", "error", "passed", "failed", "changed"]


@dataclass(frozen=True, slots=True)
class SectionResult:
    """The newest answer to question number `pair` of a section, None for a selection of it.

    `section_id` is the section it was asked of, `place` the id of the one it stands beside;
    `verdict` is its state while the two are the same. `adapter` is the named one that is asked.
    """

    section_id: str
    pair: int | None
    question: str
    verdict: ResultState
    place: str
    base: str | None = None
    adapted: str | None = None
    reference: str | None = None
    model_version: int | None = None
    probe: bool = False
    error: str | None = None
    adapter: str | None = None

    @property
    def state(self) -> ResultState:
        return self.verdict if self.place == self.section_id else "stale"

    @property
    def key(self) -> str:
        return result_key(self.section_id, self.pair)


def result_key(section_id: str, pair: int | None) -> str:
    """What the result is known by: the section's id itself for its first question."""
    if pair is None:
        return f"{section_id}#selection"
    return section_id if pair == 0 else f"{section_id}#{pair}"


class DocumentResults:
    """The results of one document. Call `follow` with every new version of it."""

    def __init__(self, live: LiveDocument) -> None:
        self._ids = _ids(live)
        self._results: dict[str, SectionResult] = {}

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[SectionResult]:
        return iter(self._results.values())

    def get(self, key: str) -> SectionResult | None:
        return self._results.get(key)

    def put(self, result: SectionResult) -> None:
        result = replace(result, base=_cut(result.base), adapted=_cut(result.adapted))
        self._results.pop(result.key, None)
        # One that was stale in this place makes room.
        for other in [o for o in self if _stands_at(o, result)]:
            del self._results[other.key]
        self._results[result.key] = result
        while len(self._results) > MOST_RESULTS:
            del self._results[next(iter(self._results))]

    def change(self, key: str, **changes: object) -> SectionResult | None:
        """The result with `changes`, None when it is not there (any more)."""
        old = self._results.get(key)
        if old is None:
            return None
        new = replace(old, **changes)  # type: ignore[arg-type]
        self._results[key] = replace(new, base=_cut(new.base), adapted=_cut(new.adapted))
        return self._results[key]

    def drop(self, key: str) -> None:
        self._results.pop(key, None)

    def follow(self, live: LiveDocument) -> bool:
        """Take note of the document as it is now; whether anything became stale, moved or went."""
        ids = _ids(live)
        # Tools that replace a whole text empty it first; that is no end of the sections.
        if ids == self._ids or not ids:
            return False
        moved = _moves(self._ids, ids)
        self._ids = ids
        there = set(ids)
        changed = False
        for key, result in list(self._results.items()):
            if result.section_id in there:
                new = replace(result, place=result.section_id)
            elif (place := moved.get(result.place, result.place)) in there:
                new = replace(result, place=place)
            else:
                del self._results[key]
                changed = True
                continue
            changed = changed or new != result
            self._results[key] = new
        return changed

    def by_section(self) -> Mapping[str, SectionResult]:
        """For snapshots: by the id of the section a result stands beside, and `#n` for its
        n-th question after the first."""
        return MappingProxyType({result_key(r.place, r.pair): r for r in self})

    def placed(self, live: LiveDocument) -> list[tuple[SectionResult, Span]]:
        """Each result with the span of its question, once for every section it stands beside."""
        beside: dict[str, list[SectionResult]] = {}
        for result in self:
            beside.setdefault(result.place, []).append(result)
        return [
            (result, span)
            for section in live.document.sections
            for result in beside.get(section.id, ())
            if (span := _span(section, result)) is not None
        ]


def _stands_at(other: SectionResult, result: SectionResult) -> bool:
    return (other.place, other.pair) == (result.place, result.pair)


def _span(section: Section, result: SectionResult) -> Span | None:
    if result.pair is None:
        return Span(section.span.start, section.span.start)
    if result.pair < len(section.pairs):
        return section.pairs[result.pair].question_span
    return None


def _ids(live: LiveDocument) -> list[str]:
    return [section.id for section in live.document.sections]


def _moves(old: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Old ids to the ids of the sections that took their places, by what is around them."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    return dict(zip(before, after, strict=False))


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
