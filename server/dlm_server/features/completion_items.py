"""What a completion offers: the values that the frontmatter's and the body's share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dlm_engine.document import TextEdit

#: more than a person reads; the client asks again as the word grows
MOST = 200


class Offer(StrEnum):
    """What kind of thing is offered, for its icon."""

    KEY = "key"
    VALUE = "value"
    BASE = "base"
    ADAPTER = "adapter"
    FENCE = "fence"
    HEADER = "header"
    ATTRIBUTE = "attribute"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Completion:
    """One offer. `edit` replaces exactly the word under the cursor.

    `snippet`, where there is one, is the new text for clients that take snippets.
    """

    label: str
    offer: Offer
    edit: TextEdit
    detail: str = ""
    documentation: str = ""
    sort: str = ""
    snippet: str | None = None


@dataclass(frozen=True, slots=True)
class Completions:
    """`complete` is false when there were more than fit."""

    items: tuple[Completion, ...] = ()
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the document's world a completion may look at."""

    #: the folder relative paths start from; None for a document that is not on disk
    folder: Path | None = None
