"""What commands take: their argument types, and the document an argument names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlm_engine.document import LiveDocument, read_text
from dlm_engine.errors import DocumentError
from dlm_server import from_proto
from dlm_server.dispatch import REQUEST_FAILED, RequestFailed
from dlm_server.session import Session


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


@dataclass(frozen=True, slots=True)
class OfDocument:
    uri: str


@dataclass(frozen=True, slots=True)
class OfTraining:
    """What may be done that is refused otherwise, as in the worker's `Accept`."""

    uri: str
    fresh: bool = False
    acceptLock: Literal["update", "ignore"] | None = None
    acceptLicence: bool = False


@dataclass(frozen=True, slots=True)
class OfQuestion:
    """`token`: what the client chose to hear the answer by, as it comes; `adapter` is one of
    several named ones, `mix` the sum of some, as in "a=0.7,b=0.3"; `acceptLicence` is for that of
    the base."""

    uri: str
    question: str
    version: int | str | None = None
    token: int | str | None = None
    adapter: str | None = None
    mix: str | None = None
    acceptLicence: bool = False


@dataclass(frozen=True, slots=True)
class OfSection:
    """`pair`: which question of the section, counted from 0; all of them without it.
    `position`, instead of both, is anywhere in a question or its answer."""

    uri: str
    sectionId: str | None = None
    pair: int | None = None
    position: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class OfSelection:
    uri: str
    range: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class OfExport:
    """`adapter`, `mix` and `acceptLicence` as in `OfQuestion`."""

    uri: str
    target: str
    quant: str | None = None
    adapter: str | None = None
    mix: str | None = None
    acceptLicence: bool = False


@dataclass(frozen=True, slots=True)
class OfVersion:
    uri: str
    version: int
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class OfBase:
    uri: str
    key: str


@dataclass(frozen=True, slots=True)
class OfNew:
    base: str


@dataclass(frozen=True, slots=True)
class OfSource:
    uri: str
    path: str


@dataclass(frozen=True, slots=True)
class Target:
    """The document a command is about; `live` as it is in the editor, else on the disk."""

    uri: str
    path: Path
    live: LiveDocument


def refusal(subject: str, problem: str, remedy: str = "") -> RequestFailed:
    """An error in its three parts, as every command ends in that is refused."""
    message = f"{subject} {problem}" + (f": {remedy}" if remedy else "")
    data = {"subject": subject, "problem": problem, "remedy": remedy}
    return RequestFailed(REQUEST_FAILED, message, data)


def not_open() -> RequestFailed:
    return refusal("the document", "is not open", "open it in the editor first")


def target_of(session: Session, uri: str) -> Target:
    document = session.document(uri)
    path = document.path if document is not None else from_proto.path_of(uri)
    if path is None:
        # Neovim writes the second for a buffer without a name.
        if uri.startswith("untitled:") or uri.rstrip("/") == "file:":
            raise refusal("the document", "is not saved yet", "save it as a file first")
        where = f"is no file on this machine ({uri.partition(':')[0]}:)"
        raise refusal("the document", where, "save a copy in a folder of this machine")
    if document is not None:
        return Target(document.uri, path, document.live)
    return Target(uri, path, LiveDocument.open(read_text(path)))


def require_trust(session: Session) -> None:
    if not session.settings.trusted:
        problem = "is not trusted, so nothing is trained, asked or exported"
        raise refusal("the folder", problem, "trust it in the editor first")


def dlm_id_of(target: Target) -> str:
    frontmatter = target.live.frontmatter
    if frontmatter is None:
        raise DocumentError(target.path.name, "has no usable frontmatter", "correct it first")
    return frontmatter.dlm_id
