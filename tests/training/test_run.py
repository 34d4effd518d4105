from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.training.parts import SETTINGS, WIRING, bytes_of, make_run

from dlm_engine.errors import TrainingError
from dlm_engine.training.checkpoint import STATE_NAME, read_facts, read_state, write_state
from dlm_engine.training.network import Wiring
from dlm_engine.training.sft import Run


@pytest.mark.parametrize("stop", [1, 5, 7])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_stopped_and_resumed_ends_in_the_same_bytes(
    stop: int, dropout: float, kind: str, tmp_path: Path
) -> None:
    wiring = replace(WIRING, dropout=dropout, kind=kind)
    straight = make_run(wiring)
    list(straight.steps())
    first = make_run(wiring)
    list(first.steps(until=stop))
    write_state(tmp_path, first.state("inputs"))
    del first
    torch.manual_seed(99)
    second = make_run(wiring)
    state = read_state(tmp_path)
    assert state is not None
    assert state.step == stop
    second.resume(state)
    assert [report.step for report in second.steps()] == list(range(stop + 1, SETTINGS.cap + 1))
    assert bytes_of(second) == bytes_of(straight)


@pytest.mark.parametrize("stop", [1, 6])
def test_moments_in_8_bits_are_resumed_to_the_same_bytes(stop: int, tmp_path: Path) -> None:
    # Wide enough that some moments are kept in 8 bits; smaller ones never are.
    wiring, name = replace(WIRING, rank=128), "adamw_bnb_8bit"
    straight = make_run(wiring, optimizer=name)
    list(straight.steps())
    kept = [straight.optimiser.state[p]["state1"].dtype for p in straight.parameters.values()]
    assert {torch.uint8, torch.float32} == set(kept)
    first = make_run(wiring, optimizer=name)
    list(first.steps(until=stop))
    write_state(tmp_path, first.state("inputs"))
    del first
    second = make_run(wiring, optimizer=name)
    state = read_state(tmp_path)
    assert state is not None
    second.resume(state)
    list(second.steps())
    assert bytes_of(second) == bytes_of(straight) != bytes_of(_run_with_adamw(wiring))


def _run_with_adamw(wiring: Wiring) -> Run:
    run = make_run(wiring)
    list(run.steps())
    return run


def test_the_same_settings_with_another_optimiser_are_other_facts() -> None:
    usual = SETTINGS.facts()
    assert "optimizer" not in usual
    assert replace(SETTINGS, optimizer="adamw_bnb_8bit").facts() != usual
    assert replace(SETTINGS, least=3).facts() != usual


def test_a_run_goes_on_to_its_least_step_though_all_is_known() -> None:
    run = make_run(DEEP, 3, **{**LEARNING, "least": 390})
    *_, last = run.steps()
    assert (last.step, last.learned) == (390, 3)


#: What the tiny base needs to learn a row: every layer, and nothing held back.
DEEP = replace(WIRING, layers=None, rank=32, alpha=64)
LEARNING: dict[str, object] = {
    "stop_when_learned": True,
    "cap": 400,
    "horizon": 400,
    "learning_rate": 0.003,
    "packs_per_step": 99,
    "anchor_weight": 0.0,
}


def test_a_resumed_run_stops_where_the_straight_one_does(tmp_path: Path) -> None:
    learning = LEARNING
    straight = make_run(DEEP, 3, **learning)
    steps = [report.step for report in straight.steps()]
    assert straight.finished
    assert steps[-1] < 400
    first = make_run(DEEP, 3, **learning)
    list(first.steps(until=steps[-1] - 3))
    write_state(tmp_path, first.state("inputs"))
    second = make_run(DEEP, 3, **learning)
    state = read_state(tmp_path)
    assert state is not None
    second.resume(state)
    assert [report.step for report in second.steps()][-1] == steps[-1]
    assert bytes_of(second) == bytes_of(straight)


def test_the_loss_falls_until_every_row_is_known() -> None:
    run = make_run(DEEP, 3, **LEARNING)
    reports = list(run.steps())
    assert reports[-1].loss < reports[0].loss / 4
    assert run.look().count == run.rows == 3


