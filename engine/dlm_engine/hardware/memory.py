"""How much memory training takes, term by term.

For a micro-batch of `B` rows of `T` tokens (N = B*T), hidden size h, L trained layers, MLP width f,
H heads of size d, K key-value heads, V vocabulary entries, s bytes per activation and
weight, the peak in bytes is

    base       s*P                              (QLoRA: 0.56 bytes per weight in linears;
                                                divided: its part, and the largest layer)
    adapter    4*A                              LoRA factors, A = rank * sum(in + out) * L
    optimiser  4*A gradients + 8*A moments      (8-bit optimisers: 2*A moments; GaLore: of one
                                                direction in GALORE_SHARE)
    activations, per layer and token
        residuals and norms   2h*(4 + 4) + 2h*s          float32 copy and normalised copy
        attention             s*(3*H*d + 2*K*d + 2*H*d)  q, k, v, their copies, the output
        eager scores          T*H*(4 + 2*s)              softmax in float32 and its cast, mask
        mlp                   4f*s                       gate, its activation, up, product
        LoRA inputs           4*(5h + H*d + f)           their float32 casts, where s is 2,
                              or again s*(...) for dropout's copy where s is 4
      with checkpointing the first line's h*s per layer, plus one layer in full
    head       N_sup * (4 + 4 + s) * V          logits and their gradient in float32, only
                                                at supervised positions, HEAD_CHUNK at a time
    workspace  the largest temporaries of one layer's backward, about one more layer
    runtime    what the process needs before it holds a model
    aiming     before the first step, in place of all terms of a step: what feeds each group
               of adapted linears on everyday questions and on the document, of n tokens n*d*s
               or the (d, d) sum over them, 4*d*d, whichever is less; on a CPU 24*d*d for the
               widest group that is solved. A divided base's processes divide the groups
    warming    likewise, where embeddings are trained first: activations of all layers, and
               the head's logits again for the embeddings that are tied to it
    slack      a quarter of activations, head and workspace: allocator fragments and
               short-lived temporaries

The terms were derived from the modelling code, and checked against the tensors that
autograd really saves and against the peak of a real step (tests/hardware), within the
factors stated there. On a CPU a whole base in the precision of its file is that file, mapped: pages
of it that the system may take back, counted under base all the same, as every step needs them. Of
a divided base nothing is mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dlm_engine.hardware.model_shape import ModelShape

Precision = Literal["fp32", "bf16"]
Attention = Literal["eager", "sdpa", "flash_attention_2"]

SLACK = 0.25

HEAD_CHUNK = 256
"""Supervised positions whose logits may be in memory at once; the loss keeps to it."""

GALORE_SHARE = 4
"""Of so many directions of a gradient GaLore keeps the moments of one."""

EVERYDAY_TOKENS = 3500
"""About those of the everyday questions, which a base is shown before it is trained."""

SURVEY_KEPT = 512 * 2**20
"""Sums of everyday questions up to this size are kept on disk, and are there twice on the way."""

_RUNTIME = {"cpu": 700 * 2**20, "mps": 900 * 2**20, "cuda": 700 * 2**20}
_NF4_BYTES = 0.56
_MOMENT_BYTES = {
    "adamw_torch": 8,
    "adamw_bnb_8bit": 2,
    "paged_adamw_8bit": 2,
    "galore_adamw": 8 / GALORE_SHARE,
    "galore_adamw_8bit": 2 / GALORE_SHARE,
}


@dataclass(frozen=True, slots=True)
class Workload:
    """What is trained, apart from the batch: everything the estimate depends on."""

    shape: ModelShape
    precision: Precision
    attention: Attention
    sequence_len: int
    adapter_params: int
    optimizer: str
    quantised: Literal["none", "nf4"]
    dora: Literal["no", "yes"]
    device: Literal["cpu", "cuda", "mps"]
    supervised: float
    """Share of positions that carry loss, 0..1."""
    parts: int = 1
    """Processes that divide the base, of which each has one part and a layer whole."""
    layers: int | None = None
    """How many of the layers are trained, the last ones; None for all. Others keep nothing."""
    document: int = 0
    """Tokens of the whole document."""
    warm_up: bool = False
    """Whether embeddings are trained first, through all layers."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes at the peak of one training step, and of what comes before the first one: training
    embeddings (0 where that is not done) and aiming the adapter. `total` is of the largest, with
    slack."""

    base: int
    adapter: int
    optimiser: int
    activations: int
    head: int
    workspace: int
    runtime: int
    aiming: int
    warming: int

    @property
    def total(self) -> int:
        moving = self.activations + self.head + self.workspace
        step = self.optimiser + moving + round(SLACK * moving)
        return self.base + self.adapter + self.runtime + max(step, self.aiming, self.warming)


def estimate(work: Workload, rows: int, checkpointing: Literal["off", "on"]) -> Estimate:
    """Peak of a step on `rows` rows of the full sequence length."""
    shape, width = work.shape, _width(work)
    tokens = rows * work.sequence_len
    layer = tokens * layer_bytes_per_token(work)
    layers = work.layers or shape.layers

    def kept(layers: int) -> int:
        if checkpointing == "on":
            return tokens * shape.hidden * width * layers + layer
        return layer * layers

    head_rows = min(HEAD_CHUNK, max(1, round(tokens * work.supervised)))
    gathered = round(tokens * work.supervised) * shape.hidden * (4 + width)
    head = head_rows * shape.vocab * (8 + width) + gathered
    linear = min(shape.linear_params, shape.params) if work.quantised == "nf4" else 0
    base = round(linear * _NF4_BYTES) + (shape.params - linear) * width
    if work.parts > 1:
        largest = max(shape.linear_params // shape.layers, shape.vocab * shape.hidden)
        base = -(-base // work.parts) + largest * width
    return Estimate(
        base=base,
        adapter=4 * work.adapter_params,
        optimiser=round((4 + _MOMENT_BYTES[work.optimizer]) * work.adapter_params),
        activations=kept(layers),
        head=head,
        workspace=layer,
        runtime=_RUNTIME[work.device],
        aiming=_aiming(work) + round((1 + SLACK) * layer),
        warming=round((1 + SLACK) * (kept(shape.layers) + 2 * head + layer)) if work.warm_up else 0,
    )


def _aiming(work: Workload) -> int:
    """Bytes of what is heard of everyday questions and the document, and of solving for it."""
    shape, width = work.shape, _width(work)
    groups = (shape.hidden, shape.heads * shape.head_dim, shape.hidden, shape.intermediate)
    layers = work.layers or shape.layers
    sums = layers * sum(4 * d * d for d in groups)

    def heard(tokens: int) -> int:
        return layers * sum(min(tokens * d * width, 4 * d * d) for d in groups)

    everyday = heard(EVERYDAY_TOKENS)
    if work.parts == 1 and sums <= SURVEY_KEPT:
        everyday = 2 * sums
    solving = 24 * max(groups) ** 2 if work.device == "cpu" else 0
    return -(-(everyday + heard(work.document)) // work.parts) + solving


def layer_bytes_per_token(work: Workload) -> int:
    """Bytes that one layer keeps per token for its backward pass."""
    shape, width = work.shape, _width(work)
    query = shape.heads * shape.head_dim
    key = shape.kv_heads * shape.head_dim
    norms = 2 * shape.hidden * (8 + width)
    attention = width * (5 * query + 2 * key)
    scores = work.sequence_len * shape.heads * (4 + 2 * width) if work.attention == "eager" else 0
    mlp = 4 * shape.intermediate * width
    inputs = 4 * (5 * shape.hidden + query + shape.intermediate)
    # DoRA scales base and adapter outputs by a learnt magnitude, so both are kept.
    outputs = sum(out for _, out in shape.linears) if work.dora == "yes" else 0
    return norms + attention + scores + mlp + inputs + 2 * width * outputs


def _width(work: Workload) -> int:
    return 2 if work.precision == "bf16" else 4
