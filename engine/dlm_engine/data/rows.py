"""Sections to rows: what is learned, each with an identity of its own.

A row's key is a hash of what it says, not of where it stands, so moving a section or
adding a question beside another changes no other row's tokens, split or batch. Two rows
that say the same are one row: repeating a fact must not weigh it twice by accident.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from dlm_engine.document.identity import section_id
from dlm_engine.document.model import Document, Section, SectionType


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One question with its answer; the loss is on the answer only."""

    section_id: str
    question: str
    answer: str
    probe: bool = False

    @property
    def key(self) -> str:
        return digest("chat", self.question, self.answer)


@dataclass(frozen=True, slots=True)
class TextRow:
    """Prose, learned as continued pretraining: the loss is on every token."""

    section_id: str
    text: str

    @property
    def key(self) -> str:
        return text_key(self.text)


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A file of `training.sources`, learned as prose; its loss counts `weight` times.

    `sha256` is of the file, and `read` gives its text: where the tokens are known already
    nobody needs it.
    """

    section_id: str
    label: str
    sha256: str
    weight: float
    read: Callable[[], str] = field(compare=False, repr=False)

    @property
    def key(self) -> str:
        return digest("source", self.label, self.sha256)


Row = ChatRow | TextRow | SourceRow


def text_key(text: str) -> str:
    """The key of prose wherever it stands, so that what a document and a file share is one row."""
    return digest("text", text)


def rows_of(document: Document) -> tuple[ChatRow | TextRow, ...]:
    """The rows of a document in document order, repetitions left out.

    Preference, image and audio sections give none; who trains says so to the author.
    """
    seen: set[str] = set()
    rows: list[ChatRow | TextRow] = []
    for section in document.sections:
        for row in _section_rows(section):
            if row.key not in seen:
                seen.add(row.key)
                rows.append(row)
    return tuple(rows)


def injected_rows(document: Document, pairs: Iterable[tuple[str, str]]) -> tuple[ChatRow, ...]:
    """The rows of questions with answers that are not in `document`, each as a section would be.

    What the document asks by itself is left out: two answers to one question teach neither, and
    the author's counts. Of several answers to a question the last counts.
    """
    asked = {" ".join(p.question.split()) for s in document.sections for p in s.pairs}
    rows: dict[str, ChatRow] = {}
    for question, answer in pairs:
        words = " ".join(question.split())
        if words not in asked:
            content = f"### Q !probe\n{question}\n\n### A\n{answer}"
            identity = section_id(SectionType.INSTRUCTION, content, {})
            rows[words] = ChatRow(identity, question, answer, probe=True)
    return tuple(rows.values())


def _section_rows(section: Section) -> Iterator[ChatRow | TextRow]:
    if section.type is SectionType.PROSE and section.content.strip():
        yield TextRow(section.id, section.content.strip())
    if section.type is SectionType.INSTRUCTION:
        for pair in section.pairs:
            yield ChatRow(section.id, pair.question, pair.answer, pair.probe)


def digest(*parts: str) -> str:
    """SHA-256 of the parts, each preceded by its length so that no two splits collide."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()
