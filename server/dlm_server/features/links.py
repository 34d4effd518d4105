"""Links out of a document: files it names, and pages of its base.

A target is worked out from the text alone; whether a file is there is the diagnostics' affair.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.document import Span
from dlm_server.features.base_docs import HUB_PAGE, HUB_PREFIX, registry, written_base

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

_SOURCE = re.compile(r"training\.sources\.[0-9]+\.path")
_PATH = re.compile(r'(?<=[ \t])path="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Link:
    """`target` is a file or folder, or the address of a page."""

    span: Span
    target: Path | str
    tooltip: str


def links(live: LiveDocument, folder: Path | None) -> Iterator[Link]:
    """Every link of the document; relative paths start from `folder`, if it has one."""
    document = live.document
    for path, places in document.keys.items():
        if path == "base_model":
            yield from _base(live, folder)
        elif _SOURCE.fullmatch(path):
            yield from _file(live, _unquoted(live, places.value), folder, "Open the source")
    for section in document.sections:
        if section.fence_span is None or "path" not in section.attributes:
            continue
        match = _PATH.search(live.text, *section.fence_span)
        if match:
            yield from _file(live, Span(*match.span(1)), folder, f"Open the {section.type}")


def _base(live: LiveDocument, folder: Path | None) -> Iterator[Link]:
    from dlm_engine.bases.local import is_local
    from dlm_engine.bases.spec import HUB_ID

    written = written_base(live)
    if written is None:
        return
    name, span = written
    spec = registry().get(name)
    hub = spec.hf_id if spec else name.removeprefix(HUB_PREFIX)
    if (spec or name.startswith(HUB_PREFIX)) and hub and HUB_ID.fullmatch(hub):
        yield Link(span, HUB_PAGE + hub, "Show the base on the hub")
    elif is_local(name):
        yield from _file(live, span, folder, "Open the base's folder")


def _unquoted(live: LiveDocument, value: Span) -> Span:
    quoted = live.text[value.start : value.start + 1] in ('"', "'")
    return Span(value.start + quoted, max(value.start + quoted, value.end - quoted))


def _file(live: LiveDocument, span: Span, folder: Path | None, tooltip: str) -> Iterator[Link]:
    written = live.text[span.start : span.end]
    try:
        path = Path(written).expanduser()
    except RuntimeError:
        return
    if "\n" in written or "\0" in written or not written.strip():
        return
    if path.is_absolute():
        yield Link(span, path, tooltip)
    elif folder is not None:
        yield Link(span, folder / path, tooltip)
