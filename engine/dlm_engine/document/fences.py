"""What a fence line means: section type, adapter, attributes, and what is wrong with it.

The grammar says that a line is a fence, whatever its names; here the names are judged.
A type in the wrong case is understood and warned about. A type that does not exist is
an error, and its section is kept as prose so that no text is ever lost.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import NamedTuple

from tree_sitter import Node

from dlm_engine.document.codes import closest, report
from dlm_engine.document.frontmatter import ADAPTER_NAME
from dlm_engine.document.identity import MEDIA
from dlm_engine.document.model import Diagnostic, Fix, SectionType, Span, TextEdit
from dlm_engine.document.syntax import Window

_TYPES = {kind.value: kind for kind in SectionType}
_REQUIRED = {SectionType.IMAGE: ("path",), SectionType.AUDIO: ("path", "transcript")}
_ALLOWED = {SectionType.IMAGE: ("path", "alt"), SectionType.AUDIO: ("path", "transcript")}
_EXAMPLE = {
    SectionType.IMAGE: '::image path="picture.png" alt="what it shows"::',
    SectionType.AUDIO: '::audio path="clip.wav" transcript="what is said"::',
}
_NEAR = re.compile(r"\s*:*\s*([a-z0-9_-]+)(?:\s*#\s*([a-z0-9_]+))?\s*:*\s*", re.I)
_NEAR_MEDIA = re.compile(r"\s*:*\s*(image|audio)\s+\S", re.I)


class AdapterName(NamedTuple):
    """A well-formed adapter name and its place; whether it is declared is judged elsewhere."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Fence:
    kind: SectionType
    adapter: AdapterName | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    #: false for a type that does not exist, whose text is kept as prose
    known: bool = True


def read_fence(window: Window, node: Node, problems: list[Diagnostic]) -> Fence:
    """The meaning of a fence node."""
    type_node = node.child_by_field_name("type")
    assert type_node is not None
    kind, wrong = _kind(window.text_of(type_node), window.span(type_node))
    if wrong is not None:
        problems.append(wrong)
    if kind is not None and kind not in MEDIA and node.child_count == 3:
        # `::`, the type, `::`: what nearly every fence is.
        return Fence(kind)
    has_suffix = any(child.type == "#" for child in node.children)
    attributes = [child for child in node.named_children if child.type == "attribute"]
    if kind is None:
        return Fence(SectionType.PROSE, known=False)
    if kind in MEDIA:
        if not attributes:
            message = f"an {kind} section needs attributes: {_EXAMPLE[kind]}"
            problems.append(report("fence-attributes-required", window.span(node), message))
        return Fence(kind, None, _attributes(window, node, attributes, kind, problems))
    if attributes:
        first, last = window.span(attributes[0]), window.span(attributes[-1])
        fix = Fix("Remove the attributes", (TextEdit(window.span(node), f"::{kind}::"),))
        message = f"a section of type {kind} takes no attributes"
        where = Span(first.start, last.end)
        problems.append(report("fence-attributes-refused", where, message, fix))
    return Fence(kind, _adapter(window, node, problems) if has_suffix else None)


def _kind(name: str, span: Span) -> tuple[SectionType | None, Diagnostic | None]:
    kind = _TYPES.get(name)
    if kind is not None:
        return kind, None
    kind = _TYPES.get(name.lower())
    if kind is not None:
        fix = Fix(f"Write {kind}", (TextEdit(span, kind.value),))
        message = f"read as `{kind}`; section types are written in lower case"
        return kind, report("fence-near-miss", span, message, fix)
    near = closest(name.lower(), tuple(_TYPES))
    known = ", ".join(_TYPES)
    if not near:
        message = f"`{name}` is no section type; there are {known}"
        return None, report("fence-unknown", span, message)
    fix = Fix(f"Replace with {near}", (TextEdit(span, near),))
    message = f"`{name}` is no section type; did you mean `{near}`?"
    return None, report("fence-unknown", span, message, fix)


