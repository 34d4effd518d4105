"""The frontmatter schema as an editor shows it: every key by its path, with its words.

Read from the pydantic models, so that a key, a bound or a default has one home. A path is a
tuple as the document writes it: a name of `training.adapters` and a number of
`training.sources` both stand for any. Built on first use: importing this costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel

Step = str | int
Path = tuple[Step, ...]

#: stands for any name or number in a path of the table
ANY = "*"


class Shape(StrEnum):
    """What follows the colon of a key."""

    SCALAR = "scalar"
    TEXT = "text"
    TEXTS = "texts"
    BLOCK = "block"
    ENTRIES = "entries by name"
    ITEMS = "list of entries"


@dataclass(frozen=True, slots=True)
class KeyDoc:
    """One key: what it means and what it takes."""

    path: Path
    description: str
    shape: Shape
    #: type and bounds in words
    takes: str
    #: what may be written, where that is a short list; `true`, `null` and `auto` included
    choices: tuple[str, ...]
    #: the default as YAML; None for a required key or a block
    default: str | None
    required: bool
    #: left out, training plans a value, whatever the default says
    planned: bool

    @property
    def name(self) -> str:
        return str(self.path[-1])


@cache
def table() -> dict[Path, KeyDoc]:
    """Every key of the schema, in its order, by its path with `*` for any name or number."""
    from dlm_engine.document import Frontmatter

    return {doc.path: doc for doc in _walk(Frontmatter, ())}


def key_doc(path: Sequence[Step]) -> KeyDoc | None:
    """What the schema says of the key at `path` of a document; None for no such key."""
    return table().get(_generic(path))


def keys_in(path: Sequence[Step]) -> tuple[KeyDoc, ...]:
    """The keys that a mapping at `path` may have, in the order of the schema.

    Empty for a path that holds no mapping, and for `training.adapters`, whose keys are names.
    """
    holder = _generic(path)
    depth = len(holder) + 1
    return tuple(
        d for p, d in table().items() if len(p) == depth and p[:-1] == holder and p[-1] != ANY
    )


def summary(doc: KeyDoc) -> str:
    """Type, bounds and default in one line."""
    if doc.shape is Shape.BLOCK:
        return "settings"
    if doc.required:
        return f"{doc.takes}, required"
    if doc.default is None or doc.default == "null":
        return doc.takes
    note = ", planned when left out" if doc.planned else ""
    return f"{doc.takes}, default {doc.default}{note}"


def _generic(path: Sequence[Step]) -> Path:
    """The path as the table has it."""
    steps = list(path)
    if steps[:1] == ["training"] and len(steps) > 2 and steps[1] in ("adapters", "sources"):
        steps[2] = ANY
    return tuple(steps)


def _walk(model: type[BaseModel], prefix: Path) -> Iterator[KeyDoc]:
    from typing import get_type_hints

    from pydantic import BaseModel

    from dlm_engine.document.frontmatter import PLANNED_FIELDS

    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        path, annotation = (*prefix, name), hints[name]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            words = field.description or ""
            yield KeyDoc(path, words, Shape.BLOCK, "settings", (), None, False, False)
            yield from _walk(annotation, path)
            continue
        shape, inner = _shape(annotation)
        yield KeyDoc(
            path=path,
            description=field.description or "",
            shape=shape,
            takes=_takes(annotation),
            choices=tuple(_choices(annotation)),
            default=None if field.is_required() else _written(field.default),
            required=field.is_required(),
            planned=prefix in (("training",), ("training", "adapters", ANY))
            and name in PLANNED_FIELDS,
        )
        if inner is not None:
            yield from _walk(inner, (*path, ANY))


def _options(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone; outer notes are taken off."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (UnionType, Union):
        return get_args(annotation)
    return (annotation,)


def _shape(annotation: Any) -> tuple[Shape, type[BaseModel] | None]:
    """What follows the key, and the model of its entries where it has entries."""
    from pydantic import BaseModel

    for option in _options(annotation):
        origin, inner = get_origin(option), get_args(option)
        if origin is dict:
            return Shape.ENTRIES, inner[1]
        if origin is tuple and isinstance(inner[0], type) and issubclass(inner[0], BaseModel):
            return Shape.ITEMS, inner[0]
        if origin is tuple:
            return Shape.TEXTS, None
    if str in _options(annotation):
        return Shape.TEXT, None
    return Shape.SCALAR, None


def _choices(annotation: Any) -> Iterator[str]:
    for option in _options(annotation):
        if get_origin(option) is Literal:
            yield from map(str, get_args(option))
        elif option is bool:
            yield from ("true", "false")
        elif option is NoneType:
            yield "null"


def _written(value: object) -> str:
    """A default as the frontmatter would have it."""
    from dlm_engine.document.yaml_text import scalar_text

    if isinstance(value, tuple):
        return scalar_text([str(item) for item in value])
    assert value is None or isinstance(value, str | int | float)
    return scalar_text(value)


def _takes(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is NoneType:
        return "null"
    if origin is Annotated:
        return _takes(arguments[0]) + _bounds(arguments[1:])
    if origin in (UnionType, Union):
        return " or ".join(_takes(option) for option in arguments)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        return "list of texts" if arguments[0] is str else "list of entries"
    if origin is dict:
        return "entries by name"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}[annotation]


def _bounds(notes: Sequence[Any]) -> str:
    """Bounds in words: ` from 1 to 256`, ` of at least 1`, ` above 0 and at most 1`."""
    from pydantic.fields import FieldInfo

    flat = [m for n in notes for m in (n.metadata if isinstance(n, FieldInfo) else [n])]
    found = {
        name: getattr(note, name)
        for note in flat
        for name in ("ge", "gt", "le", "lt")
        if getattr(note, name, None) is not None
    }
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:g}"
    words = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
    parts = [f"{words[name]} {bound:g}" for name, bound in found.items()]
    return " " + " and ".join(parts) if parts else ""
