"""Reading and writing the store's JSON files: one size cap, one set of messages, one form.

The invariant: a file that is missing gives None, and one that is damaged, too
large, newer than this program or of the wrong shape gives one `StoreError` that
names the file and the first field at fault. pydantic's own text never reaches a
person.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import disk_errors

#: A manifest of ten thousand runs is about 6 MB; anything near this size is not ours.
MAX_JSON_BYTES = 64 * 2**20

Model = TypeVar("Model", bound=BaseModel)


def read_json_object(path: Path, remedy: str) -> dict[str, Any] | None:
    """The JSON object in `path`, or None when there is no such file.

    Raises:
        StoreError: unreadable, too large, not UTF-8, not JSON, not an object.
    """
    with disk_errors(path):
        try:
            size = path.stat().st_size
            if size > MAX_JSON_BYTES:
                raise StoreError(str(path), f"is far too large ({size} bytes)", remedy)
            data = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        # A reader of NaN is kinder than a store that no longer opens.
        value = json.loads(data.decode("utf-8"), parse_constant=lambda _: None)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise StoreError(str(path), f"is damaged, not JSON ({error})", remedy) from error
    if not isinstance(value, dict):
        raise StoreError(str(path), "is damaged, not a JSON object", remedy)
    return value


def require_version(
    path: Path, value: dict[str, Any], key: str, known: int, default: int | None
) -> None:
    """Refuse a file written in another form than `known`; `default` is what absence means."""
    found = value.get(key, default)
    if found == known and not isinstance(found, bool):
        return
    if isinstance(found, int) and found > known:
        raise StoreError(
            str(path), f"was written by a newer dlm ({key} {found})", "update dlm to read it"
        )
    raise StoreError(
        str(path),
        f"{key} is {found!r} where {known} is expected",
        "it was not written by dlm; move it away",
    )


def validated(model: type[Model], value: dict[str, Any], path: Path, remedy: str) -> Model:
    """`value` as `model`, or a `StoreError` that names the first field at fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise StoreError(
            str(path), f"is damaged or foreign at `{where}` ({first['msg']})", remedy
        ) from error


def canonical_json(model: BaseModel, *, ascii_only: bool) -> bytes:
    """Sorted keys, indent 2, trailing LF; raises `ValueError` for numbers that are not finite."""
    text = json.dumps(
        model.model_dump(mode="json"),
        sort_keys=True,
        indent=2,
        ensure_ascii=ascii_only,
        allow_nan=False,
    )
    # A path of another encoding: JSON's own escapes, which are read back as they were.
    return text.encode("utf-8", "backslashreplace") + b"\n"
