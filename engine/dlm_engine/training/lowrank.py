"""The adapter's own two products while training beside a base in bfloat16 on a CPU.

PEFT keeps adapters in float32 and widens what enters each of them, so the products, their sum
with the base's and all that is kept for the backward pass are float32: over bfloat16 that took
as long as the base's own products. Here both factors are narrowed instead (a few thousand
numbers, not a few hundred thousand), the second product is added onto the base's result in
place, and where A is fixed nothing but the (N, rank) tensor between them is kept. The
parameters and their optimiser stay float32.

It is put in at the point PEFT has for kinds of LoRA that compute in another way, and taken out
again after each pass: who asks the model that was just trained gets what a fresh process would
answer. DoRA, quantised layers and bases in float32 are left to PEFT.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        result: torch.Tensor,
        x: torch.Tensor,
        a: torch.Tensor,
        b: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        rows, narrow_a = x.reshape(-1, x.shape[-1]), a.to(x.dtype)
        narrow_b = (b * scaling).to(x.dtype)
        between = rows @ narrow_a.t()
        result.view(-1, result.shape[-1]).addmm_(between, narrow_b.t())
        ctx.mark_dirty(result)
        ctx.scaling = scaling
        ctx.save_for_backward(
            between, narrow_a, narrow_b, rows if ctx.needs_input_grad[2] else None
        )
        return result

    @staticmethod
    def backward(
        ctx: Any, *upstream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, None]:
        between, a, b, rows = ctx.saved_tensors
        flat = upstream[0].reshape(-1, upstream[0].shape[-1])
        onto_between = flat @ b
        _, wants_x, wants_a, wants_b, _ = ctx.needs_input_grad
        of_x = (onto_between @ a).view(*upstream[0].shape[:-1], -1) if wants_x else None
        of_a = (onto_between.t() @ rows).float() if wants_a else None
        of_b = (flat.t() @ between).float().mul_(ctx.scaling) if wants_b else None
        return upstream[0], of_x, of_a, of_b, None


class _Narrow:
    """LoRA as PEFT asks its kinds to compute it; only what training calls is here."""

    @staticmethod
    def forward(
        module: Any, active_adapter: str, x: torch.Tensor, result: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        added: torch.Tensor = _LowRank.apply(
            result,
            module.lora_dropout[active_adapter](x),
            module.lora_A[active_adapter].weight,
            module.lora_B[active_adapter].weight,
            module.scaling[active_adapter],
        )
        return added


def narrowable(module: Any) -> bool:
    """Whether the adapted linear `module` can compute as above."""
    from peft.tuners.lora.layer import Linear

    plain = type(module) is Linear and not module.lora_variant
    return plain and module.base_layer.weight.dtype == torch.bfloat16


@contextmanager
def narrowed(modules: Sequence[Any]) -> Iterator[None]:
    """Within, these `narrowable` modules compute as above."""
    for module in modules:
        module.cast_input_dtype_enabled = False
        module.lora_variant["default"] = _Narrow
    try:
        yield
    finally:
        for module in modules:
            module.cast_input_dtype_enabled = True
            del module.lora_variant["default"]
