"""Names that stay: the id of a document and the ids of its sections.

A section is known by what a model learns from it. Its id is the reference format's,
except that blank lines around the content do not count (so that inserting a section
renames no other) and that an image's caption and an audio's transcript do (so that
editing them is seen). `legacy_section_id` is the reference's own, for look-ups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from dlm_engine.document.model import SectionType
from dlm_engine.document.text import encode, strip_blank_lines

MEDIA = frozenset({SectionType.IMAGE, SectionType.AUDIO})


def new_id() -> str:
    """A fresh `dlm_id`: a ULID of the current time and 80 random bits."""
    from ulid import ULID

    return str(ULID())


def section_id(kind: SectionType, content: str, attributes: Mapping[str, str]) -> str:
    """16 hex digits. `content` has LF line ends and no provenance markers."""
    if kind not in MEDIA:
        return _digest(kind.value, strip_blank_lines(content))
    parts = [kind.value, attributes.get("path", "")]
    caption = strip_blank_lines(content) if kind is SectionType.IMAGE else ""
    if caption:
        parts += ["caption", caption]
    if attributes.get("transcript"):
        parts += ["transcript", attributes["transcript"]]
    return _digest(*parts)


def legacy_section_id(kind: SectionType, content: str, attributes: Mapping[str, str]) -> str:
    """What the reference computes: blank lines count, captions and transcripts do not."""
    if kind in MEDIA:
        return _digest(kind.value, attributes.get("path", ""))
    return _digest(kind.value, content)


def _digest(*parts: str) -> str:
    return hashlib.sha256(encode("\n".join(parts))).hexdigest()[:16]
