"""The preference phase on the tiny base: what it raises, what it leaves alone, how it resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.parts import SETTINGS, WIRING, bytes_of, lay, rows, trainee

from dlm_engine.data.packs import packs_of
from dlm_engine.data.pairs import Pair, pair_packs_of
from dlm_engine.data.tokens import Encoded
from dlm_engine.errors import TrainingError
from dlm_engine.training.aim import aim, survey
from dlm_engine.training.checkpoint import read_state, write_state
from dlm_engine.training.preference_run import LaidPairs, PreferenceRun
from dlm_engine.training.preference_settings import CHOSEN_WEIGHT, PREFERRED, PreferenceSettings
from dlm_engine.training.sft import Laid

WISHES = PreferenceSettings(
    method="dpo",
    loss_type="sigmoid",
    reference="pre_adapter",
    beta=0.1,
    alpha=0.1,
    run=replace(SETTINGS, schedule="constant", learning_rate=0.005, cap=12, rank=8),
    packs_per_step=99,
    columns=4,
)
LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "hinge": {"loss_type": "hinge"},
    "ipo": {"loss_type": "ipo"},
    "ipo, beta from the pairs": {"loss_type": "ipo", "beta": None},
    "base": {"reference": "base"},
    "orpo": {"method": "orpo"},
}
FIRST = 4


def pair(number: int) -> Pair:
    prompt = (1, 5, 6, 80 + number, 7)

    def side(name: str, *answer: int) -> Encoded:
        return Encoded(f"p{number}:{name}", "s", "chat", (*prompt, *answer, 2), len(prompt))

    return Pair(
        f"p{number}",
        "?",
        side("chosen", 120 + number, 130),
        side("rejected", 140 + number, 150, 160, 170 + number),
        False,
    )


def make_run(count: int = 4, budget: int = 200, **wishes: Any) -> PreferenceRun:
    """A run of `count` pairs upon an adapter of rank 4 that is not zero, with 4 new columns."""
    settled = replace(WISHES, **wishes)
    trained = trainee(replace(WIRING, dropout=settled.run.dropout))
    own = pair_packs_of([pair(n) for n in range(count)], budget)
    kept = lay(trained, packs_of(rows(4), 24))
    everyday = lay(trained, packs_of(rows(8, first=100), 40))
    surveyed = survey(trained, everyday)
    aim(trained, kept, surveyed)
    generator = torch.Generator().manual_seed(5)
    for module in trained.adapted().values():
        with torch.no_grad():
            weight = module.lora_B["default"].weight
            weight[:, :FIRST] = 0.02 * torch.randn(weight[:, :FIRST].shape, generator=generator)
    laid = lay(trained, [pack for pack, _ in own])
    aim(trained, laid, surveyed, kept, FIRST)
    trained.train_columns_from(FIRST)
    anchors = [Laid(p, t, h) for (p, t), h in zip(everyday, surveyed.hidden, strict=True)]
    pairs = [LaidPairs(Laid(*each), group) for each, (_, group) in zip(laid, own, strict=True)]
    return PreferenceRun(
        trained, settled, settled.run, pairs, [Laid(*each) for each in kept], anchors, "abc"
    )


def earlier_bytes(run: PreferenceRun) -> bytes:
    """What the adapter was before the phase: the first rows of A and columns of B."""
    parts = [
        part
        for module in run.trainee.adapted().values()
        for part in (
            module.lora_A["default"].weight[:FIRST],
            module.lora_B["default"].weight[:, :FIRST],
        )
    ]
    return b"".join(part.detach().contiguous().numpy().tobytes() for part in parts)


@pytest.mark.parametrize("changes", LOSSES.values(), ids=LOSSES)
def test_every_loss_makes_the_wanted_answers_likelier(changes: dict[str, Any]) -> None:
    run = make_run(**changes)
    before = earlier_bytes(run)
    run.begin()
    reports = list(run.steps())
    found = run.measured()
    assert found.margin_after > found.margin_before + 1
    assert found.accuracy_after == 1.0
    assert found.pairs == 4
    assert reports[-1].loss < reports[0].loss
    assert (reports[-1].learned, reports[-1].rows) == run.progress
    assert earlier_bytes(run) == before


def test_the_first_loss_is_that_of_no_difference() -> None:
    """With the adapter before the phase as reference; the base is another one."""
    for reference, alike in (("pre_adapter", True), ("base", False)):
        run = make_run(reference=reference, loss_type="hinge")
        run.begin()
        assert (run.reference == run.before) is alike
        pairs = run.pairs[0]
        losses = run._losses(pairs, run._thought(pairs)).tolist()
        chosen = [run.before[p.key][0] / p.chosen.supervised for p in pairs.pairs]
        gains = [loss + CHOSEN_WEIGHT * mean for loss, mean in zip(losses, chosen, strict=True)]
        assert (gains == pytest.approx([1.0] * 4, abs=1e-5)) is alike


@pytest.mark.parametrize("behind", [0.0, 6.5])
def test_ipo_goes_as_far_as_its_hardest_pair_needs(behind: float) -> None:
    """Of pairs whose rejected answer is up to `behind` nats a token ahead."""
    run = make_run(loss_type="ipo", beta=None)
    run.reference = {
        key: (-1.0 * chosen, (behind * number / 3 - 1) * rejected)
        for number, (key, (chosen, rejected)) in enumerate(run._lengths.items())
    }
    goal = 1 / (2 * run.beta)
    assert goal == pytest.approx(max(2.0, behind + PREFERRED + 1))


def test_asking_the_base_leaves_what_is_not_trained_untrained() -> None:
    """Gradients of lora_A would be computed for nothing."""
    run = make_run(reference="base")
    trained = set(run.parameters)
    run.begin()
    assert set(run.trainee.parameters()) == trained


@pytest.mark.parametrize("changes", [{}, {"reference": "base"}, {"method": "orpo"}], ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_resumed_ends_in_the_same_bytes(
    changes: dict[str, Any], dropout: float, tmp_path: Path
) -> None:
    changes = {**changes, "run": replace(WISHES.run, dropout=dropout), "packs_per_step": 1}
    straight = make_run(6, 40, **changes)
    assert len(straight.pairs) > 1
    straight.begin()
    list(straight.steps())
    first = make_run(6, 40, **changes)
    first.begin()
    list(first.steps(until=5))
    write_state(tmp_path, first.state("inputs"))
    second = make_run(6, 40, **changes)
    state = read_state(tmp_path)
    assert state is not None
    second.resume(state)
    assert (second.reference, second.before) == (first.reference, first.before)
    assert [report.step for report in second.steps()] == list(range(6, 13))
    assert bytes_of(second) == bytes_of(straight)
    assert second.measured() == straight.measured()


def test_it_ends_when_every_pair_is_preferred() -> None:
    run = make_run(run=replace(WISHES.run, stop_when_learned=True, cap=200))
    run.begin()
    reports = list(run.steps())
    assert run.finished
    assert len(reports) < 200
    assert run.progress == (4, 4)
    for key in run.now:
        chosen, rejected = run._means(run.now, key)
        assert chosen >= max(run._means(run.before, key))
        assert chosen - rejected >= PREFERRED


def test_a_row_that_is_lost_keeps_it_going() -> None:
    run = make_run()
    run.begin()
    run.now = dict.fromkeys(run.before, (0.0, -99.0))
    assert run._knows_everything()
    row = next(iter(run.knowledge.watched))
    run.owed = frozenset([row])
    run.knowledge.known[row] = False
    assert not run._knows_everything()


def test_an_adapter_without_numbers_is_refused_before_a_step() -> None:
    run = make_run()
    module = next(iter(run.trainee.adapted().values()))
    module.lora_B["default"].weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="not finite"):
        run.begin()


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing() -> None:
    run = make_run()
    run.begin()
    list(run.steps(until=2))
    before = bytes_of(run)
    run.trainee.head.data[3] = float("nan")
    with pytest.raises(TrainingError, match="not a number"):
        list(run.steps())
    assert bytes_of(run) == before
