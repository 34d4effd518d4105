"""Completion: what may be written at a place of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_server.features.completion_body import complete_body
from dlm_server.features.completion_frontmatter import (
    complete_key,
    complete_opening,
    complete_value,
)
from dlm_server.features.completion_items import Completion, Completions, Offer, Surroundings
from dlm_server.features.frontmatter_place import KeyPlace, ValuePlace, place

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

__all__ = ["Completion", "Completions", "Offer", "Surroundings", "complete"]


def complete(live: LiveDocument, offset: int, around: Surroundings) -> Completions:
    """Everything that fits at `offset`."""
    here = place(live, offset)
    if isinstance(here, KeyPlace):
        return complete_key(live, here)
    if isinstance(here, ValuePlace):
        return complete_value(live, here, offset, around)
    if live.frontmatter_span is None:
        return complete_opening(live, offset)
    return complete_body(live, offset, around)
