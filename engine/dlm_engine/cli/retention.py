"""What a version still knows of what the one before it knew, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Questions that are named; of the others the number is told.
NAMED: Final = 3
#: Characters of one.
LENGTH: Final = 80


def retention(kept: int | None, lost: Sequence[str | None]) -> str:
    """`kept` answers are known still, those to the questions `lost` are not; None among them for a
    question that no version has any more."""
    kept = kept or 0
    if not lost:
        return f"all {kept} answers that the version before knew are kept"
    of = f"{kept} of {kept + len(lost)} answers that the version before knew are kept"
    return f"{of}; {no_longer_known(lost)}"


def no_longer_known(lost: Sequence[str | None]) -> str:
    named = [repr(_short(question)) for question in lost if question is not None][:NAMED]
    more = len(lost) - len(named)
    if not named:
        return f"no longer known: {more}"
    return f"no longer known: {', '.join(named)}" + (f" and {more} more" if more else "")


def _short(text: str) -> str:
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 1]}…"
