"""What an adapter was taught, kept inside its version: questions with answers, prose, file names.

It is what a later run can go back to, what `dlm purge` knows to ask about, and it is gone with
its version; so there is no corpus that grows beside the versions, or that still holds what no
adapter knows. Files of `training.sources` are named and not copied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from dlm_engine.errors import StoreError
from dlm_engine.store.records import canonical_json, read_json_object, require_version, validated
from dlm_engine.store.versions import Version

LEARNED_NAME: Final = "learned.json"
_REMEDY: Final = "roll back to another version, or train again"


class LearnedRow(BaseModel):
    """One row. `text` is the answer of a "chat", the prose of a "text", the path of a "source",
    and of a "preference" the answer that is wanted to the `question`, `instead` of another."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    kind: Literal["chat", "text", "source", "preference"]
    key: str
    section_id: str
    question: str = ""
    text: str
    instead: str = ""


class Learned(BaseModel):
    """`learned.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: int = 1
    rows: tuple[LearnedRow, ...]


def learned_file(rows: tuple[LearnedRow, ...]) -> bytes:
    return canonical_json(Learned(rows=rows), ascii_only=False)


def learned_by(version: Version) -> tuple[LearnedRow, ...] | None:
    """What `version` was taught; None where it does not say.

    Raises:
        StoreError: the file is damaged or of a newer dlm.
    """
    path = version.path / LEARNED_NAME
    found = read_json_object(path, _REMEDY)
    if found is None:
        return None
    require_version(path, found, "schema_version", 1, None)
    return validated(Learned, found, path, _REMEDY).rows


def texts_of(keys: Collection[str], versions: Iterable[Version]) -> dict[str, str]:
    """The question, or of prose the text, of each of the `keys` that one of the `versions` was
    taught. A version that cannot be read has none."""
    found: dict[str, str] = {}
    for version in versions:
        if len(found) == len(set(keys)):
            break
        with suppress(StoreError):
            rows = learned_by(version) or ()
            found |= {row.key: row.question or row.text for row in rows if row.key in keys}
    return found
