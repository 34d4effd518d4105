"""The state of a run on disk: adapter, optimiser moments and where it stood.

One safetensors file, replaced in one rename: nothing in it can execute, and there is
never half of it. Random numbers need no saving, as every draw derives from seed and step.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dlm_engine.errors import TrainingError
from dlm_engine.store import make_folders, write_atomic
from dlm_engine.training.model import Phase
from dlm_engine.training.optimisers import BESIDE, moments, put_back

STATE_NAME = "training_state.safetensors"
_REMEDY = "train again with --fresh"


class PreferenceFacts(BaseModel):
    """What a preference phase computed before its first step, and where its pairs stand.

    `upon`: SHA-256 of the adapter it began with, "" for none. `before`, `reference` and
    `now`: nats of the chosen and the rejected answer, by the pair's key. `owed`: keys of the
    rows that it knew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    upon: str
    before: dict[str, tuple[float, float]]
    reference: dict[str, tuple[float, float]]
    now: dict[str, tuple[float, float]]
    owed: tuple[str, ...]


class Asked(BaseModel):
    """The flags that shaped a run; None and False where none was given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = None
    all_layers: bool = False
    early_stop: int | None = None
    phase: Phase = Phase.ALL


class StateFacts(BaseModel):
    """Where the run stood; kept in the file's metadata.

    `fingerprint` is of everything that must not change under a resume, `basis` of that less
    the rows; `finished` says that the run ended by itself (learned, or at its last step);
    `known` is what stopping depends on; `rows` are all that were trained, with the question
    of those that have one; `pairs` are the keys of the preferences that were; `asked` is None
    in states of before it was kept; `sha256` is of the tensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state_version: int = 1
    step: int
    fingerprint: str
    finished: bool
    known: dict[str, bool]
    basis: str = ""
    rows: dict[str, str] = {}
    pairs: tuple[str, ...] = ()
    preference: PreferenceFacts | None = None
    asked: Asked | None = None
    skipped: int = 0
    sha256: str


@dataclass(frozen=True)
class State:
    """Parameters and both AdamW moments by parameter name, after `step` steps.

    The tensors are those of a run that can go on; a finished one has none. `scales` belong to
    moments in 8 bits, and so do projectors and their age to those of GaLore, by the name of what
    it is and the parameter, with a point between. `skipped` of the steps made no update, as their
    loss was not a number.
    """

    step: int
    fingerprint: str
    finished: bool
    known: dict[str, bool]
    parameters: dict[str, torch.Tensor]
    first_moments: dict[str, torch.Tensor]
    second_moments: dict[str, torch.Tensor]
    scales: dict[str, torch.Tensor] = field(default_factory=dict)
    basis: str = ""
    rows: dict[str, str] = field(default_factory=dict)
    pairs: tuple[str, ...] = ()
    preference: PreferenceFacts | None = None
    asked: Asked | None = None
    skipped: int = 0

    def without_tensors(self) -> State:
        """What is worth keeping of a finished run: nobody goes on from its moments."""
        return replace(self, parameters={}, first_moments={}, second_moments={}, scales={})

    def tensors(self) -> dict[str, torch.Tensor]:
        named = {
            **{f"parameter.{n}": t for n, t in self.parameters.items()},
            **{f"first.{n}": t for n, t in self.first_moments.items()},
            **{f"second.{n}": t for n, t in self.second_moments.items()},
            **{f"scale.{n}": t for n, t in self.scales.items()},
        }
        return dict(sorted(named.items()))


_Named = dict[str, torch.Tensor]


def copies(
    parameters: dict[str, torch.nn.Parameter], optimiser: torch.optim.Optimizer
) -> tuple[
    dict[str, torch.Tensor],
    dict[str, torch.Tensor],
    dict[str, torch.Tensor],
    dict[str, torch.Tensor],
]:
    """Parameters, both moments and what is beside those as they are now, on the CPU."""

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to("cpu", copy=True).contiguous()

    kept = {n: moments(optimiser, p) for n, p in parameters.items()}
    return (
        {n: copy(p) for n, p in parameters.items()},
        {n: copy(first) for n, (first, _, _) in kept.items() if first is not None},
        {n: copy(second) for n, (_, second, _) in kept.items() if second is not None},
        {f"{s}.{n}": copy(t) for n, (_, _, scales) in kept.items() for s, t in scales.items()},
    )


def write_state(folder: Path, state: State) -> None:
    """Write `state` into `folder` durably; raises `StoreError` when the disk refuses."""
    make_folders(folder)
    tensors = state.tensors()
    facts = facts_of(state, tensors)
    write_atomic(folder / STATE_NAME, save(tensors, metadata={"dlm": facts.model_dump_json()}))


def facts_of(state: State, tensors: dict[str, torch.Tensor]) -> StateFacts:
    """What `state`, of which `tensors` are, says of itself."""
    return StateFacts(
        step=state.step,
        fingerprint=state.fingerprint,
        finished=state.finished,
        known=state.known,
        basis=state.basis,
        rows=state.rows,
        pairs=state.pairs,
        preference=state.preference,
        asked=state.asked,
        skipped=state.skipped,
        sha256=_digest(tensors),
    )


def read_state(folder: Path) -> State | None:
    """The state in `folder`, None when there is none.

    Raises:
        TrainingError: it cannot be read, or is not what was saved.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return None
    facts = read_facts(folder)
    assert facts is not None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    if _digest(tensors) != facts.sha256:
        raise TrainingError(str(path), "was changed since it was saved", _REMEDY)
    return state_of(facts, tensors)


def state_of(facts: StateFacts, tensors: dict[str, torch.Tensor]) -> State:
    """The state of which `facts` and `tensors` are."""
    groups: dict[str, dict[str, torch.Tensor]]
    groups = {"parameter": {}, "first": {}, "second": {}, "scale": {}}
    for name, tensor in tensors.items():
        group, _, parameter = name.partition(".")
        groups[group][parameter] = tensor
    return State(
        facts.step,
        facts.fingerprint,
        facts.finished,
        facts.known,
        groups["parameter"],
        groups["first"],
        groups["second"],
        groups["scale"],
        facts.basis,
        facts.rows,
        facts.pairs,
        facts.preference,
        facts.asked,
        facts.skipped,
    )


def read_facts(folder: Path) -> StateFacts | None:
    """What the state in `folder` says of itself, None when there is none; no tensor is read.

    Raises:
        TrainingError: it cannot be read.
    """
    path = folder / STATE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            return StateFacts.model_validate_json((file.metadata() or {}).get("dlm", ""))
    except (OSError, SafetensorError, ValidationError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> TrainingError:
    return TrainingError(str(path), f"cannot be read ({type(error).__name__})", _REMEDY)


def restore(
    state: State,
    parameters: dict[str, torch.nn.Parameter],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Put `state` back into a freshly built run.

    Raises:
        TrainingError: the adapter has other tensors than the state.
    """
    shapes = {name: tensor.shape for name, tensor in state.parameters.items()}
    if shapes != {name: tensor.shape for name, tensor in parameters.items()}:
        raise TrainingError(
            "--resume", "the saved run trained an adapter of another shape", _REMEDY
        )
    for name, parameter in parameters.items():
        with torch.no_grad():
            parameter.copy_(state.parameters[name])
        if name in state.first_moments:
            put_back(
                optimiser,
                parameter,
                state.step - state.skipped,
                state.first_moments[name],
                state.second_moments[name],
                {s: state.scales[f"{s}.{name}"] for s in BESIDE if f"{s}.{name}" in state.scales},
            )


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and bytes."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        total.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
