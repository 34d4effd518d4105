"""Named adapters: where a document declares them and where its fences choose them.

A name lives in one document: it is declared as a key of `training.adapters` and used after the
`#` of a fence, and nothing else in the format names an adapter. So definition, references and
rename never leave the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlm_engine.document import Span, TextEdit

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

_PREFIX = "training.adapters."
_FENCE = re.compile(r"::[A-Za-z0-9_-]+#([A-Za-z0-9_#-]+)::")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place that names an adapter; the span is the name alone."""

    name: str
    span: Span
    declaration: bool


class RenameRefused(ValueError):
    """The new name cannot be taken; the message says why."""


def occurrences(live: LiveDocument) -> Iterator[Occurrence]:
    """Every naming of an adapter, in the order of the text."""
    for path, places in live.keys.items():
        name = path.removeprefix(_PREFIX)
        if path.startswith(_PREFIX) and "." not in name:
            quoted = live.text[places.key.start : places.key.start + 1] in ('"', "'")
            span = Span(places.key.start + quoted, places.key.end - quoted)
            # A key that `<<` brings in from elsewhere is declared there, not here.
            if live.text[span.start : span.end] == name:
                yield Occurrence(name, span, True)
    for section in live.document.sections:
        if section.fence_span is None:
            continue
        match = _FENCE.match(live.text, *section.fence_span)
        if match:
            yield Occurrence(match[1], Span(*match.span(1)), False)


def occurrence_at(live: LiveDocument, offset: int) -> Occurrence | None:
    """The naming under the cursor, which may stand at its end."""
    return next((o for o in occurrences(live) if o.span.start <= offset <= o.span.end), None)


def same_adapter(live: LiveDocument, offset: int) -> tuple[Occurrence, ...]:
    """Every naming of the adapter under the cursor."""
    here = occurrence_at(live, offset)
    return tuple(o for o in occurrences(live) if here and o.name == here.name)


def declared(live: LiveDocument) -> tuple[str, ...]:
    return tuple(dict.fromkeys(o.name for o in occurrences(live) if o.declaration))


def offered(live: LiveDocument) -> tuple[str, ...]:
    """Declared names that a fence may choose."""
    from dlm_engine.document.frontmatter import ADAPTER_NAME

    return tuple(name for name in declared(live) if ADAPTER_NAME.fullmatch(name))


def undeclared(live: LiveDocument) -> tuple[str, ...]:
    """Names that fences use and `training.adapters` lacks and may hold."""
    known = set(declared(live))
    used = (o.name for o in occurrences(live) if not o.declaration)
    return tuple(dict.fromkeys(n for n in used if n not in known and _why_not(n) is None))


def _why_not(name: str) -> str | None:
    """Why nothing can be declared by this name; None where it can."""
    from dlm_engine.document.frontmatter import ADAPTER_NAME
    from dlm_engine.document.yaml_text import is_plain
    from dlm_engine.errors import StoreError
    from dlm_engine.store import validate_adapter_name

    if not ADAPTER_NAME.fullmatch(name):
        return (
            f"`{name}` is no adapter name: "
            "it is a lower-case letter and then at most 31 of a-z, 0-9 and _"
        )
    if not is_plain(name):
        return f"`{name}` is no adapter name: unquoted, YAML takes it for no text"
    try:
        validate_adapter_name(name)
    except StoreError as error:
        return f"`{name}` {error.problem}: {error.remedy}"
    return None


def rename(live: LiveDocument, offset: int, new_name: str) -> tuple[TextEdit, ...]:
    """The edits that give the adapter under the cursor another name.

    Raises:
        RenameRefused: no adapter is here, the name cannot be declared, or it is taken.
    """
    here = occurrence_at(live, offset)
    if here is None:
        raise RenameRefused("there is no adapter name here")
    problem = _why_not(new_name)
    if problem is not None and new_name != here.name:
        raise RenameRefused(problem)
    found = tuple(occurrences(live))
    if new_name != here.name and any(o.name == new_name for o in found):
        where = "declared" if new_name in declared(live) else "named by a fence"
        raise RenameRefused(f"an adapter `{new_name}` is {where} already")
    return tuple(TextEdit(o.span, new_name) for o in found if o.name == here.name)
