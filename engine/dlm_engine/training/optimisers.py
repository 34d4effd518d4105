"""The optimisers that `training.optimizer` names, and their moments in and out of a run's state.

All are AdamW, with decay off: it would pull towards zero what is only a few steps from it. What
differs is how a parameter's two moments are kept: in float32 or in 8 bits with a scale for every
256 of them, of the whole gradient or of a part of it (`galore.py`). bitsandbytes is imported only
by who asks for it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from typing import Any

import torch

from dlm_engine.hardware import GALORE_SHARE
from dlm_engine.training import galore
from dlm_engine.training.galore import GaLore

#: What the entries of an optimiser's state are called, in the order of `training.checkpoint`.
_FIRST = ("exp_avg", "state1")
_SECOND = ("exp_avg_sq", "state2")
_SCALES = ("absmax1", "absmax2")
#: What moments mean nothing without.
BESIDE = (*_SCALES, *galore.KEPT)
#: Smaller moments stay in 32 bits: bitsandbytes' own bound.
_LEAST_IN_8_BITS = 4096


def make_optimiser(
    name: str, parameters: Iterable[torch.nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """The optimiser that the plan allowed; KeyError for a name that it refuses."""
    if name == "adamw_torch":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    if name == "galore_adamw":
        return GaLore(parameters, rate, lambda each: make_optimiser("adamw_torch", each, rate))
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit

    if name == "galore_adamw_8bit":
        # What would be in 8 bits whole is in 8 bits in part.
        least = _LEAST_IN_8_BITS // GALORE_SHARE
        return GaLore(
            parameters,
            rate,
            lambda each: AdamW8bit(each, lr=rate, weight_decay=0.0, min_8bit_size=least),
        )
    made: torch.optim.Optimizer = {
        "adamw_bnb_8bit": AdamW8bit,
        "paged_adamw_8bit": PagedAdamW8bit,
    }[name](parameters, lr=rate, weight_decay=0.0)
    return made


def conditions(name: str) -> dict[str, str]:
    """What the bits of a step depend on besides torch, for `dlm.lock`."""
    if name == "adamw_torch":
        return {}
    if name == "galore_adamw":
        return {"optimizer": name}
    return {"optimizer": f"{name}, bitsandbytes {importlib.metadata.version('bitsandbytes')}"}


def moments(
    optimiser: torch.optim.Optimizer, parameter: torch.nn.Parameter
) -> tuple[torch.Tensor | None, torch.Tensor | None, dict[str, torch.Tensor]]:
    """First and second moment of `parameter`, and what is beside them; None before a step."""
    if isinstance(optimiser, GaLore):
        first, second, scales = moments(optimiser.inner, optimiser.stand_in(parameter))
        return first, second, scales | optimiser.kept(parameter)
    entries = optimiser.state.get(parameter, {})
    first, second = (
        next((entries[name] for name in names if name in entries), None)
        for names in (_FIRST, _SECOND)
    )
    return first, second, {name: entries[name] for name in _SCALES if name in entries}


@torch.no_grad()
def put_back(
    optimiser: torch.optim.Optimizer,
    parameter: torch.nn.Parameter,
    steps: int,
    first: torch.Tensor,
    second: torch.Tensor,
    beside: dict[str, torch.Tensor],
) -> None:
    """Have `optimiser` go on as after `steps` steps with these moments of `parameter`."""
    if isinstance(optimiser, GaLore):
        with optimiser.going_on(parameter, beside) as stand_in:
            scales = {name: kept for name, kept in beside.items() if name in _SCALES}
            put_back(optimiser.inner, stand_in, steps, first, second, scales)
        return
    if isinstance(optimiser, torch.optim.AdamW):
        optimiser.state[parameter] = {
            "step": torch.tensor(float(steps)),
            "exp_avg": first.to(parameter.device),
            "exp_avg_sq": second.to(parameter.device),
        }
        return
    entries = _begun(optimiser, parameter)
    entries["step"] = steps
    for name, kept in {"state1": first, "state2": second, **beside}.items():
        entries[name].copy_(kept)


def _begun(optimiser: Any, parameter: torch.nn.Parameter) -> dict[str, Any]:
    """What a bitsandbytes optimiser keeps of `parameter`, as before its first step.

    Made by itself, so that what it keeps in pages is in pages again.
    """
    (group,) = optimiser.param_groups
    place = next(n for n, each in enumerate(group["params"]) if each is parameter)
    optimiser.init_state(group, parameter, 0, place)
    entries: dict[str, Any] = optimiser.state[parameter]
    return entries
