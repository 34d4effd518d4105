"""Which sections teach which named adapter, and the document as one of them sees it.

The invariant: what an adapter learns is a document of its own, with that adapter's settings
as those of its one adapter, so whatever trains, asks or exports a document does the same for
a part of it and knows nothing of names. A section with `#name` teaches that adapter, prose
without one every adapter, anything else without one the adapter that is declared first.
"""

from __future__ import annotations

from dataclasses import replace

from dlm_engine.document.frontmatter import FLAT_ADAPTER_FIELDS, Frontmatter, Training
from dlm_engine.document.model import Document, Section, SectionType
from dlm_engine.errors import UsageError


def adapter_names(frontmatter: Frontmatter) -> tuple[str, ...]:
    """The declared adapters, in order; none for a document with one unnamed adapter."""
    return tuple(frontmatter.training.adapters or ())


def teaches(section: Section, names: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the declared adapters learn from `section`."""
    if section.adapter is not None:
        return (section.adapter,)
    return names if section.type is SectionType.PROSE else names[:1]


def part_for(document: Document, name: str) -> Document:
    """`document` as its declared adapter `name` sees it."""
    frontmatter = document.frontmatter
    assert frontmatter is not None
    names = adapter_names(frontmatter)
    own = frontmatter.model_copy(update={"training": training_of(frontmatter.training, name)})
    sections = tuple(s for s in document.sections if name in teaches(s, names))
    return replace(document, frontmatter=own, sections=sections)


def training_of(training: Training, name: str) -> Training:
    """The settings of the adapter `name` in the form of a single adapter's."""
    assert training.adapters is not None
    shared = training.model_dump(exclude_unset=True)
    for key in ("adapters", "gate", *FLAT_ADAPTER_FIELDS):
        shared.pop(key, None)
    return Training.model_validate(
        {**shared, **training.adapters[name].model_dump(exclude_unset=True)}
    )


def require_adapter(frontmatter: Frontmatter, name: str) -> str:
    """`name` itself when it is declared.

    Raises:
        UsageError: it is not.
    """
    names = adapter_names(frontmatter)
    if name in names:
        return name
    if not names:
        raise UsageError(
            f"adapter {name[:64]!r}", "is not there: the document has one adapter", "leave it out"
        )
    raise UsageError(
        f"adapter {name[:64]!r}", "is not in training.adapters", f"choose of: {', '.join(names)}"
    )


def one_adapter(frontmatter: Frontmatter, name: str | None, how: str = "--adapter") -> str | None:
    """The adapter that is meant: `name`, or the only one; None is the unnamed adapter.

    Raises:
        UsageError: it is not declared, or there are several and none was named.
    """
    if name is not None:
        return require_adapter(frontmatter, name)
    names = adapter_names(frontmatter)
    if len(names) > 1:
        raise UsageError(
            how, f"is needed: the document has the adapters {', '.join(names)}", "choose one"
        )
    return names[0] if names else None
