"""Everything that is wrong with a document in its place: its text, its files, its workspace.

The first two are what `dlm check` reports, from the same functions, so that the editor and the
command line agree on every error. The last needs other documents and the store, and is never
an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dlm_engine.checks import check_surroundings, report, same_id
from dlm_engine.document import Diagnostic, LiveDocument, Section, Span
from dlm_server.views import KnownDocument, TrainedView

#: beyond this only the syntax is checked on each change
LARGE_CHARACTERS = 5_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """A diagnostic, and the other documents it is about."""

    diagnostic: Diagnostic
    related: tuple[KnownDocument, ...] = ()


def findings(
    live: LiveDocument,
    *,
    path: Path | None,
    uri: str,
    known: Iterable[KnownDocument],
    trained: TrainedView | None,
    secrets: bool,
) -> tuple[Finding, ...]:
    """Every problem, those of the text first, each group in order of place."""
    found = [Finding(d) for d in live.diagnostics if secrets or d.code != "secret"]
    if len(live.text) > LARGE_CHARACTERS:
        return (*found, Finding(_large(live)))
    folder = None if path is None else path.parent
    found += [Finding(d) for d in check_surroundings(live, folder)]
    found += duplicates(live, path, uri, known)
    if trained is not None:
        found += [Finding(d) for d in changed_since_trained(live, trained)]
    return tuple(found)


def duplicates(
    live: LiveDocument, path: Path | None, uri: str, known: Iterable[KnownDocument]
) -> list[Finding]:
    """The other documents that have this one's `dlm_id`."""
    frontmatter = live.frontmatter
    if frontmatter is None:
        return []
    others = tuple(
        k for k in known if k.dlm_id == frontmatter.dlm_id and k.uri != uri and k.path != path
    )
    names = [_shown(other, path) for other in others]
    return [Finding(d, others) for d in same_id(live.keys, names)]


def changed_since_trained(live: LiveDocument, trained: TrainedView) -> list[Diagnostic]:
    """One remark for the whole document, at the first section the current version lacks."""
    if trained.version is None:
        return []
    new = [
        index
        for index, chunk in enumerate(live.chunks.items)
        if (section := chunk.reading.section) is not None
        and (section.pairs or section.content)
        and trained.state(section) == "new"
    ]
    first = live.section_of(new[0]) if new else None
    if first is None:
        return []
    count = f"{len(new)} sections are" if len(new) > 1 else "this section is"
    why = f"{count} new or changed since version {trained.version} was trained"
    return [report("changed-since-trained", _first_line(live, first), why)]


def _large(live: LiveDocument) -> Diagnostic:
    end = live.line_start(1) if live.line_count > 1 else len(live.text)
    size = len(live.text) / 1e6
    why = f"{size:.1f} million characters: only the syntax is checked here; `dlm check` checks all"
    return report("document-large", Span(0, end), why)


def _first_line(live: LiveDocument, section: Section) -> Span:
    if section.fence_span is not None:
        return section.fence_span
    line = live.line_of(section.span.start)
    while line + 1 < live.line_count and not live.line_text(line).strip():
        line += 1
    start = live.line_start(line)
    return Span(start, start + len(live.line_text(line)))


def _shown(other: KnownDocument, path: Path | None) -> str:
    if other.path is None:
        return other.uri
    if path is None:
        return str(other.path)
    return os.path.relpath(other.path, path.parent)
