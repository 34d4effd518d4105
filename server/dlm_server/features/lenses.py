"""The actions above the lines they concern: train, cancel, export, versions, ask.

None where they could only fail: without a usable frontmatter there is nothing to act on,
and in a folder that is not trusted nothing is trained or asked. Titles are short, as they
stand in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from dlm_engine.document import LiveDocument, Section, Span
from dlm_server.features.hints import learned_texts


@dataclass(frozen=True, slots=True)
class Lens:
    """`argument` is the command's one JSON object."""

    span: Span
    title: str
    command: str
    argument: Mapping[str, object]


class Result(Protocol):
    """What the lenses want to know about an inline result."""

    @property
    def state(self) -> str: ...


class Trained(Protocol):
    """What the lenses want to know about the store: ids are those in the current version."""

    @property
    def version(self) -> int | str | None: ...
    @property
    def section_ids(self) -> frozenset[str]: ...
    def state(self, section: Section) -> str: ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides which lenses there are, besides the text.

    `busy` is whether a job for this document runs or waits; `result` gives the newest one
    of a section's question by the section's id and the question's number.
    """

    uri: str
    trusted: bool
    busy: bool
    trained: Trained | None
    result: Callable[[str, int], Result | None]

    @property
    def version(self) -> int | str | None:
        return self.trained.version if self.trained is not None else None


_TITLES = {
    "running": "Asking…",
    "stale": "Ask · stale",
    "error": "Ask · failed to run",
    "passed": "Ask · passed",
    "failed": "Ask · failed",
    "changed": "Ask · changed",
}


def document_lenses(live: LiveDocument, facts: Facts) -> list[Lens]:
    """Those on top of a document, at its start."""
    head = live.frontmatter_span
    if live.frontmatter is None or head is None:
        return []
    named: dict[str, object] = {"uri": facts.uri}
    place = Span(head.start, head.start)
    made: list[Lens] = []
    if facts.trusted and facts.busy:
        made.append(Lens(place, "Cancel", "dlm.cancel", {}))
    elif facts.trusted:
        made.append(Lens(place, _train_title(live, facts), "dlm.train", named))
    if facts.version is not None:
        if facts.trusted:
            made.append(Lens(place, "Export…", "dlm.export", named))
        made.append(Lens(place, f"Versions · {facts.version}", "dlm.versions", named))
    return made


def asked(live: LiveDocument, facts: Facts) -> Iterator[tuple[int, Section]]:
    """The chunks with questions that may be asked, and what was read there."""
    if live.frontmatter is None or not facts.trusted:
        return
    for index, chunk in enumerate(live.chunks.items):
        section = chunk.reading.section
        if section is not None and section.pairs:
            yield index, section


def ask_title(facts: Facts, section: Section, pair: int) -> str:
    """What stands above question number `pair` of a section; the command is `dlm.askSection`."""
    result = facts.result(section.id, pair)
    title = "Ask" if result is None else _TITLES.get(result.state, "Ask again")
    if section.pairs[pair].probe and title != _TITLES["running"]:
        title = title.replace("Ask", "Ask probe", 1)
    return title


def ask_argument(facts: Facts, section: Section, pair: int) -> dict[str, object]:
    return {"uri": facts.uri, "sectionId": section.id, "pair": pair}


def changed_sections(live: LiveDocument, trained: Trained) -> int:
    """How many sections the current version has not seen, or has and the text has not."""
    readings = (chunk.reading for chunk in live.chunks.items)
    sections = [reading.section for reading in readings if reading.section is not None]
    new = sum(1 for s in sections if trained.state(s) == "new" and any(learned_texts(s)))
    gone = len(trained.section_ids - {s.id for s in sections})
    # An edited section is one that is gone and one that is new.
    return max(new, gone)


def _train_title(live: LiveDocument, facts: Facts) -> str:
    if facts.trained is None or facts.version is None:
        return "Train"
    changed = changed_sections(live, facts.trained)
    if not changed:
        return "Train again"
    noun = "section" if changed == 1 else "sections"
    return f"Train again · {changed} {noun} changed since version {facts.version}"
