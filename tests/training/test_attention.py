"""Attention of a pack: torch's own values and gradients, the same with any number of threads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, rows

from dlm_engine.data.packs import Pack, pack
from dlm_engine.training import attention
from dlm_engine.training.network import Trainee, Wiring

PACK = pack(rows(4))
HEADS, SHARED, WIDTH = 4, 2, 16
SCALING = WIDTH**-0.5


def made(dtype: torch.dtype = torch.bfloat16, wiring: Wiring = WIRING) -> Trainee:
    return Trainee(make_model().to(dtype), wiring)


def computed(trainee: Trainee, packed: Pack = PACK) -> list[torch.Tensor]:
    """The hidden states, and the gradient of their squares in every parameter."""
    for module in trainee.adapted().values():
        torch.nn.init.constant_(module.lora_B["default"].weight, 0.05)
    hidden = trainee.hidden(packed, trainee.trunk(packed))
    hidden.float().square().mean().backward()
    gradients = [p.grad for p in trainee.parameters().values() if p.grad is not None]
    return [hidden.detach(), *gradients]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each attention that went this way."""
    seen: list[int] = []
    attend = attention.attend

    def note(module: object, query: torch.Tensor, *rest: object, **more: object) -> object:
        seen.append(query.shape[2])
        return attend(module, query, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(attention, "attend", note)
    return seen


def attended(dtype: torch.dtype, *, by_torch: bool) -> list[torch.Tensor]:
    """Mixtures of random heads under the mask of a pack, and what their squares ask of each."""
    generator = torch.Generator().manual_seed(5)
    query, key, value = (
        torch.randn(1, count, PACK.tokens, WIDTH, generator=generator).to(dtype).requires_grad_()
        for count in (HEADS, SHARED, SHARED)
    )
    mask = torch.zeros(PACK.mask.shape, dtype=dtype)
    mask.masked_fill_(~PACK.mask, torch.finfo(dtype).min)
    if by_torch:
        mixed = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=SCALING, enable_gqa=True
        ).transpose(1, 2)
    else:
        mixed, _ = attention.attend(None, query, key, value, mask, SCALING)
    mixed.float().square().sum().backward()
    gradients = [head.grad for head in (query, key, value) if head.grad is not None]
    return [mixed.detach(), *gradients]


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def test_values_and_gradients_are_torchs() -> None:
    found = zip(
        attended(torch.float32, by_torch=False),
        attended(torch.float32, by_torch=True),
        strict=True,
    )
    for ours, torchs in found:
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_they_are_off_by_its_rounding_only() -> None:
    exact = attended(torch.float32, by_torch=True)
    ours, torchs = (attended(torch.bfloat16, by_torch=by_torch) for by_torch in (False, True))
    for exactly, one, other in zip(exact, ours, torchs, strict=True):
        # The scores are rounded once before their softmax, as in eager attention.
        assert distance(one.float(), exactly) < 2.5 * distance(other.float(), exactly)


def test_a_base_in_bfloat16_attends_so_in_every_layer_and_is_left_as_it_was(
    calls: list[int],
) -> None:
    trainee = made()
    computed(trainee)
    assert calls == [PACK.tokens] * 6
    assert trainee.inner.config._attn_implementation == "sdpa"


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(computed(made()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_base_in_float32_and_layers_computed_twice_are_left_to_torch(calls: list[int]) -> None:
    computed(made(torch.float32))
    twice = made(wiring=replace(WIRING, checkpointing=True))
    twice.model.train()
    computed(twice)
    assert calls == []


def test_long_packs_and_scores_that_are_dropped_are_left_to_torch(
    calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping = made()
    dropping.inner.config.attention_dropout = 0.1
    computed(dropping)
    monkeypatch.setattr(attention, "MOST_TOKENS", PACK.tokens - 1)
    computed(made())
    assert calls == []