def _adapter(window: Window, node: Node, problems: list[Diagnostic]) -> AdapterName | None:
    suffix = node.child_by_field_name("adapter")
    if suffix is None:
        problems.append(
            report("fence-adapter-invalid", window.span(node), "no adapter name stands after `#`")
        )
        return None
    name, span = window.text_of(suffix), window.span(suffix)
    if ADAPTER_NAME.fullmatch(name):
        return AdapterName(name, span)
    lower = name.lower().replace("-", "_")
    fix = None
    if ADAPTER_NAME.fullmatch(lower):
        fix = Fix(f"Write {lower}", (TextEdit(span, lower),))
    message = "an adapter name is a lower-case letter and then at most 31 of a-z, 0-9 and _"
    problems.append(report("fence-adapter-invalid", span, message, fix))
    return None


def _attributes(
    window: Window,
    fence: Node,
    nodes: list[Node],
    kind: SectionType,
    problems: list[Diagnostic],
) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, span, value, value_span in attribute_parts(window, nodes):
        if name not in _ALLOWED[kind]:
            problems.append(_unknown_attribute(name, span, kind))
            continue
        if name in values:
            message = f"`{name}` stands here a second time"
            problems.append(report("attribute-duplicate", span, message))
            continue
        if not value.isascii():
            message = f"`{name}` may hold ASCII characters only"
            problems.append(report("attribute-not-ascii", value_span, message))
        if not value.strip() and name in _REQUIRED[kind]:
            problems.append(report("attribute-empty", value_span, f"`{name}` must not be empty"))
        values[name] = value
    for name in _REQUIRED[kind] if nodes else ():
        if name not in values:
            message = f"an {kind} section needs `{name}`: {_EXAMPLE[kind]}"
            problems.append(report("attribute-missing", window.span(fence), message))
    return values


def _unknown_attribute(name: str, span: Span, kind: SectionType) -> Diagnostic:
    message = f"an {kind} section has no attribute `{name}`"
    near = closest(name, tuple(_ALLOWED[kind]))
    if not near:
        return report("attribute-unknown", span, message)
    fix = Fix(f"Rename to {near}", (TextEdit(span, near),))
    return report("attribute-unknown", span, f"{message}; did you mean `{near}`?", fix)


def attribute_parts(window: Window, nodes: list[Node]) -> list[tuple[str, Span, str, Span]]:
    """(name, its place, value, its place); the place of an empty value is its quotes."""
    parts: list[tuple[str, Span, str, Span]] = []
    for node in nodes:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        assert name is not None
        text = window.text_of(value) if value else ""
        end = window.span(node).end
        span = window.span(value) if value else Span(end - 2, end)
        parts.append((window.text_of(name), window.span(name), text, span))
    return parts


def near_fence(written: str, span: Span, indent: int) -> Diagnostic:
    """The complaint about a line that the grammar found to be almost a fence; `indent` blanks
    stand before it."""
    # No fence anyone meant is longer, and the patterns backtrack.
    folded = unicodedata.normalize("NFKC", written[:200])
    media = _NEAR_MEDIA.match(folded)
    if media:
        kind = SectionType(media.group(1).lower())
        message = f"this is no fence; attributes are written as in {_EXAMPLE[kind]}"
        return report("fence-attributes-malformed", span, message)
    match = _NEAR.fullmatch(folded)
    near = match and closest(match.group(1).lower(), tuple(_TYPES))
    if not match or not near or SectionType(near) in MEDIA:
        message = "looks like a fence but is read as text; a fence is `::type::` on its own line"
        return report("fence-near-miss", span, message)
    suffix = f"#{match.group(2).lower()}" if match.group(2) else ""
    fence = f"::{near}{suffix}::"
    fix = Fix(f"Write {fence}", (TextEdit(Span(span.start - indent, span.end), fence),))
    return report("fence-near-miss", span, f"read as text; did you mean `{fence}`?", fix)
