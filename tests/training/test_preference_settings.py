"""What `training.preference` settles to: what is written holds, what is not is chosen and said."""

from __future__ import annotations

from typing import Any

import pytest
from tests.training.parts import SETTINGS
from tests.training.test_preference_run import pair

from dlm_engine.document.frontmatter import Training
from dlm_engine.training.preference_settings import PreferenceSettings, settle_preferences


def settle(rows: int = 3, packs: int = 2, count: int = 4, **training: Any) -> PreferenceSettings:
    wishes = Training.model_validate(training)
    pairs = [pair(n) for n in range(count)]
    return settle_preferences(wishes, SETTINGS, pairs, packs=packs, rows=rows)


def names(settled: PreferenceSettings) -> list[str]:
    return [choice.name for choice in settled.run.choices]


def test_what_is_left_out_is_chosen_with_its_reason() -> None:
    settled = settle()
    assert names(settled) == [
        f"preference.{name}" for name in ("learning_rate", "steps", "replay", "columns")
    ]
    assert all(choice.reason for choice in settled.run.choices)
    assert settled.run.stop_when_learned
    assert settled.packs_per_step == 2


def test_ipo_without_a_beta_takes_it_from_the_pairs() -> None:
    settled = settle(preference={"loss_type": "ipo"})
    assert settled.beta is None
    assert "preference.beta" in names(settled)
    assert "from the pairs" in settled.objective
    written = settle(preference={"loss_type": "ipo", "hyperparams": {"beta": 0.1}})
    assert written.beta == 0.1
    assert "preference.beta" not in names(written)


def test_what_is_written_holds() -> None:
    numbers = {"beta": 0.3, "alpha": 0.2, "learning_rate": 5e-6, "num_epochs": 3}
    wishes = {"method": "orpo", "loss_type": "ipo", "reference": "base", "hyperparams": numbers}
    settled = settle(preference=wishes, lora_r=8)
    assert (settled.method, settled.loss_type, settled.reference) == ("orpo", "ipo", "base")
    assert (settled.beta, settled.alpha, settled.run.learning_rate) == (0.3, 0.2, 5e-6)
    assert (settled.run.cap, settled.run.stop_when_learned, settled.columns) == (3, False, 0)
    assert names(settled) == []


@pytest.mark.parametrize(("written", "each"), [({}, 4), ({"grad_accum": 1}, 1)])
def test_the_batch_is_the_authors(written: dict[str, int], each: int) -> None:
    settled = settle(packs=4, **written)
    assert settled.packs_per_step == each
    assert settled.run.cap == 40 * (4 // each)


@pytest.mark.parametrize(("rank", "alpha"), [(16, 32), (24, 24), (7, 5)])
def test_a_grown_adapter_is_scaled_as_before(rank: int, alpha: int) -> None:
    grown = settle().grown(rank, alpha)
    assert grown.rank >= rank + 11
    assert grown.alpha * rank == alpha * grown.rank


@pytest.mark.parametrize("training", [{"lora_r": 8}, {"adapter": "dora"}])
def test_a_fixed_rank_stays(training: dict[str, Any]) -> None:
    assert settle(**training).grown(8, 16).rank == 8


def test_preferences_alone_say_what_their_adapter_is() -> None:
    settled = settle(rows=0)
    assert settled.columns == 0
    assert "preference.columns" not in names(settled)
