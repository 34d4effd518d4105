"""Plain training is killed with SIGKILL at 50 random moments, from its first read to its commit.

Half of the moments are by the clock, half right before one of the run's operations on files. Ten
kills hit the same store, one version after another. Whatever was going on, the store opens with
every version it had told of, and going on (or beginning again, where there is nothing to go on
with) ends in the bytes of a run that nobody killed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.crash.checks import DLM_ID, all_bytes, interrupted, require_settled, require_whole
from tests.crash.forks import Forks, Order, forks
from tests.tiny import FACTS, document_text, write_base

from dlm_engine.store import Store
from dlm_engine.store.layout import checkpoint_path
from dlm_engine.training.checkpoint import STATE_NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOMENTS = 50
KILLS_PER_STORE = 10


@dataclass(frozen=True)
class Whole:
    """A run that nobody killed: its seconds, its operations on files, the hash of its adapter."""

    seconds: float
    operations: int
    digest: str | None


@pytest.fixture
def runs() -> Iterator[Forks]:
    with forks() as started:
        yield started


def test_a_kill_at_any_moment_of_training_loses_nothing(runs: Forks, tmp_path: Path) -> None:
    base, document = str(write_base(tmp_path / "base")), tmp_path / "facts.dlm"
    # Each version is of another document, or there would be nothing to go on with after the first.
    answers = (f"It is number {n}." for n in range(KILLS_PER_STORE))
    short = "training:\n  num_epochs: 3\n"
    texts = [document_text(base, ((FACTS[0][0], a), *FACTS[1:]), short) for a in answers]
    wholes = [whole(runs, document, text, tmp_path / "whole") for text in texts]
    digests = [each.digest for each in wholes]
    assert len(set(digests)) == KILLS_PER_STORE
    chance = random.Random(20260103)
    resumed, anew, late = 0, 0, 0
    for moment in range(MOMENTS):
        home = tmp_path / f"home-{moment // KILLS_PER_STORE}"
        store, told = Store(home, DLM_ID), moment % KILLS_PER_STORE
        # Each fiftieth of a run has its kill, so none of its parts is left out.
        share = (moment * 21 % MOMENTS + chance.random()) / MOMENTS
        document.write_text(texts[told])
        order = Order(str(document), str(home))
        if moment // KILLS_PER_STORE % 2:
            killed = replace(order, dies_at=1 + int(share * wholes[told].operations))
            ended = runs.run(killed)
        else:
            ended = runs.run(order, share * wholes[told].seconds)

        require_whole(home)
        committed = len(store.versions()) - told
        assert committed == 1 or (committed == 0 and ended.killed)
        kept = (checkpoint_path(store.root, None) / STATE_NAME).exists()
        gone_on = runs.run(replace(order, start="resume"))
        if gone_on.error:
            assert not committed
            assert not kept
            assert runs.run(order).error == ""
        late, resumed = late + committed, resumed + (kept and not committed)
        anew += bool(gone_on.error)
        assert all_bytes(home) == {(None, n + 1): d for n, d in enumerate(digests[: told + 1])}
        require_settled(home)
        interrupted(home)
    # Otherwise one of the ways on was never gone.
    assert min(resumed, anew, late) >= 3, (resumed, anew, late)


def whole(runs: Forks, document: Path, text: str, home: Path) -> Whole:
    document.write_text(text)
    began = time.monotonic()
    ended = runs.run(Order(str(document), str(home)))
    seconds = time.monotonic() - began
    assert ended.error == ""
    current = Store(home, DLM_ID).current()
    assert current is not None
    return Whole(seconds, ended.operations, current.adapter_sha256())
