"""One table decides what becomes of an adapter, before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import export_parts as parts
import pytest

from dlm_engine.errors import ExportError
from dlm_engine.export.capabilities import (
    TABLE,
    Capability,
    Handling,
    plan_export,
    read_adapter,
)
from dlm_engine.export.model import ExportAdapter, ExportOptions, Form, Quant, Target

CASES: dict[str, tuple[dict[str, Any], Capability, Form]] = {
    "rsLoRA": ({"use_rslora": True}, Capability.RSLORA, Form.ADAPTER),
    "alpha pattern": ({"alpha_pattern": {"q_proj": 3}}, Capability.ALPHA_PATTERN, Form.ADAPTER),
    "rank pattern": ({"rank_pattern": {"q_proj": 2}}, Capability.RANK_PATTERN, Form.ADAPTER),
    "some layers": ({"layers_to_transform": [0]}, Capability.LAYERS, Form.ADAPTER),
    "DoRA": ({"use_dora": True}, Capability.DORA, Form.MERGED),
    "saved norm": ({"modules_to_save": ["norm"]}, Capability.TRAINED_MODULES, Form.MERGED),
    "biases": ({"bias": "all"}, Capability.BIAS, Form.MERGED),
    "embedding rows": (
        {"trainable_token_indices": [7, 300]},
        Capability.EMBEDDING_ROWS,
        Form.MERGED,
    ),
    "embedding LoRA": (
        {"target_modules": ["q_proj", "embed_tokens"]},
        Capability.EMBEDDING_LORA,
        Form.MERGED,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_an_adapter_uses_decides_the_form(name: str, tiny: Path, tmp_path: Path) -> None:
    options, capability, form = CASES[name]
    peft = parts.adapter(tiny, tmp_path / "peft", **options)
    plan = plan_export(parts.request(tiny, peft, tmp_path), ExportOptions())
    assert capability in {h.capability for h in plan.handled}
    assert plan.form is form
    assert any(str(capability) in reason for reason in plan.reasons)
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "cache").exists()


def test_the_table_says_something_for_every_target_form_and_capability() -> None:
    for target in Target:
        for form in Form:
            rules = TABLE[target, form]
            assert set(rules) == set(Capability)
            assert all(rule.reason for rule in rules.values())
        # Whatever sends an adapter to the merged form must be possible there.
        for capability, rule in TABLE[target, Form.ADAPTER].items():
            if rule.handling is Handling.MERGED:
                assert TABLE[target, Form.MERGED][capability].handling is Handling.MERGED


def test_a_head_tied_to_the_embeddings_is_refused_in_every_form(tiny: Path, tmp_path: Path) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft", target_modules=["q_proj", "lm_head"])
    for merged in (False, True):
        with pytest.raises(ExportError, match="lm_head"):
            plan_export(parts.request(tiny, peft, tmp_path), ExportOptions(merged=merged))


def test_a_four_bit_adapter_is_merged_only_when_asked_twice(tiny: Path, tmp_path: Path) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft")
    (peft / "training_run.json").write_text(json.dumps({"use_qlora": True}))
    request = parts.request(tiny, peft, tmp_path)
    assert plan_export(request, ExportOptions()).form is Form.ADAPTER
    with pytest.raises(ExportError, match="--merged --dequantize"):
        plan_export(request, ExportOptions(merged=True))
    plan = plan_export(request, ExportOptions(merged=True, dequantize=True))
    assert plan.form is Form.MERGED
    assert plan.dequantized


def test_a_four_bit_adapter_that_must_be_merged_is_not_told_to_leave_that_out(
    tiny: Path, tmp_path: Path
) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft", trainable_token_indices=[7])
    (peft / "training_run.json").write_text(json.dumps({"use_qlora": True}))
    request = parts.request(tiny, peft, tmp_path)
    with pytest.raises(ExportError, match=r"4-bit base.*with --merged --dequantize") as raised:
        plan_export(request, ExportOptions())
    assert "without" not in raised.value.remedy


def test_dequantize_alone_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="--merged"):
        plan_export(parts.request(tiny, None, tmp_path), ExportOptions(dequantize=True))


def test_another_method_than_lora_is_refused(tiny: Path, tmp_path: Path) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft")
    config = json.loads((peft / "adapter_config.json").read_text())
    for change in ({"peft_type": "LOHA"}, {"alora_invocation_tokens": [1]}, {"use_qalora": True}):
        (peft / "adapter_config.json").write_text(json.dumps({**config, **change}))
        with pytest.raises(ExportError, match="not LoRA"):
            plan_export(parts.request(tiny, peft, tmp_path), ExportOptions())


def test_quantisation_comes_from_the_option_then_the_document(tiny: Path, tmp_path: Path) -> None:
    request = parts.request(tiny, None, tmp_path, default_quant=Quant.Q6_K)
    assert plan_export(request, ExportOptions()).quant is Quant.Q6_K
    assert plan_export(request, ExportOptions(quant=Quant.F16)).quant is Quant.F16


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "not an object"])
def test_a_damaged_adapter_is_one_clear_error(
    name: str, damage: str, tiny: Path, tmp_path: Path
) -> None:
    peft = parts.adapter(tiny, tmp_path / "peft")
    path = peft / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:60] if damage == "cut" else b"[]")
    with pytest.raises(ExportError) as raised:
        plan_export(parts.request(tiny, peft, tmp_path), ExportOptions())
    assert name in raised.value.subject
    assert raised.value.remedy


def test_an_adapter_for_a_base_of_other_sizes_is_refused(tiny: Path, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny)
    config.intermediate_size = 768
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    peft = parts.adapter(tmp_path / "wide", tmp_path / "peft")
    with pytest.raises(ExportError, match="does not fit the base"):
        read_adapter(ExportAdapter(peft, 1), tiny)
