"""The adapter in the GGUF does what PEFT does: check (f), and that it catches what it must."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import export_parts as parts
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from dlm_engine.errors import ExportError
from dlm_engine.export import reference
from dlm_engine.export.capabilities import AdapterFacts, base_files, read_adapter
from dlm_engine.export.checks import Check, same_updates
from dlm_engine.export.gguf_file import GgufFile
from dlm_engine.export.lora import lora_updates, write_lora
from dlm_engine.export.model import ExportAdapter

ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True, "lora_alpha": 16},
    "alpha pattern": {"alpha_pattern": {"q_proj": 3, r"layers\.1\.mlp\.up_proj": 20}},
    "rank pattern": {"rank_pattern": {"v_proj": 2, "down_proj": 8}},
    "all patterns, rank-stabilised": {
        "use_rslora": True,
        "alpha_pattern": {"k_proj": 5},
        "rank_pattern": {"k_proj": 2, "o_proj": 6},
    },
    "one layer": {"layers_to_transform": [1]},
    "two modules": {"target_modules": ["q_proj", "down_proj"]},
}


def facts_of(base: Path, peft: Path) -> AdapterFacts:
    return read_adapter(ExportAdapter(peft, 1), base)


def check(base: Path, peft: Path, gguf: Path, out: Path) -> Check:
    """(f), with PEFT's deltas from the adapter on an outlined base."""
    model = reference.outline_model(base, facts_of(base, peft))
    return same_updates(out, gguf, base_files(base), reference.updates(model))


@pytest.mark.parametrize("name", ADAPTERS)
def test_updates_equal_pefts(name: str, tiny: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft", **ADAPTERS[name])
    out = tmp_path / "adapter.gguf"
    write_lora(facts_of(tiny, peft), tiny, tiny_gguf, out, {"document": "x"})
    result = check(tiny, peft, tiny_gguf, out)
    assert result.passed, result
    assert result.measured is not None
    assert result.measured < 1e-5


def test_the_sum_in_the_models_own_row_order_gives_the_same_logits(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    """Independent of check (f): add the file's updates to the weights and compare logits."""
    peft = parts.adapter(tiny, tmp_path / "peft", use_rslora=True)
    write_lora(facts_of(tiny, peft), tiny, tiny_gguf, tmp_path / "a.gguf", {})
    plain = LlamaForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(
        LlamaForCausalLM.from_pretrained(tiny, dtype=torch.float32), peft
    )
    by_tensor = {
        parts._name_map("llama", parts.LAYERS).get_name(n, try_suffixes=(".weight",)): w
        for n, w in plain.named_parameters()
    }
    with torch.no_grad():
        for tensor, delta in lora_updates(tmp_path / "a.gguf"):
            heads = {"attn_q": parts.HEADS, "attn_k": parts.KV_HEADS}.get(tensor.split(".")[2])
            if heads:
                delta = delta.reshape(heads, len(delta) // heads // 2, 2, -1)
                delta = delta.swapaxes(1, 2).reshape(-1, delta.shape[-1])
            by_tensor[tensor].add_(torch.from_numpy(np.ascontiguousarray(delta)))
        ids = torch.arange(20)[None]
        torch.testing.assert_close(plain(ids).logits, adapted(ids).logits, rtol=1e-4, atol=1e-4)


def test_a_rank_stabilised_adapter_with_the_naive_alpha_is_caught(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft", use_rslora=True)
    facts = facts_of(tiny, peft)
    naive = {m: facts.config["lora_alpha"] / r for m, r in facts.ranks.items()}
    write_lora(replace(facts, scales=naive), tiny, tiny_gguf, tmp_path / "a.gguf", {})
    result = check(tiny, peft, tiny_gguf, tmp_path / "a.gguf")
    assert result.passed is False
    assert result.measured == pytest.approx(0.5, abs=1e-3)  # 1/sqrt(4) of the true update


def test_a_changed_byte_of_the_adapter_is_caught(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    peft, out = parts.adapter(tiny, tmp_path / "peft"), tmp_path / "a.gguf"
    write_lora(facts_of(tiny, peft), tiny, tiny_gguf, out, {})
    with GgufFile(out) as file:
        offset = file.tensors["blk.1.ffn_down.weight.lora_b"].offset
    data = bytearray(out.read_bytes())
    data[offset + 3] ^= 0x40
    out.write_bytes(data)
    assert check(tiny, peft, tiny_gguf, out).passed is False


def test_rows_in_huggingface_order_would_be_caught(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    """The query and key rows are where converters go wrong: undo the reordering by hand."""
    peft, out = parts.adapter(tiny, tmp_path / "peft"), tmp_path / "a.gguf"
    write_lora(facts_of(tiny, peft), tiny, tiny_gguf, out, {})
    with GgufFile(out) as file:
        info = file.tensors["blk.0.attn_q.weight.lora_b"]
        rows = file.rows(info.name).reshape(parts.HEADS, -1, 2, info.shape[-1])
    data = bytearray(out.read_bytes())
    data[info.offset : info.offset + info.size] = rows.swapaxes(1, 2).tobytes()
    out.write_bytes(data)
    assert check(tiny, peft, tiny_gguf, out).passed is False


def test_a_base_with_other_weights_is_refused(tiny_gguf: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    other = parts.llama(tmp_path / "other")
    state = load_file(other / "model.safetensors")
    save_file({k: torch.randn_like(v) for k, v in state.items()}, other / "model.safetensors")
    peft = parts.adapter(other, tmp_path / "peft")
    with pytest.raises(ExportError, match="does not hold the weights"):
        write_lora(facts_of(other, peft), other, tiny_gguf, tmp_path / "a.gguf", {})


def test_an_adapter_that_is_not_finite_is_refused(
    tiny: Path, tiny_gguf: Path, tmp_path: Path
) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft")
    state = load_file(peft / "adapter_model.safetensors")
    state[next(iter(state))][0, 0] = float("nan")
    save_file(state, peft / "adapter_model.safetensors")
    with pytest.raises(ExportError, match="not finite"):
        write_lora(facts_of(tiny, peft), tiny, tiny_gguf, tmp_path / "a.gguf", {})


def test_the_file_names_its_origin_and_no_path(tiny: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    peft, out = parts.adapter(tiny, tmp_path / "peft"), tmp_path / "a.gguf"
    write_lora(facts_of(tiny, peft), tiny, tiny_gguf, out, {"base.sha256": "ab" * 32})
    with GgufFile(out) as file:
        assert file.values["general.type"] == "adapter"
        assert file.values["dlm.base.sha256"] == "ab" * 32
    assert str(tmp_path).encode() not in out.read_bytes()
