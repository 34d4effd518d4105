"""Attention of a pack: torch's own values and gradients, the same with any number of threads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, rows, trainee

from dlm_engine.data.packs import Pack, pack
from dlm_engine.training import attention
from dlm_engine.training.network import Trainee

PACK = pack(rows(4))


def computed(made: Trainee, packed: Pack = PACK) -> list[torch.Tensor]:
    """The hidden states, and the gradient of their squares in every parameter."""
    for module in made.adapted().values():
        torch.nn.init.constant_(module.lora_B["default"].weight, 0.05)
    hidden = made.hidden(packed, made.trunk(packed))
    hidden.float().square().mean().backward()
    gradients = [p.grad for p in made.parameters().values() if p.grad is not None]
    return [hidden.detach(), *gradients]


@pytest.fixture
def by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_TOKENS", 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each attention that went this way."""
    seen: list[int] = []
    attend = attention._attend

    def note(module: object, query: torch.Tensor, *rest: object, **more: object) -> object:
        seen.append(query.shape[2])
        return attend(module, query, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "_attend", note)
    return seen


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_values_and_gradients_are_torchs(
    kind: str, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = computed(trainee(WIRING, kind))
    assert calls == [PACK.tokens] * 6
    with monkeypatch.context() as patch:
        patch.setattr(attention, "MOST_TOKENS", 0)
        torchs = computed(trainee(WIRING, kind))
    assert len(calls) == 6
    assert len(ours) == len(torchs) > 1
    for one, other in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(computed(Trainee(make_model().to(dtype), WIRING)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_base_is_left_as_it_was() -> None:
    made = trainee()
    computed(made)
    assert made.inner.config._attn_implementation == "sdpa"


@pytest.mark.usefixtures("by_torch")
def test_a_long_pack_is_left_to_torch(calls: list[int]) -> None:
    computed(trainee())
    assert calls == []


def test_layers_computed_twice_are_left_to_torch(calls: list[int]) -> None:
    made = trainee(replace(WIRING, checkpointing=True))
    made.model.train()
    computed(made)
    assert calls == []
