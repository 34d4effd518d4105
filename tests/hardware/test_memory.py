"""The memory model against what autograd really keeps, and its behaviour as sizes grow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from dlm_engine.bases import Weights
from dlm_engine.hardware import ModelShape, Workload, estimate, shape_of
from dlm_engine.hardware.memory import layer_bytes_per_token

#: the model is meant to be a bound that is not far off
NEVER_BELOW, NEVER_ABOVE = 0.9, 1.8

CONFIG = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "intermediate_size": 320,
    "vocab_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "tie_word_embeddings": True,
}
SHAPE = shape_of(CONFIG)


def work(**changes: object) -> Workload:
    usual = Workload(
        shape=SHAPE,
        precision="fp32",
        attention="eager",
        sequence_len=64,
        adapter_params=SHAPE.lora_params(16),
        optimizer="adamw_torch",
        quantised="none",
        dora="no",
        device="cpu",
        supervised=1.0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def kept_by_autograd(precision: str, attention: str, adapter: str, dropout: float) -> int:
    """Bytes of distinct tensors that one forward pass of a small Llama keeps, head apart."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaModel

    model = LlamaModel(
        LlamaConfig(**CONFIG, max_position_embeddings=128, attn_implementation=attention)
    )
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    adapted = get_peft_model(
        model,
        LoraConfig(
            r=16,
            lora_dropout=dropout,
            use_dora=adapter == "dora",
            target_modules="all-linear",
        ),
    )
    own = {p.untyped_storage().data_ptr() for p in adapted.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, 96, (4, 64))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = adapted(input_ids=ids, use_cache=False).last_hidden_state
    assert out.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("precision", "adapter", "dropout"),
    [
        ("fp32", "lora", 0.0),
        ("fp32", "lora", 0.05),
        ("bf16", "lora", 0.0),
        ("fp32", "dora", 0.0),
    ],
)
def test_activations_are_what_autograd_keeps(
    precision: str, attention: str, adapter: str, dropout: float
) -> None:
    measured = kept_by_autograd(precision, attention, adapter, dropout)
    case = work(
        precision=precision,
        attention=attention,
        dora="yes" if adapter == "dora" else "no",
    )
    predicted = 4 * 64 * SHAPE.layers * layer_bytes_per_token(case)
    assert NEVER_BELOW <= predicted / measured <= NEVER_ABOVE, predicted / measured


@pytest.mark.model
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_estimate_is_near_the_peak_of_a_real_step(base_weights: Weights) -> None:
    """Two real steps of SmolLM2 in a process of their own (about 20 s)."""
    code = """
import json, re, sys
from pathlib import Path
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(
    sys.argv[1], dtype=torch.float32, attn_implementation="eager")
model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
optimiser = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
ids = torch.randint(0, 49152, (4, 128))
for _ in range(2):
    hidden = model.base_model.model.model(input_ids=ids, use_cache=False).last_hidden_state
    logits = model.base_model.model.lm_head(hidden[:, 64:].reshape(-1, 576)).float()
    torch.nn.functional.cross_entropy(logits, ids[:, 64:].reshape(-1)).backward()
    optimiser.step()
    optimiser.zero_grad()
# Not getrusage's ru_maxrss: a child starts with the peak of the process that started it.
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+([0-9]+) kB", status)[1]) * 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(base_weights.path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    peak = int(done.stdout.split()[-1])
    shape = shape_of(json.loads((base_weights.path / "config.json").read_text()))
    case = work(shape=shape, sequence_len=128, adapter_params=shape.lora_params(16), supervised=0.5)
    predicted = estimate(case, 4, "off").total
    assert 0.9 <= predicted / peak <= 1.5, predicted / peak


def test_the_vocabulary_counts_only_where_there_is_loss() -> None:
    large = replace(SHAPE, vocab=150_000)
    everywhere = estimate(work(shape=large), 4, "off").head
    few = estimate(work(shape=large, supervised=0.1), 4, "off").head
    assert few < everywhere / 5


@pytest.mark.parametrize("field", ["hidden", "intermediate", "layers", "heads"])
def test_activations_grow_with_every_size(field: str) -> None:
    larger = replace(SHAPE, **{field: 2 * getattr(SHAPE, field)})
    assert (
        estimate(work(shape=larger), 1, "off").activations > estimate(work(), 1, "off").activations
    )


def test_rows_cost_what_their_tokens_cost() -> None:
    """The old model gave a sample 3 MB at any size, so 16 rows always fitted."""
    one, two = (estimate(work(), rows, "off").activations for rows in (1, 2))
    assert two == 2 * one


def test_checkpointing_keeps_less() -> None:
    on, off = (estimate(work(), 8, switch).total for switch in ("on", "off"))
    assert on < off


def test_four_bits_shrink_the_base_but_not_the_embeddings() -> None:
    shape = ModelShape(2048, 24, 8192, 50_000, 32, 8, 64, 1_700_000_000, True)
    plain = estimate(work(shape=shape), 1, "off").base
    small = estimate(work(shape=shape, quantised="nf4"), 1, "off").base
    embeddings = 4 * (shape.params - shape.linear_params)
    assert embeddings < small < plain / 2


def test_embeddings_that_are_trained_first_go_through_all_layers() -> None:
    few = work(layers=1, warm_up=True)
    plain = estimate(replace(few, warm_up=False), 8, "off")
    warmed = estimate(few, 8, "off")
    assert plain.warming == 0
    assert warmed.warming > 1.5 * (plain.total - plain.base - plain.runtime)
    assert warmed.total == warmed.base + warmed.adapter + warmed.runtime + warmed.warming


def test_aiming_takes_less_where_the_base_is_divided_or_the_document_is_short() -> None:
    wide = ModelShape(2048, 24, 8192, 50_000, 32, 8, 64, 1_700_000_000, True)
    usual = work(shape=wide, precision="bf16", layers=8, document=400)
    one, two, long = (
        estimate(each, 1, "off").aiming
        for each in (usual, replace(usual, parts=2), replace(usual, document=100_000))
    )
    solved = 24 * 8192**2
    assert one - solved < 1.3 * (two - solved) * 2 < 1.5 * (one - solved)
    assert long > 1.5 * one
