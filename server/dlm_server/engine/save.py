"""Whether a save trains: only one made by hand, of a trusted, sound, armed document.

The invariant: training is never a surprise. A document is armed once it has a version; a
save by a timer or by leaving the window (LSP says which, before the save) never trains, and
a client that does not say why it saves is taken to have been asked to. What is trained is
the file on the disk after it has settled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from dlm_server.settings import Settings

#: LSP TextDocumentSaveReason
MANUAL: Final = 1


class Verdict(StrEnum):
    """TRAIN, or why not. Only ERRORS is worth telling: the others are as the user set it."""

    TRAIN = "train"
    NEVER = "dlm.train.on is never"
    UNTRUSTED = "the folder is not trusted"
    AUTOMATIC = "the save was automatic"
    NO_FILE = "the document is no file"
    UNARMED = "the document has not been trained yet"


@dataclass(frozen=True, slots=True)
class Save:
    """`armed` is asked only if it matters."""

    path: Path | None
    reason: int | None
    armed: Callable[[], bool]


def verdict(save: Save, settings: Settings) -> Verdict:
    """Whether to train after this save."""
    if settings.train_on == "never":
        return Verdict.NEVER
    if not settings.trusted:
        return Verdict.UNTRUSTED
    if save.reason not in (None, MANUAL):
        return Verdict.AUTOMATIC
    if save.path is None:
        return Verdict.NO_FILE
    if settings.train_on == "armed" and not save.armed():
        return Verdict.UNARMED
    return Verdict.TRAIN


class SaveReasons:
    """Why documents are about to be saved, until they have been."""

    def __init__(self) -> None:
        self._reasons: dict[str, int] = {}

    def will_save(self, uri: str, reason: int) -> None:
        self._reasons[uri] = reason

    def did_save(self, uri: str) -> int | None:
        """The reason that was given for this save, None when none was."""
        return self._reasons.pop(uri, None)

    def forget(self, uri: str) -> None:
        self._reasons.pop(uri, None)
