"""Attention of a pack, a few hundred tokens with a mask of their own, in bfloat16 on a CPU.

torch's fused attention walks over keys in blocks, to keep scores that would not fit; beside a
mask, in bfloat16, it took a third of a training step. The scores of a pack fit (2 MB a layer
for 345 tokens), so here they are two plain products with a softmax between, the heads that
share keys side by side in one product, and the backward pass is written out. All sums go along
one row or inside one product, so that the bits do not depend on the number of threads; the
gradient of torch's own softmax does depend on it.

It is entered under a name of its own where transformers looks for attention; the layers stay
the library's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

NAME: Final = "dlm_pack"
#: Longer packs are left to torch: their scores are no longer small.
MOST_TOKENS: Final = 640


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        _, heads, tokens, width = query.shape
        shared = key.shape[1]
        grouped = (query * scaling).reshape(shared, -1, width)
        scores = torch.bmm(grouped, key[0].transpose(1, 2)).view(heads, tokens, tokens)
        # Of bfloat16 scores torch takes the softmax in float32.
        shares = torch.softmax(scores.add_(mask[0]), -1).view(shared, -1, tokens)
        mixed = torch.bmm(shares, value[0])
        ctx.scaling = scaling
        ctx.save_for_backward(grouped, key, value, shares, mixed)
        return mixed.view(1, heads, tokens, -1).transpose(1, 2).contiguous()

    @staticmethod
    def backward(
        ctx: Any, *upstream: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None, None]:
        grouped, key, value, shares, mixed = ctx.saved_tensors
        _, tokens, heads, _ = upstream[0].shape
        onto = upstream[0].transpose(1, 2).reshape(mixed.shape)
        of_value = torch.bmm(shares.transpose(1, 2), onto)
        mean = (onto.float() * mixed.float()).sum(-1, keepdim=True)
        slope = torch.bmm(onto, value[0].transpose(1, 2)).sub_(mean.to(onto.dtype)).mul_(shares)
        of_query = torch.bmm(slope, key[0]).mul_(ctx.scaling).view(1, heads, tokens, -1)
        of_key = torch.bmm(slope.transpose(1, 2), grouped)
        return of_query, of_key[None], of_value[None], None, None


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Mixtures (1, N, heads, d), as transformers asks a layer's attention for them.

    `query` (1, heads, N, d), `key` and `value` (1, those that heads share, N, d), `mask`
    (1, 1, N, N) to be added to the scores.
    """
    mixed: torch.Tensor = _Attention.apply(query, key, value, mask, scaling)
    return mixed, None


@contextmanager
def attending(config: Any, tokens: int) -> Iterator[None]:
    """Within, a model of this `config` that would attend by torch's fused function, does so
    as above, where that is of use."""
    from transformers import AttentionInterface

    drops = getattr(config, "attention_dropout", 0.0)
    if config._attn_implementation != "sdpa" or tokens > MOST_TOKENS or drops:
        yield
        return
    AttentionInterface.register(NAME, attend)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"
