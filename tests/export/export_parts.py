"""Small real parts for the export tests: a random base, PEFT adapters on it, its GGUF."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from dlm_engine.export.capabilities import base_files
from dlm_engine.export.gguf_file import PlannedTensor, encode, write_gguf
from dlm_engine.export.lora import _name_map
from dlm_engine.export.model import ExportAdapter, ExportBase, ExportRequest
from dlm_engine.export.tensors import open_tensors

ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HEADS, KV_HEADS, LAYERS = 4, 2, 2


def llama(folder: Path, *, vocabulary: int = 320, tied: bool = True) -> Path:
    """A random Llama of two layers whose rows divide by 256, in Hugging Face form."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.05,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, *, seed: int = 1, **options: Any) -> Path:
    """A PEFT adapter with random A and B, so that every scale and order shows."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ALL_LINEAR, **options}
    model = get_peft_model(
        LlamaForCausalLM.from_pretrained(base, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", **settings),
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.02)
            if "magnitude" in name:
                parameter.mul_(1 + 0.1 * torch.rand_like(parameter))
    model.save_pretrained(folder)
    return folder


def f16_gguf(base: Path, out: Path) -> Path:
    """`base` as the converter would write its weights: renamed, and q and k rows reordered."""
    names = _name_map("llama", LAYERS)
    keys = {
        "general.architecture": encode("llama"),
        "llama.block_count": encode(LAYERS),
        "llama.attention.head_count": encode(HEADS),
        "llama.attention.head_count_kv": encode(KV_HEADS),
        "general.file_type": encode(1),
        "general.name": encode("täst"),
    }
    with open_tensors(base_files(base)) as source:
        plan = []
        for name in source.names():
            stored = names.get_name(name, try_suffixes=(".weight",))
            shape = source.shape(name)
            plan.append((name, PlannedTensor(stored, shape, 0 if len(shape) == 1 else 1)))

        def contents() -> Iterator[np.ndarray]:
            for name, _ in plan:
                rows = source.rows(name)
                heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
                if heads:
                    shape = (heads, 2, len(rows) // heads // 2, -1)
                    rows = rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape)
                yield np.ascontiguousarray(rows if rows.ndim == 1 else rows.astype(np.float16))

        write_gguf(out, keys, [t for _, t in plan], contents())
    return out


def with_tokenizer(base: Path, tokenizer: Path) -> Path:
    """Give a random base the files of a real tokenizer, so that llama.cpp knows it."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(tokenizer / name, base / name)
    return base


def request(base: Path, peft: Path | None, root: Path, **facts: Any) -> ExportRequest:
    digest = hashlib.sha256((base / "model.safetensors").read_bytes()).hexdigest()
    described = ExportBase(
        path=base,
        sha256=digest,
        revision="0" * 40,
        key="tiny",
        hf_id="test/tiny",
        template="chatml",
        context_length=512,
        licence="Apache-2.0",
    )
    return ExportRequest(
        base=described,
        adapter=ExportAdapter(peft, 3) if peft else None,
        dlm_id="01HZ4X7TGZM3J1A2B3C4D5E6F7",
        document_name="facts.dlm",
        store_root=root / "store",
        cache_root=facts.pop("cache_root", root / "cache"),
        **facts,
    )
