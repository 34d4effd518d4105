"""Documents that have been trained once, and what tests say of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tiny import document_text

from dlm_engine.document import parse
from dlm_engine.store import Store

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
SHORT = "training:\n  num_epochs: 12\n"
LONG = "training:\n  num_epochs: 5000\n"
PROBE = "### Q !probe\nWhere is the harbour?\n### A\nIt is at Norby.\n"


@dataclass(frozen=True)
class Place:
    """A document that has been trained once, and its home."""

    path: Path
    home: Path
    text: str
    dlm_id: str = DLM_ID

    @property
    def store(self) -> Store:
        return Store(self.home, self.dlm_id)

    def facts(self, base: Path, extra: str) -> str:
        """Another text for the same document."""
        return document_text(str(base), extra=extra).replace(DLM_ID, self.dlm_id)

    def numbers(self) -> list[int]:
        return [v.number for v in self.store.versions() if v.complete]

    def section(self) -> str:
        return parse(self.path.read_text())[0].sections[0].id


def ended(uri: str, kind: str, ending: str = "done") -> Callable[[Any], bool]:
    def check(status: dict[str, Any]) -> bool:
        last = status["last"]
        over = status["job"] is None and status["queued"] == 0
        wanted = (uri, kind, ending)
        return bool(over and last and (last["uri"], last["kind"], last["ending"]) == wanted)

    return check