def test_an_update_that_undoes_what_its_step_saw_does_not_end_the_run() -> None:
    run = make_run(DEEP, 3, **LEARNING)
    list(run.steps())
    assert run.finished
    run.finished = False
    run.settings = replace(run.settings, learning_rate=30.0)
    harmed = next(run.steps())
    assert harmed.learned < run.rows
    assert not run.finished


def test_many_packs_a_step_give_the_gradient_of_one_batch() -> None:
    """The loss is per token of the whole step, so cutting it into packs changes nothing."""
    one, many = make_run(packs_per_step=99), make_run(packs_per_step=99)
    merged = many.packs
    assert len(merged) > 2
    one._accumulate()
    whole = torch.cat([p.grad.flatten() for p in one.parameters.values() if p.grad is not None])
    total = sum(laid.pack.supervised for laid in many.packs)
    many.anchors, one.anchors = [], []
    for run in (one, many):
        run.optimiser.zero_grad()
    one._accumulate()
    whole = torch.cat([p.grad.flatten() for p in one.parameters.values() if p.grad is not None])
    kept = {name: torch.zeros_like(p) for name, p in many.parameters.items()}
    for laid in merged:
        many.packs = [laid]
        _, _, tokens = many._accumulate()
        assert tokens < total
        for name, parameter in many.parameters.items():
            assert parameter.grad is not None
            kept[name] += parameter.grad * (tokens / total)
            parameter.grad = None
    parts = torch.cat([gradient.flatten() for gradient in kept.values()])
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-7)


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_nothing() -> None:
    run = make_run()
    list(run.steps(until=2))
    before = bytes_of(run)
    run.trainee.head.data[3] = float("nan")
    with pytest.raises(TrainingError, match="not a number"):
        list(run.steps())
    assert bytes_of(run) == before


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_bnb_8bit", "galore_adamw"])
def test_a_run_that_skipped_a_step_is_resumed_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    """The optimiser counts fewer steps than the run."""

    def begun(until: int) -> Run:
        run = make_run(optimizer=name)
        list(run.steps(until=1))
        well = run.trainee.head.data[3].clone()
        run.trainee.head.data[3] = float("nan")
        list(run.steps(until=2))
        run.trainee.head.data[3] = well
        list(run.steps(until=until))
        return run

    straight = begun(SETTINGS.cap)
    write_state(tmp_path, begun(5).state("inputs"))
    second = make_run(optimizer=name)
    state = read_state(tmp_path)
    assert state is not None
    second.resume(state)
    list(second.steps())
    assert bytes_of(second) == bytes_of(straight)


def test_a_state_that_was_changed_is_refused(tmp_path: Path) -> None:
    run = make_run(cap=3)
    list(run.steps(until=2))
    write_state(tmp_path, run.state("inputs"))
    path = tmp_path / STATE_NAME
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    facts = read_facts(tmp_path)
    assert facts is not None
    assert facts.fingerprint == "inputs"
    with pytest.raises(TrainingError, match="was changed"):
        read_state(tmp_path)
    path.write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="cannot be read"):
        read_state(tmp_path)


def test_a_finished_run_keeps_no_moments(tmp_path: Path) -> None:
    run = make_run(cap=2)
    list(run.steps())
    write_state(tmp_path, run.state("inputs"))
    kept = read_state(tmp_path)
    assert kept is not None
    assert kept.finished
    assert (kept.parameters, kept.first_moments, kept.second_moments) == ({}, {}, {})


def test_no_state_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    assert read_facts(tmp_path) is None


def test_the_rate_warms_up_falls_and_keeps_its_floor() -> None:
    settings = replace(SETTINGS, warmup_steps=4, horizon=20, learning_rate=1.0)
    rates = [settings.rate(step) for step in range(60)]
    assert rates[0] == pytest.approx(0.25)
    assert max(rates) == rates[3] or max(rates) == rates[4]
    assert rates[20] == rates[59] == pytest.approx(0.1)
    assert replace(settings, schedule="constant").rate(50) == 1.0
    assert replace(settings, schedule="cosine").rate(50) == pytest.approx(0.1)
