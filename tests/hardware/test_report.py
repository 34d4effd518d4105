"""The doctor's report: for a document's base, readable and machine-readable."""

from __future__ import annotations

import json
from dataclasses import replace

from dlm_engine.document.frontmatter import Training
from dlm_engine.hardware import BaseFacts, Hardware, ModelShape, report

GIB = 2**30
CPU = Hardware("cpu", "a CPU", 24 * GIB, 24 * GIB, 2, False, "no bfloat16 instructions")
SMALL = ModelShape(576, 30, 1536, 49_152, 9, 3, 64, 134_515_008, True)
BASE = BaseFacts("smollm2-135m", 134_515_008, 8192, "in the cache")
KEYS = frozenset(
    {
        "backend",
        "device_name",
        "sm",
        "rocm_arch",
        "vram_gb",
        "unified_memory_gb",
        "cpu_cores",
        "ram_gb",
        "supports_bf16",
        "supports_fp16",
        "has_flash_attention",
        "has_xformers",
        "has_bitsandbytes",
        "has_triton",
        "has_mlx",
        "torch_version",
        "accelerate_version",
        "cuda_version",
        "rocm_version",
        "platform",
        "determinism_class",
        "telemetry_posture",
    }
)


def test_json_has_the_documented_keys() -> None:
    made = json.loads(json.dumps(report(CPU, BASE, SMALL, Training(), 128).to_dict()))
    assert set(made["capabilities"]) >= KEYS
    assert made["capabilities"]["vram_gb"] is None
    assert made["base"]["name"] == "smollm2-135m"
    assert made["plan"]["tokens_at_once"] == 640
    assert made["plan"]["micro_batch_size"] is None
    assert made["plan"]["reasons"]
    assert made["plan_error"] is None


def test_the_plan_is_for_the_document_and_not_a_reference_model() -> None:
    larger = replace(SMALL, hidden=2048, intermediate=8192, params=1_700_000_000)
    of_small = report(CPU, BASE, SMALL, Training(), 128).plan
    of_large = report(CPU, BASE, larger, Training(), 128).plan
    assert of_small is not None
    assert of_large is not None
    assert of_large.estimate.base > 10 * of_small.estimate.base


def test_without_a_base_only_the_machine_is_described() -> None:
    made = report(CPU)
    assert made.to_dict()["plan"] is None
    assert any("a CPU" in line for line in made.render_text())


def test_a_refusal_is_reported_and_not_raised() -> None:
    made = report(CPU, BASE, SMALL, Training(precision="fp16"), 128)
    assert made.plan is None
    assert "fp16" in str(made.to_dict()["plan_error"])
    assert any("cannot run here" in line for line in made.render_text())


def test_the_text_gives_the_plan_with_its_reasons() -> None:
    text = "\n".join(report(CPU, BASE, SMALL, Training(), 128).render_text())
    for part in (
        "the CPU",
        "24.0 GiB",
        "smollm2-135m",
        "precision fp32",
        "rows of up to 128",
        "640 tokens at a time",
    ):
        assert part in text
