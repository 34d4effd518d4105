"""Running out of memory in a step: fewer rows at a time, the same step, and said once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, make_run
from tests.training.sessions import STEPS, Place
from tests.training.test_preference_run import make_run as make_preferences

from dlm_engine.errors import TrainingError
from dlm_engine.jobs import Choice, Event, Progress, Start
from dlm_engine.training.network import Trainee
from dlm_engine.training.sft import Run

KINDS: dict[str, Callable[[], BaseException]] = {
    "accelerator": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    "cpu": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    "python": MemoryError,
}


@contextmanager
def memory_of(
    rows: int, error: Callable[[], BaseException] = KINDS["cpu"], *, looking: bool = False
) -> Iterator[list[int]]:
    """Within, more than `rows` rows of a step do not fit, or of a look at what is known; what
    went through, in order."""
    seen: list[int] = []
    whole = Trainee.hidden

    def hidden(self: Trainee, pack: Any, trunk: Any) -> torch.Tensor:
        if (self.model.training and torch.is_grad_enabled()) is not looking:
            seen.append(len(pack.rows))
            if len(pack.rows) > rows:
                raise error()
        return whole(self, pack, trunk)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainee, "hidden", hidden)
        yield seen


def gradients(run: Run) -> torch.Tensor:
    """What the first step's gradients are, before it is taken."""
    run.portions.trainee.model.train()
    run._accumulated()
    return torch.cat([p.grad.flatten() for p in run.parameters.values() if p.grad is not None])


@pytest.mark.parametrize("kind", KINDS)
def test_half_as_many_rows_give_the_same_step(kind: str) -> None:
    wishes: dict[str, Any] = {"packs_per_step": 99}
    expected = gradients(make_run(count=12, **wishes))
    run = make_run(count=12, **wishes)
    largest = max(len(laid.pack.rows) for laid in (*run.packs, *run.anchors))
    assert largest > 2
    with memory_of(1, KINDS[kind]) as seen:
        found = gradients(run)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert seen[-1] == 1
    assert run.portions.most == 1


def test_it_is_said_in_the_step_and_stays_so() -> None:
    run = make_run(count=12, packs_per_step=99)
    with memory_of(2) as seen:
        reports = list(run.steps(until=3))
    said = [report.choice for report in reports]
    assert said[0] is not None
    assert (said[0].name, said[1:]) == ("micro_batch", [None, None])
    again = seen[seen.index(max(seen)) + 1 :]
    assert max(again[-12:]) <= 2
    assert run.look().count >= 0


def test_a_row_that_does_not_fit_ends_the_run_with_what_to_do() -> None:
    run = make_run(count=4)
    with memory_of(0), pytest.raises(TrainingError) as caught:
        list(run.steps())
    assert "one row at a time" in caught.value.problem
    assert "sequence_len" in caught.value.remedy
    assert run.step == 0


def looked(run: Run) -> dict[str, bool]:
    list(run.steps(until=9))
    return dict(run.look().known)


def test_looking_with_fewer_rows_at_a_time_sees_the_same() -> None:
    expected = looked(make_run(count=12))
    assert set(expected.values()) == {True, False}
    run = make_run(count=12)
    with memory_of(1, looking=True) as seen:
        assert looked(run) == expected
    assert (seen[0] > 1, seen[-1], run.portions.most) == (True, 1, 1)
    said = run.portions.told()
    assert said is not None
    assert (said.value, run.portions.told()) == ("1 row at a time", None)


def test_preferences_are_compared_with_fewer_rows_at_a_time() -> None:
    whole, run = make_preferences(), make_preferences()
    whole.begin()
    with memory_of(2, looking=True):
        run.begin()
    for key, sums in whole.before.items():
        assert run.before[key] == pytest.approx(sums, rel=1e-4)
    assert run.owed == whole.owed


@pytest.mark.parametrize("most", [None, 2])
def test_no_room_for_the_last_look_keeps_the_state(fresh: Place, most: int | None) -> None:
    """Both of a run that ended by itself, and of one that was told to end."""
    with ExitStack() as stack:

        def tell(event: Event) -> None:
            if isinstance(event, Progress) and event.step == 1:
                stack.enter_context(memory_of(0, looking=True))

        with pytest.raises(TrainingError) as caught:
            fresh.train(max_steps=most, tell=tell)
    assert "looking at the rows" in caught.value.subject
    assert fresh.numbers() == []
    outcome = fresh.train(Start.RESUME)
    assert (outcome.version, outcome.steps) == (1, STEPS)


def test_another_error_is_no_lack_of_memory() -> None:
    run = make_run(count=4)
    with memory_of(0, lambda: RuntimeError("a shape is wrong")), pytest.raises(RuntimeError):
        list(run.steps())
    assert run.portions.most is None


def test_both_answers_of_a_preference_stay_together() -> None:
    whole, run = make_preferences(), make_preferences()
    whole.begin()
    run.begin()
    expected = gradients(whole)
    with memory_of(2) as seen:
        found = gradients(run)
    assert run.portions.most in (1, 2)
    assert seen[0] == 8
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_a_document_is_learned_with_less_memory(fresh: Place) -> None:
    heard: list[Event] = []
    with memory_of(1):
        outcome = fresh.train(tell=heard.append)
    (said,) = [e for e in heard if isinstance(e, Choice) and e.name == "micro_batch"]
    assert said.value == "1 row at a time"
    assert (outcome.version, outcome.steps) == (1, STEPS)


def test_no_room_for_a_row_leaves_the_version_there_was(trained: Place) -> None:
    with memory_of(0), pytest.raises(TrainingError, match="memory"):
        trained.train(Start.FRESH)
    assert trained.numbers() == [1]


def test_checkpointing_computes_layers_twice_and_the_same() -> None:
    base = make_model()
    saving = make_run(replace(WIRING, checkpointing=True), base=base)
    calls: list[int] = []
    base.model.layers[-1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    expected = gradients(make_run())
    # Attention is torch's own there, which sums in another order.
    torch.testing.assert_close(gradients(saving), expected, rtol=1e-2, atol=1e-4)
    passes = 2  # a pack and its anchors
    assert len(calls) == 2 * passes
    saving.trainee.model.unload()
    # A base that stays in memory: the next plan does without.
    after = make_run(base=base)
    calls.clear()
    gradients(after)
    assert len(calls) == passes
