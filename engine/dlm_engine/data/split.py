"""Which rows are held out for validation: by content hash, and only where that costs nothing.

A fact that is held out is a fact that is not learned, so questions with answers are never
held out. Prose is, one chunk in ten, once there are enough chunks for a mean to say
something; below that there is no validation, and no number that pretends to be one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from dlm_engine.data.tokens import Encoded

VALIDATION_FRACTION = 0.1
#: Below this many chunks of prose a tenth is a handful, and its mean is noise.
MIN_CHUNKS = 20


@dataclass(frozen=True, slots=True)
class Split:
    """`reason` says why the rows fell as they did."""

    train: tuple[Encoded, ...]
    validation: tuple[Encoded, ...]
    reason: str


def split_rows(rows: Sequence[Encoded], seed: int) -> Split:
    """Hold out prose chunks whose hash with `seed` falls in the lowest tenth.

    The verdict on a chunk depends on its content and the seed alone, so edits elsewhere
    in the document never move it across.
    """
    prose = [row for row in rows if row.kind == "text"]
    if len(prose) < MIN_CHUNKS:
        return Split(
            tuple(rows),
            (),
            f"{len(prose)} chunks of prose are too few to hold any out, and answers never are",
        )
    held = {row.key for row in prose if _held_out(row.key, seed)}
    train = tuple(row for row in rows if row.key not in held)
    validation = tuple(row for row in rows if row.key in held)
    return Split(train, validation, f"{len(validation)} of {len(prose)} chunks of prose held out")


def _held_out(key: str, seed: int) -> bool:
    digest = hashlib.sha256(f"{seed}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < int(VALIDATION_FRACTION * 2**64)
