"""A document as canonical text: fixed key order, one blank line between sections.

For documents that a program made or that are to be normalised; to change a file that a
person wrote, use `edits`, which leave the rest alone. Every field the author wrote is
kept, equal to its default or not, because absence can mean something else. Reading the
result back gives the same sections with the same ids, and writing it again the same text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from dlm_engine.document.frontmatter import CURRENT_VERSION, Frontmatter
from dlm_engine.document.model import Document, Section, SectionType
from dlm_engine.document.provenance import FIELDS
from dlm_engine.document.yaml_text import Value, literal_lines, scalar_text
from dlm_engine.errors import DocumentError

_INDENT = "  "
_FIRST = ("dlm_id", "dlm_version", "base_model")


def serialise(document: Document) -> str:
    """The canonical text: LF line ends, no byte-order mark.

    Raises:
        DocumentError: the document has no readable frontmatter, or an attribute holds what
            a fence cannot (a double quote or a line end).
    """
    if document.frontmatter is None:
        raise DocumentError("document", "has no readable frontmatter", "repair it first")
    lines = ["---", *frontmatter_lines(document.frontmatter), "---"]
    for index, section in enumerate(document.sections):
        lines += ["", *section_lines(section, fenced=_needs_fence(section, index))]
    return "\n".join(lines) + "\n"


def _needs_fence(section: Section, index: int) -> bool:
    """Prose needs a fence after another section, for an adapter, or where its author put one."""
    return index > 0 or section.type is not SectionType.PROSE or section.fence_span is not None


def section_lines(section: Section, *, fenced: bool) -> list[str]:
    lines = [fence_line(section)] if fenced else []
    for kind, fields in FIELDS.items():
        if kind in section.provenance:
            known = {name: section.provenance[kind].get(name, "") for name in fields}
            lines.append(f"<!-- dlm-auto-{kind}:{_attributes(known)} -->")
    if section.content:
        lines += section.content.split("\n")
    return lines


def fence_line(section: Section) -> str:
    if section.attributes:
        return f"::{section.type}{_attributes(section.attributes)}::"
    suffix = f"#{section.adapter}" if section.adapter else ""
    return f"::{section.type}{suffix}::"


def _attributes(values: Mapping[str, str]) -> str:
    for name, value in values.items():
        if any(c in value for c in '"\r\n'):
            raise DocumentError(name, "holds a double quote or a line end", "remove it")
    return "".join(f' {name}="{value}"' for name, value in values.items())


def frontmatter_lines(frontmatter: Frontmatter) -> list[str]:
    """The YAML between the `---` lines: what was set, in the order of the schema."""
    current = frontmatter.model_copy(update={"dlm_version": CURRENT_VERSION})
    return list(_block(current, "", always=_FIRST))


def _block(model: BaseModel, indent: str, always: tuple[str, ...] = ()) -> Iterator[str]:
    for name in type(model).model_fields:
        if name in always or name in model.model_fields_set:
            yield from _entry(name, getattr(model, name), indent)


def _entry(name: str, value: object, indent: str) -> Iterator[str]:
    deeper = indent + _INDENT
    if isinstance(value, BaseModel):
        inner = list(_block(value, deeper))
        yield f"{indent}{name}:" if inner else f"{indent}{name}: {{}}"
        yield from inner
    elif isinstance(value, dict):
        yield f"{indent}{name}:" if value else f"{indent}{name}: {{}}"
        for key, inner_value in value.items():
            yield from _entry(key, inner_value, deeper)
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        yield f"{indent}{name}:"
        for item in value:
            first, *rest = _block(item, deeper + _INDENT)
            yield f"{deeper}- {first.lstrip()}"
            yield from rest
    else:
        yield from value_lines(name, _plain(value), indent)


def _plain(value: object) -> Value:
    if value is None or isinstance(value, str | int | float):
        return value
    assert isinstance(value, tuple)
    return [str(item) for item in value]


def value_lines(name: str, value: Value, indent: str) -> list[str]:
    """`name: value` as one line, or as a block scalar for text of several lines."""
    block = literal_lines(value, indent + _INDENT) if isinstance(value, str) else None
    if block is None:
        return [f"{indent}{name}: {scalar_text(value)}"]
    return [f"{indent}{name}: {block[0]}", *block[1:]]
