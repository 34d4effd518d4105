"""The narrow products beside a base in bfloat16: PEFT's own values, and its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, rows

from dlm_engine.data.packs import Pack, pack
from dlm_engine.training.network import Trainee

PACK = pack(rows(4))


def trainee(dtype: torch.dtype) -> Trainee:
    """With both factors drawn, so that either's gradient says something."""
    made = Trainee(make_model().to(dtype), WIRING)
    generator = torch.Generator().manual_seed(3)
    for module in made.adapted().values():
        weight = module.lora_B["default"].weight
        with torch.no_grad():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return made


def by_peft(made: Trainee) -> Trainee:
    for module in made.adapted().values():
        module.lora_variant.clear()
        module.cast_input_dtype_enabled = True
    return made


def computed(made: Trainee, packed: Pack = PACK) -> tuple[torch.Tensor, dict[str, Any]]:
    """What comes out, and the gradient of its squares in every parameter."""
    hidden = made.hidden(packed, made.trunk(packed))
    hidden.float().square().mean().backward()
    return hidden.detach().float(), {name: p.grad for name, p in made.parameters().items()}


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_values_and_gradients_are_those_of_peft_but_for_rounding() -> None:
    hidden, gradients = computed(trainee(torch.bfloat16))
    exact, exact_gradients = computed(trainee(torch.float32))
    peft, peft_gradients = computed(by_peft(trainee(torch.bfloat16)))
    assert distance(hidden, exact) < 2 * distance(peft, exact) + 1e-3
    for name, exactly in exact_gradients.items():
        assert gradients[name].dtype == torch.float32
        off, usual = (distance(g[name], exactly) for g in (gradients, peft_gradients))
        assert off < 2 * usual + 0.01, name


def test_a_fixed_a_gets_no_gradient_and_keeps_no_input() -> None:
    made = trainee(torch.bfloat16)
    made.freeze_listening()
    _, gradients = computed(made)
    assert gradients
    assert all("lora_B" in name for name in gradients)


def test_nothing_wide_is_kept_for_the_backward_pass() -> None:
    kept: list[torch.dtype] = []
    made = trainee(torch.bfloat16)
    made.freeze_listening()
    module = next(iter(made.adapted().values()))
    x = torch.randn(2, 5, module.in_features, dtype=torch.bfloat16, requires_grad=True)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.dtype)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        module(x)
    assert set(kept) == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_what_peft_computes_as_well_is_left_to_it(kind: str) -> None:
    from dataclasses import replace

    made = Trainee(
        make_model().to(torch.float32 if kind == "lora" else torch.bfloat16),
        replace(WIRING, kind=kind),
    )
    for module in made.adapted().values():
        assert module.cast_input_dtype_enabled
        assert [type(v).__module__ for v in module.lora_variant.values()] == (
            [] if kind == "lora" else ["peft.tuners.lora.variants"]
        )
