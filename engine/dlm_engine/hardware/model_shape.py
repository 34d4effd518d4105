"""The sizes of a model that decide how much memory training takes.

Invariant: read from `config.json` alone, so that a plan needs neither the weights nor
torch. Field names differ between families; this is the only place that knows how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dlm_engine.errors import HardwareRefusal

#: Model types whose transformer is embeddings, layers, norm and nothing else.
CUTTABLE: Final = frozenset({"llama", "mistral", "qwen2", "qwen3", "olmo2", "smollm3", "phi3"})


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Sizes of a decoder with gated MLPs.

    `params` counts all weights; `linear_params` those in the linear layers (what 4-bit
    quantisation shrinks and LoRA adapts); `softcap` is whether attention scores are
    capped, which fused attention kernels leave out.
    """

    hidden: int
    layers: int
    intermediate: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    params: int
    tied: bool
    softcap: bool = False

    @property
    def linear_params(self) -> int:
        return self.layers * sum(rows * columns for rows, columns in self.linears)

    @property
    def linears(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of one layer's linear modules: q, k, v, o, gate, up, down."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return (
            (self.hidden, query),
            (self.hidden, key),
            (self.hidden, key),
            (query, self.hidden),
            (self.hidden, self.intermediate),
            (self.hidden, self.intermediate),
            (self.intermediate, self.hidden),
        )

    def lora_params(self, rank: int) -> int:
        """Parameters of LoRA factors of `rank` on every linear layer."""
        return self.layers * sum(rank * (rows + columns) for rows, columns in self.linears)


def shape_of(config: Mapping[str, Any]) -> ModelShape:
    """The shape that a Hugging Face `config.json` describes.

    Covers Llama, Mistral, Qwen2, Qwen3, Gemma2, Phi3, OLMo2 and SmolLM3. Raises
    `HardwareRefusal` where a size is missing or is not a positive whole number.
    """
    hidden = _size(config, "hidden_size")
    layers = _size(config, "num_hidden_layers")
    intermediate = _size(config, "intermediate_size")
    vocab = _size(config, "vocab_size")
    heads = _size(config, "num_attention_heads")
    kv_heads = _size(config, "num_key_value_heads", heads)
    head_dim = _size(config, "head_dim", hidden // heads)
    # Gemma's class ties the head unless told otherwise; the others do not.
    default_tied = config.get("model_type") == "gemma2"
    tied = bool(config.get("tie_word_embeddings", default_tied))
    bare = ModelShape(
        hidden, layers, intermediate, vocab, heads, kv_heads, head_dim, params=1, tied=tied
    )
    norms = (2 * layers + 1) * hidden
    embeddings = vocab * hidden * (1 if tied else 2)
    return ModelShape(
        hidden,
        layers,
        intermediate,
        vocab,
        heads,
        kv_heads,
        head_dim,
        params=bare.linear_params + norms + embeddings,
        tied=tied,
        softcap=bool(config.get("attn_logit_softcapping")),
    )


def approximate_shape(params: int) -> ModelShape:
    """A typical shape of about `params` parameters, for saying which bases might fit.

    Sides of today's small decoders: heads of 64 up to 3e9 parameters and 128 above, an MLP
    of 4 times the hidden size at most, 32,000 to 152,000 tokens.
    """
    vocab = 50_000 if params < 4e8 else 150_000
    hidden, layers = 576, 30
    for hidden, layers in ((576, 30), (896, 24), (2048, 24), (2560, 32), (4096, 36), (5120, 48)):
        if vocab * hidden + layers * hidden * hidden * 12 >= params:
            break
    return ModelShape(
        hidden,
        layers,
        hidden * 4,
        vocab,
        hidden // 64,
        max(1, hidden // 256),
        64,
        params=params,
        tied=params < 4e9,
    )


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise HardwareRefusal(
            "config.json", f"{name} is {value!r}, not a size", "this base cannot be planned for"
        )
    return value


def trained_layers(shape: ModelShape, model_type: str, *, all_layers: bool) -> int | None:
    """How many of the layers get an adapter, counted from the end; None for all."""
    return max(1, shape.layers // 3) if model_type in CUTTABLE and not all_layers else None
