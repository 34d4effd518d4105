"""A document on the tiny base and its home: what is trained, asked and looked at in the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import FACTS

from dlm_engine.jobs import (
    Event,
    PromptOutcome,
    PromptRequest,
    Start,
    TrainOutcome,
    TrainRequest,
    prompt,
    train,
)
from dlm_engine.store import Store
from dlm_engine.training.checkpoint import read_facts

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
STEPS = 4
#: So many passes and no stopping early: the run is finished after four steps.
SHORT = f"training:\n  num_epochs: {STEPS}\n"
QUESTION = FACTS[0][0]


@dataclass(frozen=True)
class Place:
    """A document and a home; `outcome` is of the run that filled it."""

    document: Path
    home: Path
    outcome: TrainOutcome | None = None

    @property
    def store(self) -> Store:
        return Store(self.home, DLM_ID)

    def train(
        self,
        start: Start = Start.AUTO,
        tell: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        **wishes: Any,
    ) -> TrainOutcome:
        return train(TrainRequest(self.document, self.home, start=start, **wishes), tell, cancelled)

    def ask(self, pieces: list[str] | None = None, **wishes: Any) -> PromptOutcome:
        heard = [] if pieces is None else pieces
        wishes = {"max_tokens": 12, **wishes}
        return prompt(PromptRequest(self.document, self.home, QUESTION, **wishes), heard.append)

    def numbers(self) -> list[int]:
        return [version.number for version in self.store.versions() if version.complete]

    def adapter(self) -> Path:
        current = self.store.current()
        assert current is not None
        return current.path / "adapter_model.safetensors"

    def fingerprint(self) -> str:
        current = self.store.current()
        assert current is not None
        facts = read_facts(current.path)
        assert facts is not None
        return facts.fingerprint


def small_and_polite(patch: pytest.MonkeyPatch) -> None:
    from dlm_engine.training import anchors

    patch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    patch.setenv("DLM_THREADS", "1")


def sha(place: Place) -> str:
    assert place.outcome is not None
    assert place.outcome.adapter_sha256 is not None
    return place.outcome.adapter_sha256
