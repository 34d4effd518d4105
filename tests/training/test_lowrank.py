"""The narrow products beside a base in bfloat16: PEFT's own values, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, rows

from dlm_engine.data.packs import Pack, pack
from dlm_engine.training import lowrank, network
from dlm_engine.training.network import Trainee, Wiring

PACK = pack(rows(4))
Computed = tuple[torch.Tensor, dict[str, Any]]


def made(dtype: torch.dtype = torch.bfloat16, wiring: Wiring = WIRING) -> Trainee:
    """With both factors drawn, so that either's gradient says something."""
    trainee = Trainee(make_model().to(dtype), wiring)
    generator = torch.Generator().manual_seed(3)
    for module in trainee.adapted().values():
        weight = module.lora_B["default"].weight
        with torch.no_grad():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return trainee


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """What each pair of products was computed in."""
    seen: list[torch.dtype] = []
    forward = lowrank._Narrow.forward

    def note(module: Any, active_adapter: str, x: torch.Tensor, **rest: Any) -> torch.Tensor:
        seen.append(x.dtype)
        return forward(module, active_adapter, x, **rest)

    monkeypatch.setattr(lowrank._Narrow, "forward", staticmethod(note))
    return seen


def computed(trainee: Trainee, packed: Pack = PACK) -> Computed:
    """What comes out, and the gradient of its squares in every parameter."""
    hidden = trainee.hidden(packed, trainee.trunk(packed))
    hidden.float().square().mean().backward()
    return hidden.detach().float(), {name: p.grad for name, p in trainee.parameters().items()}


def by_peft(trainee: Trainee) -> Computed:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "narrowed", lambda modules: nullcontext())
        return computed(trainee)


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_values_and_gradients_are_those_of_peft_but_for_rounding(
    calls: Sequence[torch.dtype],
) -> None:
    exact, exact_gradients = computed(made(torch.float32))
    peft, peft_gradients = by_peft(made())
    assert not calls
    hidden, gradients = computed(made())
    # Two layers of seven modules.
    assert calls == [torch.bfloat16] * 14
    assert distance(hidden, exact) < 2 * distance(peft, exact) + 1e-3
    for name, exactly in exact_gradients.items():
        assert gradients[name].dtype == torch.float32
        off, usual = (distance(g[name], exactly) for g in (gradients, peft_gradients))
        assert off < 2 * usual + 0.01, name


def test_a_fixed_a_gets_no_gradient_and_keeps_no_input() -> None:
    trainee = made()
    trainee.freeze_listening()
    module = trainee.adapted()["base_model.model.model.layers.5.mlp.down_proj"]
    kept: list[torch.Tensor] = []
    x = torch.randn(2, 5, module.in_features, dtype=torch.bfloat16, requires_grad=True)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with (
        lowrank.narrowed([module]),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        module(x)
    assert {tensor.dtype for tensor in kept} == {torch.bfloat16}
    assert not any(tensor.shape == (10, module.in_features) for tensor in kept)
    _, gradients = computed(trainee)
    assert gradients
    assert all("lora_B" in name for name in gradients)


def test_who_asks_the_model_after_a_pass_gets_pefts_products(calls: list[torch.dtype]) -> None:
    trainee, other = made(), made()
    computed(trainee)
    calls.clear()
    ids = torch.tensor([rows(1)[0].ids])
    with torch.no_grad():
        asked, fresh = (model.model.eval()(input_ids=ids).logits for model in (trainee, other))
    assert not calls
    assert torch.equal(asked, fresh)


@pytest.mark.parametrize(
    ("dtype", "wiring"),
    [
        (torch.float32, WIRING),
        (torch.bfloat16, replace(WIRING, kind="dora")),
        (torch.bfloat16, replace(WIRING, checkpointing=True)),
    ],
    ids=["float32", "dora", "checkpointing"],
)
def test_the_rest_is_left_to_peft(
    calls: list[torch.dtype], dtype: torch.dtype, wiring: Wiring
) -> None:
    trainee = made(dtype, wiring)
    trainee.model.train()
    computed(trainee)
    assert not calls
