"""What the processes of a run do that do not lead it: they take its steps and write nothing.

Process 0 runs the session as it would alone and says at each phase what to build and where it
begins. The others build the same from their own reading of the document, take the adapter from
process 0 (so neither aiming it nor the versions in the store are needed elsewhere), and go
through the same steps and the same looks in the same order: whatever waits for the others is
called here as often as in `stage.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load, save

from dlm_engine.inference.resident import Resident
from dlm_engine.training import checkpoint, ranks
from dlm_engine.training.building import Built, build, build_preferences, class_of
from dlm_engine.training.checkpoint import State, StateFacts
from dlm_engine.training.early import Best
from dlm_engine.training.given import Given
from dlm_engine.training.model import Ending, Phase, TrainOutcome, TrainRequest
from dlm_engine.training.network import Trainee
from dlm_engine.training.portions import memory_for
from dlm_engine.training.sft import mean_loss


class Order(BaseModel):
    """A phase to go through: of which adapter, upon one of which rank and alpha, and from where."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: str | None
    phase: Phase
    shape: tuple[int, int] | None
    state: StateFacts | None


class On(StrEnum):
    """What comes after a step."""

    FURTHER = "further"
    ENOUGH = "enough"
    STOPPED = "stopped"


# --- in process 0 -------------------------------------------------------------------------------


def order(
    adapter: str | None, phase: Phase, shape: tuple[int, int] | None, state: State | None
) -> None:
    """Tell the others what to build."""
    if ranks.world() > 1:
        facts = checkpoint.facts_of(state, state.tensors()) if state else None
        said = Order(adapter=adapter, phase=phase, shape=shape, state=facts)
        ranks.told(said.model_dump(mode="json"))


def share(trainee: Trainee, state: State | None) -> None:
    """Give the others the adapter that was built, and the state to go on with."""
    ranks.share(_adapter(trainee))
    if ranks.world() > 1 and state is not None:
        ranks.told_bytes(save(state.tensors()))


def tell_how_on(on: On) -> None:
    """Tell the others how it goes on; called after each step."""
    ranks.told(on)


# --- in the others ------------------------------------------------------------------------------


def follow(given: Mapping[str | None, Given], request: TrainRequest) -> TrainOutcome:
    """Take part in all phases that process 0 goes through; the outcome names no version.

    Raises:
        ProcessLost: it ended before it said so.
        DlmError: as there.
    """
    outcome = TrainOutcome(Ending.UNCHANGED)
    resident = Resident()
    while (said := ranks.told()) is not None:
        todo = Order.model_validate(said)
        outcome = _phase(todo, given[todo.adapter], request, resident)
    return outcome


def _phase(todo: Order, given: Given, request: TrainRequest, resident: Resident) -> TrainOutcome:
    with memory_for(given.case.spec.key):
        built = _build(todo, given, resident)
    run = built.run
    if todo.state is None:
        run.begin()
    else:
        run.resume(checkpoint.state_of(todo.state, load(ranks.told_bytes())))
    patience = request.early_stop if todo.phase is Phase.SFT else None
    best = Best(run, built.held, patience) if patience else None
    for report in run.steps(request.max_steps):
        if best:
            best.look(report)
        on = ranks.told()
        if on == On.STOPPED:
            return TrainOutcome(Ending.CANCELLED, steps=run.step, adapter=todo.adapter)
        if on == On.ENOUGH or (best and best.over):
            break
    if best:
        best.restore()
    run.look()
    run.measured()
    mean_loss(run.portions, built.held)
    return TrainOutcome(Ending.TRAINED, steps=run.step, adapter=todo.adapter)


def _build(todo: Order, given: Given, resident: Resident) -> Built:
    """What process 0 builds, in the same passes, and then with its adapter."""
    if todo.phase is Phase.PREFERENCE:
        built = build_preferences(given, resident, lambda _: None, None, todo.shape)
    else:
        built = build(given, resident, lambda _: None, lambda: False)
    if built.run.trainee.divided:
        class_of(given, built.run, resident)
    ranks.share(_adapter(built.run.trainee))
    return built


def _adapter(trainee: Trainee) -> list[torch.Tensor]:
    named = sorted(trainee.model.named_parameters())
    return [parameter for name, parameter in named if "lora_" in name]
