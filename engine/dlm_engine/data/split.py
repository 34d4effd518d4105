"""Which rows are held out for validation: by content hash, and only where that costs nothing.

A fact that is held out is a fact that is not learned, so questions with answers are never
held out. Prose is, one text in ten, once there are enough texts for a mean to say something;
below that there is no validation, and no number that pretends to be one. A file is one text
however many pieces it is cut into: a piece shows the end of the one before it, so the loss on
one whose neighbours are trained would say little of what was not seen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlm_engine.data.tokens import Encoded

VALIDATION_FRACTION = 0.1
#: Below this many texts a tenth is a handful, and its mean is noise.
MIN_TEXTS = 20


@dataclass(frozen=True, slots=True)
class Split:
    """`reason` says why the rows fell as they did."""

    train: tuple[Encoded, ...]
    validation: tuple[Encoded, ...]
    reason: str


def split_rows(rows: Sequence[Encoded], seed: int, files: Mapping[str, str] | None = None) -> Split:
    """Hold out texts whose hash with `seed` falls in the lowest tenth.

    `files` gives of a row's key the file that it is a piece of; all pieces of a file fall on one
    side. A file of more than a tenth of the prose is never held out. Otherwise the verdict on a
    text depends on it and the seed alone, so edits elsewhere never move it across.
    """
    files = files or {}
    prose = [row for row in rows if row.kind == "text"]
    texts = Counter(files.get(row.key, row.key) for row in prose)
    if len(texts) < MIN_TEXTS:
        what = "files and chunks of prose" if files else "chunks of prose"
        return Split(
            tuple(rows),
            (),
            f"{len(texts)} {what} are too few to hold any out, and answers never are",
        )
    most = VALIDATION_FRACTION * len(prose)
    out = {text for text, pieces in texts.items() if pieces <= most and _held_out(text, seed)}
    held = {row.key for row in prose if files.get(row.key, row.key) in out}
    train = tuple(row for row in rows if row.key not in held)
    validation = tuple(row for row in rows if row.key in held)
    return Split(train, validation, f"{len(validation)} of {len(prose)} chunks of prose held out")


def _held_out(key: str, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < int(VALIDATION_FRACTION * 2**64)
