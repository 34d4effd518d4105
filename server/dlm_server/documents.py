"""The open documents: one immutable value per document and version.

An edit replaces the whole value, so whoever was given one keeps a text that cannot change
under it. The protocol library's own store is not used: it takes U+2028 and form feeds for
line ends, which the protocol does not, and would then write edits into the wrong line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dlm_engine.document import LiveDocument


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """One version of a document that a client has open. `uri` is spelt as the client spells it."""

    uri: str
    path: Path | None
    language: str
    version: int
    live: LiveDocument
