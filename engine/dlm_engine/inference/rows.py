"""Embeddings that an adapter has of its own for some tokens, as PEFT carries them.

PEFT keeps such rows beside the base and puts them into a copy of the whole matrix at every
pass, of a tied head once more: at each token of an answer that is as much memory as the base
itself moves. Here the copy is made once. The base's own matrix is never written to, so taking
the adapter off, or switching it off, gives the base as it was.
"""

from __future__ import annotations

from typing import Any, Final

import torch

#: In the names of their parameter and of their tensor in a file.
ROWS: Final = "trainable_tokens_delta"


@torch.no_grad()
def settle_rows(model: Any) -> None:
    """Make the matrix with the rows of the adapter "default" now, and keep it as it is."""
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    made: dict[int, torch.Tensor] = {}
    for layer in model.modules():
        if not isinstance(layer, TrainableTokensLayer):
            continue
        weight = layer.base_layer.weight
        if weight.data_ptr() not in made:
            rows = layer.trainable_tokens_delta["default"].to(weight)
            index = torch.tensor(layer.token_indices["default"], device=weight.device)
            made[weight.data_ptr()] = weight.detach().index_copy(0, index, rows)
        whole = made[weight.data_ptr()]
        layer.get_merged_weights = lambda active_adapters, whole=whole: whole
