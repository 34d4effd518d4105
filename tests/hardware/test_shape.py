"""`shape_of` counts the parameters of every supported family as transformers builds it."""

from __future__ import annotations

from typing import Any

import pytest

from dlm_engine.errors import HardwareRefusal
from dlm_engine.hardware import approximate_shape, shape_of

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "vocab_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    "family", ["Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2", "Phi3", "Olmo2", "SmolLM3"]
)
def test_parameters_are_those_of_the_real_model(family: str) -> None:
    import torch
    import transformers

    config = getattr(transformers, f"{family}Config")(**SIZES)
    with torch.device("meta"):
        model = getattr(transformers, f"{family}ForCausalLM")(config)
    shape = shape_of({**config.to_dict(), "head_dim": getattr(config, "head_dim", None)})
    # Biases and the extra norms of some families are left out: under a few per cent.
    assert shape.params == pytest.approx(model.num_parameters(), rel=0.03)
    assert shape.softcap == (family == "Gemma2")


def test_a_head_size_of_its_own_is_read() -> None:
    assert shape_of({**SIZES, "head_dim": 256}).head_dim == 256
    assert shape_of(SIZES).head_dim == 16


@pytest.mark.parametrize("value", [None, 0, -1, "64", True, 1.5])
def test_a_size_that_is_none_is_refused_by_name(value: object) -> None:
    with pytest.raises(HardwareRefusal, match="hidden_size"):
        shape_of({**SIZES, "hidden_size": value})


@pytest.mark.parametrize("params", [135e6, 1.5e9, 8e9, 70e9])
def test_an_approximate_shape_has_the_parameters_it_was_asked_for(params: float) -> None:
    assert approximate_shape(int(params)).params == int(params)
