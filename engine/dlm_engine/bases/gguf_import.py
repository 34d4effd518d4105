"""A GGUF file of the llama family, as a plain Hugging Face folder in bfloat16.

Invariant: the same GGUF gives the same bytes, whatever version of transformers is there.
That, and seconds instead of a minute on a busy machine, is why this does not go through its GGUF
loader; also that loader drops the digit splitting of the tokenizer, so that text such as
"a  1" is cut otherwise than the model was trained. Layout of GGUF: the `gguf` package.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dlm_engine.bases.gguf_read import Gguf
from dlm_engine.errors import BaseModelError

_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": True,
}
# What llama.cpp's label means in the tokenizers library.
_PRE_TOKENIZERS: dict[str, dict[str, Any]] = {
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTE_LEVEL],
    },
}
_CONTROL_TOKEN = 3


def import_llama(gguf_path: Path, target: Path) -> None:
    """Write config, weights and tokenizer of `gguf_path` into the empty folder `target`."""
    facts = Gguf(gguf_path)
    if facts["general.architecture"] != "llama" or facts["tokenizer.ggml.model"] != "gpt2":
        raise BaseModelError(str(gguf_path), "it is not a llama model with a byte-level tokenizer")
    names = {tensor.name for tensor in facts.tensors}
    settings = _config(facts, tied="output.weight" not in names)
    _write_json(target / "config.json", settings)
    ids = {name: settings[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    _write_json(target / "generation_config.json", ids)
    _write_weights(facts, settings, target / "model.safetensors")
    _write_tokenizer(facts, settings, target)


def _config(facts: Gguf, *, tied: bool) -> dict[str, Any]:
    heads = facts["llama.attention.head_count"]
    hidden = facts["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "dtype": "bfloat16",
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": facts["llama.feed_forward_length"],
        "max_position_embeddings": facts["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": facts["llama.block_count"],
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
        # Stored as float32: 1e-05 comes back as 9.999999747378752e-06.
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_theta": facts["llama.rope.freq_base"], "rope_type": "default"},
        "tie_word_embeddings": tied,
        "use_cache": True,
        "vocab_size": facts["llama.vocab_size"],
    }


def _write_weights(facts: Gguf, settings: dict[str, Any], path: Path) -> None:
    import numpy as np
    import torch
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quant_shape_to_byte_shape
    from safetensors.torch import save_file

    heads = {
        "attn_q": settings["num_attention_heads"],
        "attn_k": settings["num_key_value_heads"],
    }
    converted: dict[str, torch.Tensor] = {}
    for tensor in sorted(facts.tensors, key=lambda each: each.name):
        quantisation = GGMLQuantizationType(tensor.kind)
        rows_of_bytes = quant_shape_to_byte_shape(tensor.shape, quantisation)
        raw = facts.data(tensor, math.prod(rows_of_bytes))
        packed = np.frombuffer(raw, dtype=np.uint8).reshape(rows_of_bytes)
        values = torch.from_numpy(dequantize(packed, quantisation).copy()).reshape(tensor.shape)
        kind = tensor.name.split(".")[2] if tensor.name.startswith("blk.") else ""
        if kind in heads:
            # llama.cpp keeps the two halves of each rotary pair side by side.
            rows, columns = values.shape
            paired = values.reshape(heads[kind], rows // heads[kind] // 2, 2, columns)
            values = paired.transpose(1, 2).reshape(rows, columns)
        converted[_hf_name(tensor.name)] = values.to(torch.bfloat16)
    save_file(converted, str(path), {"format": "pt"})
    # The library makes the file private to its owner; the others follow the umask.
    path.chmod((path.parent / "config.json").stat().st_mode & 0o777)


def _hf_name(name: str) -> str:
    if name in _TENSORS:
        return _TENSORS[name]
    _, layer, kind, suffix = name.split(".")
    return f"model.layers.{layer}.{_LAYER_TENSORS[kind]}.{suffix}"


def _write_tokenizer(facts: Gguf, settings: dict[str, Any], target: Path) -> None:
    tokens: list[str] = facts["tokenizer.ggml.tokens"]
    kinds: list[int] = facts["tokenizer.ggml.token_type"]
    label: str = facts["tokenizer.ggml.pre"]
    if label not in _PRE_TOKENIZERS:
        raise BaseModelError(str(target), f"the pre-tokenizer {label} is not known here")
    special = [
        {
            "id": token_id,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token_id, content in enumerate(tokens)
        if kinds[token_id] == _CONTROL_TOKEN
    ]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {content: token_id for token_id, content in enumerate(tokens)},
        "merges": [merge.split(" ") for merge in facts["tokenizer.ggml.merges"]],
    }
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": _PRE_TOKENIZERS[label],
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "add_prefix_space": True},
        "model": model,
    }
    _write_json(target / "tokenizer.json", whole)
    names = {
        f"{role}_token": tokens[settings[f"{role}_token_id"]] for role in ("bos", "eos", "pad")
    }
    names["unk_token"] = tokens[facts["tokenizer.ggml.unknown_token_id"]]
    _write_json(
        target / "tokenizer_config.json",
        {
            **names,
            "add_bos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": settings["max_position_embeddings"],
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    template = target / "chat_template.jinja"
    template.write_text(facts["tokenizer.chat_template"], encoding="utf-8", newline="\n")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    # Indenting would use the slow encoder: two seconds for a vocabulary.
    text = json.dumps(value, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
