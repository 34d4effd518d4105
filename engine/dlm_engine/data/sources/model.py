"""What `training.sources` stand for, once expanded: the files taken, and what was left out and why.

Plain facts. A file left out always has a reason, so nothing is missing in silence; a text is
held only while a run that has just read it goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Reason(StrEnum):
    """Why a file or folder of a source is not learned."""

    SECRET = "secret"
    LINK = "link"
    EXCLUDED = "excluded"
    NOT_INCLUDED = "not included"
    TOO_LARGE = "too large"
    BINARY = "binary"
    ENCODING = "not UTF-8"
    EMPTY = "empty"
    SPECIAL = "no regular file"
    UNREADABLE = "unreadable"
    TWICE = "taken already"
    ITSELF = "the document itself"
    KEPT = "kept by dlm"
    WEIGHT = "weight 0"
    LIMIT = "beyond max_files, with all after it"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`path` is relative to the source, with a slash at the end of a folder."""

    path: str
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What shows that a file is still the one that was read."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What reading a file showed: its SHA-256, and why it is not learned if it is not."""

    sha256: str
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file judged earlier; `noted_ns` is when, so that a change right after can be told."""

    stamp: Stamp
    judged: Judged
    noted_ns: int


Known = Mapping[bytes, KnownFile]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be learned. `label` is its path below the source, as the model sees it."""

    path: str
    label: str
    stamp: Stamp
    sha256: str
    tags: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0
    #: None when it was known already and not read
    text: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a source cannot be used at all. `subject` names it, `remedy` says what to do."""

    kind: Literal["missing", "denied", "rules", "size"]
    subject: str
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of `training.sources`, expanded; with a problem it has no files."""

    path: str
    files: tuple[SourceFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    problem: Problem | None = None

    @property
    def bytes(self) -> int:
        return sum(file.stamp.size for file in self.files)

    @property
    def reasons(self) -> dict[Reason, int]:
        """How many were left out for each reason, in the order of `Reason`."""
        counts = Counter(each.reason for each in self.left_out)
        return {reason: counts[reason] for reason in Reason if counts[reason]}


@dataclass(frozen=True, slots=True)
class Expansion:
    """All sources of a document, in its order.

    `fresh` are the files that had to be read, `met` those that were known, by their paths.
    """

    found: tuple[Found, ...] = ()
    fresh: Mapping[bytes, KnownFile] = field(default_factory=dict)
    met: tuple[bytes, ...] = ()

    @property
    def files(self) -> tuple[SourceFile, ...]:
        return tuple(file for each in self.found for file in each.files)

    @property
    def problem(self) -> Problem | None:
        return next((each.problem for each in self.found if each.problem), None)
