"""What a parsed `.dlm` is: sections, their rows, and what is wrong with them.

Every position is a `Span` of code-point offsets into the text exactly as it was
given (byte-order mark, carriage returns and all), so that editors, the CLI and
fixes mean the same characters. `LineIndex` turns an offset into line and column.
Types only; nothing here parses.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dlm_engine.document.frontmatter import Frontmatter

LINE_END = re.compile(r"\r\n|\n|\r")


class Span(NamedTuple):
    """Half-open range of code-point offsets into the original text."""

    # A tuple, because a document has tens of thousands and a frozen dataclass takes
    # four times as long to make.

    start: int
    end: int


class LineIndex:
    """Offset to (line, column), both 0-based, columns in code points.

    Only `\\n`, `\\r\\n` and `\\r` end a line, as in the language server protocol.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def starts(self) -> list[int]:
        return [0, *(match.end() for match in LINE_END.finditer(self._text))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LineIndex) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def line_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self.starts, offset) - 1
        return line, offset - self.starts[line]


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    INFORMATION = "information"


@dataclass(frozen=True, slots=True)
class TextEdit:
    span: Span
    new_text: str


@dataclass(frozen=True, slots=True)
class Fix:
    """Edits that remove the cause of a diagnostic; they never overlap."""

    title: str
    edits: tuple[TextEdit, ...]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: a stable code such as `fence-unknown`, where, and a fix if one exists."""

    code: str
    severity: Severity
    message: str
    span: Span
    fix: Fix | None = None


class SectionType(StrEnum):
    PROSE = "prose"
    INSTRUCTION = "instruction"
    PREFERENCE = "preference"
    IMAGE = "image"
    AUDIO = "audio"


class QuestionAnswer(NamedTuple):
    """One `### Q` / `### A` pair; texts are stripped of surrounding blank lines and spaces."""

    question: str
    answer: str
    probe: bool
    question_span: Span
    answer_span: Span


class PreferenceTriple(NamedTuple):
    prompt: str
    chosen: str
    rejected: str
    span: Span


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the body.

    `content` has LF line ends and no provenance markers; leading and trailing
    blank lines are removed, so blank lines around a section are not part of its
    identity. `id` is 16 lower-case hex digits; `legacy_id` is what the reference
    implementation computes for the same text (blank lines included).
    """

    type: SectionType
    id: str
    legacy_id: str
    content: str
    span: Span
    fence_span: Span | None = None
    adapter: str | None = None
    pairs: tuple[QuestionAnswer, ...] = ()
    triples: tuple[PreferenceTriple, ...] = ()
    #: attributes of a media fence: path, alt, transcript
    attributes: dict[str, str] = field(default_factory=dict)
    #: provenance markers by kind ("harvest", "mined", "synth"), each its attributes
    provenance: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeySpan:
    """Where one frontmatter entry stands: its key (or the dash of a list item) and its value."""

    key: Span
    value: Span


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document.

    `frontmatter` is always in the current version. It is None when `dlm_id` or
    `base_model` is missing or unusable, because nothing can be done without them;
    another wrong value is reported and reads as its default. `dlm_version` is the
    version written in the file (1 when the key is missing, None when it is no integer).

    `keys` gives the place of every frontmatter entry that could be read, by its path
    as written: `training.lora_r`, `training.sources.0.path`.
    """

    text: str
    frontmatter: Frontmatter | None
    dlm_version: int | None
    sections: tuple[Section, ...]
    lines: LineIndex
    keys: Mapping[str, KeySpan] = field(default_factory=dict)
    #: from the opening to the closing `---` line, both included, without the last line end
    frontmatter_span: Span | None = None
    #: offset of the first character after the frontmatter
    body_start: int = 0

    def section(self, section_id: str) -> Section | None:
        """The section with this id, or with this legacy id."""
        for s in self.sections:
            if s.id == section_id:
                return s
        for s in self.sections:
            if s.legacy_id == section_id:
                return s
        return None
