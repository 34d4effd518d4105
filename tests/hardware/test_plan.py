"""Plans and refusals: what the author wrote is done or refused, and every choice has a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest

from dlm_engine.document.frontmatter import Training
from dlm_engine.errors import HardwareRefusal
from dlm_engine.hardware import Company, Hardware, ModelShape, Plan, Workload, estimate, plan
from dlm_engine.hardware.plan import PACK_TOKENS

GIB = 2**30
CPU = Hardware("cpu", "a CPU", 24 * GIB, 24 * GIB, 2, False, "no bfloat16 instructions")
BF16_CPU = replace(CPU, bf16_native=True, bf16_reason="has avx512_bf16")
CUDA = Hardware(
    "cuda", "a GPU", 24 * GIB, 64 * GIB, 16, True, "has bfloat16", sm=(8, 9), bitsandbytes=True
)
OLD_CUDA = replace(CUDA, sm=(7, 5), bf16_native=False, bf16_reason="7.5 has no bfloat16")
MPS = Hardware("mps", "a Mac", 16 * GIB, 16 * GIB, 8, False, "NaNs", bitsandbytes=True)
ROCM = Hardware("rocm", "a GPU", 24 * GIB, 64 * GIB, 16, True, "bf16", bitsandbytes=True)

SMALL = ModelShape(576, 30, 1536, 49_152, 9, 3, 64, 134_515_008, True)
MEDIUM = ModelShape(1536, 28, 8960, 151_936, 12, 2, 128, 1_543_714_304, True)
LARGE = ModelShape(4096, 36, 12_288, 151_936, 32, 8, 128, 8_190_000_000, False)


def planned(hardware: Hardware, shape: ModelShape = SMALL, length: int = 128, **wrote: Any) -> Plan:
    return plan(hardware, shape, Training(**wrote), length)


@pytest.mark.parametrize(
    ("hardware", "device", "precision"),
    [
        (CPU, "cpu", "fp32"),
        (BF16_CPU, "cpu", "bf16"),
        (CUDA, "cuda", "bf16"),
        (OLD_CUDA, "cuda", "fp32"),
        (MPS, "mps", "fp32"),
        (ROCM, "cuda", "bf16"),
    ],
)
def test_precision_is_never_fp16(hardware: Hardware, device: str, precision: str) -> None:
    made = planned(hardware)
    assert (made.device, made.precision) == (device, precision)
    assert any(f"precision {precision}: {hardware.bf16_reason}" == r for r in made.reasons)


@pytest.mark.parametrize(
    ("hardware", "shape", "length", "attention"),
    [
        (CPU, SMALL, 64, "sdpa"),
        (CPU, SMALL, 257, "sdpa"),
        (CUDA, SMALL, 64, "sdpa"),
        (replace(CUDA, flash_attention=True), SMALL, 64, "flash_attention_2"),
        (replace(OLD_CUDA, flash_attention=True), SMALL, 64, "sdpa"),
        (MPS, SMALL, 64, "sdpa"),
        (CPU, replace(SMALL, softcap=True), 1024, "eager"),
    ],
)
def test_attention(hardware: Hardware, shape: ModelShape, length: int, attention: str) -> None:
    assert planned(hardware, shape, length).attention == attention


def needs(tokens: int, switch: Literal["off", "on"]) -> int:
    """Bytes of a step of `MEDIUM` on one sequence of so many tokens, on a card."""
    rank, kind = MEDIUM.lora_params(16), "adamw_torch"
    work = Workload(MEDIUM, "bf16", "sdpa", tokens, rank, kind, "none", "no", "cuda", 1)
    return estimate(work, 1, switch).total


def card(size: int) -> Hardware:
    """One on which `size` bytes may be used, and hardly more."""
    return replace(CUDA, total_memory=round(size / 0.85) + 2**20)


@pytest.mark.parametrize(
    ("length", "tokens"),
    [(20, PACK_TOKENS), (128, PACK_TOKENS), (PACK_TOKENS, PACK_TOKENS), (2048, 2048)],
)
def test_packs_go_through_whole_where_there_is_memory(length: int, tokens: int) -> None:
    made = planned(CPU, length=length)
    assert (made.tokens, made.pack_tokens, made.gradient_checkpointing) == (tokens, 640, False)
    assert (made.micro_batch, made.grad_accum) == (None, None)
    assert any(f"up to {tokens} tokens at a time" in reason for reason in made.reasons)
    assert made.estimate == planned(CPU, length=tokens).estimate


@pytest.mark.parametrize(
    ("room", "switch", "length", "tokens"),
    [
        (640, "off", 60, 640),
        (639, "off", 60, 320),
        (200, "off", 60, 160),
        (100, "off", 60, 80),
        (640, "off", 500, 640),
        (639, "off", 500, 500),
        (700, "on", 600, 640),
        (630, "on", 600, 600),
    ],
)
def test_short_memory_gets_less_at_once(
    room: int, switch: Literal["off", "on"], length: int, tokens: int
) -> None:
    made = planned(card(needs(room, switch)), MEDIUM, length)
    assert (made.tokens, made.pack_tokens) == (tokens, tokens)
    assert made.gradient_checkpointing is (switch == "on")
    assert made.estimate.total == needs(tokens, switch) <= made.budget
    assert any(f"up to {tokens} tokens at a time" in reason for reason in made.reasons)


def test_layers_that_are_not_trained_keep_nothing() -> None:
    tight = card(needs(400, "off"))
    assert planned(tight, MEDIUM, 60).tokens == 320
    made = plan(tight, MEDIUM, Training(), 60, layers=MEDIUM.layers // 3)
    assert (made.tokens, made.gradient_checkpointing) == (PACK_TOKENS, False)


def test_a_1_5b_base_on_an_8_gb_card_gets_one_row_of_2048_tokens() -> None:
    """The case where the activation model without sizes said 16 rows on 6 GB."""
    made = planned(replace(CUDA, total_memory=8 * GIB), MEDIUM, 2048)
    assert made.tokens == 2048
    assert made.gradient_checkpointing
    assert made.estimate.total <= made.budget


def test_the_same_totals_give_the_same_plan() -> None:
    assert planned(CPU, MEDIUM, 512) == planned(CPU, MEDIUM, 512)


@pytest.mark.parametrize(
    ("wrote", "micro", "accumulation", "tokens"),
    [
        ({"micro_batch_size": 2}, 2, 4, 256),
        ({"grad_accum": 3}, None, 3, 640),
        ({"micro_batch_size": 5, "grad_accum": 1}, 5, 1, 640),
        ({"micro_batch_size": 16}, 16, 1, 640),
    ],
)
def test_batch_settings_are_honoured(
    wrote: dict[str, Any], micro: int | None, accumulation: int, tokens: int
) -> None:
    made = planned(CPU, **wrote)
    assert (made.micro_batch, made.grad_accum, made.tokens) == (micro, accumulation, tokens)
    assert made.effective_batch == (micro * accumulation if micro else None)
    assert made.pack_tokens == PACK_TOKENS
    assert any("set in the document" in reason for reason in made.reasons)
    if micro:
        assert any(f"up to {micro} rows, {tokens} tokens, at a time" in r for r in made.reasons)


def test_precision_is_honoured_and_its_price_named() -> None:
    made = planned(CPU, precision="bf16")
    assert made.precision == "bf16"
    assert any("set in the document, though slower here" in reason for reason in made.reasons)


def test_qlora_runs_on_a_cpu_with_bitsandbytes() -> None:
    made = planned(replace(CPU, bitsandbytes=True), adapter="qlora")
    assert made.use_qlora
    assert any("4 bits" in reason for reason in made.reasons)


@pytest.mark.parametrize(
    ("hardware", "wrote", "subject", "why"),
    [
        (CPU, {"precision": "fp16"}, "precision", "overflow"),
        (CUDA, {"precision": "fp16"}, "precision", "overflow"),
        (MPS, {"precision": "bf16"}, "precision", "NaN"),
        (OLD_CUDA, {"precision": "bf16"}, "precision", "7.5"),
        (MPS, {"adapter": "qlora"}, "qlora", "mps"),
        (ROCM, {"adapter": "qlora"}, "qlora", "rocm"),
        (CPU, {"adapter": "qlora"}, "qlora", "bitsandbytes"),
        (replace(CUDA, bitsandbytes=False), {"adapter": "qlora"}, "qlora", "bitsandbytes"),
        (MPS, {"adapters": {"a": {"adapter": "qlora"}}}, "qlora", "mps"),
        (CPU, {"optimizer": "paged_adamw_8bit"}, "paged", "NVIDIA"),
        (MPS, {"optimizer": "adamw_bnb_8bit"}, "bnb", "NVIDIA"),
        (ROCM, {"optimizer": "adamw_bnb_8bit"}, "bnb", "rocm"),
        (CPU, {"optimizer": "adamw_bnb_8bit"}, "bnb", "not installed"),
        (MPS, {"optimizer": "galore_adamw_8bit"}, "galore", "NVIDIA"),
        (ROCM, {"optimizer": "galore_adamw_8bit"}, "galore", "rocm"),
        (CPU, {"optimizer": "galore_adamw_8bit"}, "galore", "not installed"),
        (replace(CUDA, bitsandbytes=False), {"optimizer": "paged_adamw_8bit"}, "paged", "not inst"),
    ],
)
def test_refusals_name_the_setting_the_reason_and_a_way_out(
    hardware: Hardware, wrote: dict[str, Any], subject: str, why: str
) -> None:
    with pytest.raises(HardwareRefusal) as caught:
        planned(hardware, **wrote)
    assert subject in caught.value.subject
    assert why in caught.value.problem
    assert caught.value.remedy
    assert "--force" not in str(caught.value)


def test_8bit_optimisers_are_planned_where_they_run() -> None:
    usual = planned(CUDA).estimate.optimiser
    assert planned(CUDA, optimizer="paged_adamw_8bit").estimate.optimiser < usual
    on_cpu = planned(replace(CPU, bitsandbytes=True), optimizer="adamw_bnb_8bit")
    assert on_cpu.estimate.optimiser < planned(CPU).estimate.optimiser


@pytest.mark.parametrize("hardware", [CPU, CUDA, OLD_CUDA, MPS, ROCM])
def test_the_moments_of_galore_are_planned_smaller_wherever_training_runs(
    hardware: Hardware,
) -> None:
    usual, part = (planned(hardware, optimizer=n) for n in ("adamw_torch", "galore_adamw"))
    assert part.estimate.optimiser == usual.estimate.optimiser / 2
    with_8_bits = replace(hardware, bitsandbytes=True)
    if hardware.backend in ("cpu", "cuda"):
        least, whole = (
            planned(with_8_bits, optimizer=name).estimate.optimiser
            for name in ("galore_adamw_8bit", "adamw_bnb_8bit")
        )
        assert least < min(whole, part.estimate.optimiser)


def test_a_base_that_does_not_fit_names_numbers_and_those_that_would() -> None:
    bases = {"smollm2-135m": 135_000_000, "qwen2.5-0.5b": 500_000_000, "qwen3-8b": 8_000_000_000}
    small = replace(CPU, total_memory=12 * GIB)
    with pytest.raises(HardwareRefusal) as caught:
        plan(small, LARGE, Training(), 1024, alternatives=bases)
    assert "GiB" in caught.value.problem
    assert "smollm2-135m" in caught.value.remedy
    assert "qwen3-8b" not in caught.value.remedy


def test_too_many_rows_are_refused_with_the_number_that_fits() -> None:
    tight = card(needs(300, "on"))
    for rows in (5, 10**15):
        with pytest.raises(HardwareRefusal, match="write 3 or less, or auto"):
            planned(tight, MEDIUM, 100, micro_batch_size=rows)
    made = planned(tight, MEDIUM, 100, micro_batch_size=3)
    assert (made.micro_batch, made.tokens) == (3, 300)


def test_dora_needs_more_memory_than_lora() -> None:
    plain, dora = (planned(CPU, adapter=kind).estimate.activations for kind in ("lora", "dora"))
    assert dora > plain


@pytest.mark.parametrize("hardware", [CPU, BF16_CPU, CUDA, OLD_CUDA, MPS, ROCM])
def test_every_choice_has_a_reason(hardware: Hardware) -> None:
    reasons = plan(hardware, MEDIUM, Training(), 512, layers=MEDIUM.layers // 3).reasons
    for choice in ("device", "precision", "attention", "tokens at a time", "checkpointing"):
        assert any(choice in reason for reason in reasons), choice


# --- a base that several processes divide -------------------------------------------------------

#: It does not hold the large base, nor a CPU of 24 GiB two of the medium one.
CARD = replace(CUDA, total_memory=16 * GIB)


@pytest.mark.parametrize(
    ("hardware", "shape", "company", "expected", "why"),
    [
        (CARD, LARGE, Company(4, 4), 4, "whole it does not fit"),
        (CARD, LARGE, Company(4, 1), 4, "whole it does not fit"),
        (CARD, SMALL, Company(4, 4), 1, None),
        (CARD, SMALL, Company(4, 4, True), 4, "--shard"),
        (CARD, SMALL, Company(4, 4, False), 1, None),
        (CPU, MEDIUM, Company(2, 2), 2, "2 whole ones do not fit beside each other"),
        (CPU, MEDIUM, Company(2, 2, False), 1, None),
        (CPU, MEDIUM, Company(2, 1), 1, None),
        (CARD, SMALL, Company(), 1, None),
    ],
    ids=str,
)
def test_a_base_is_divided_where_it_does_not_fit_or_that_is_asked_for(
    hardware: Hardware, shape: ModelShape, company: Company, expected: int, why: str | None
) -> None:
    length = 128 if shape is LARGE else 256
    made = plan(hardware, shape, Training(), length, layers=shape.layers // 3, company=company)
    assert made.parts == expected
    reasons = [r for r in made.reasons if r.startswith("base divided")]
    assert reasons == ([f"base divided between {expected} processes: {why}"] if why else [])
    assert made.fits_whole == (shape is not LARGE)
    assert made.estimate.total <= made.budget


def test_what_fits_whole_is_planned_so_also_in_parts() -> None:
    """So that a run goes on with the other: rows and checkpointing are part of what it is."""
    whole, parts = (
        plan(CARD, MEDIUM, Training(), 512, company=Company(2, 2, shard)) for shard in (False, True)
    )
    assert parts.estimate.base < whole.estimate.base
    for name in ("micro_batch", "grad_accum", "gradient_checkpointing"):
        assert getattr(parts, name) == getattr(whole, name)


@pytest.mark.parametrize(
    ("hardware", "wrote", "company", "said"),
    [
        (CARD, {"adapter": "qlora"}, Company(2, 2, True), "4 bits cannot be divided"),
        (MPS, {}, Company(2, 2, True), "nothing to divide"),
        (CARD, {}, Company(1, 1, True), "nothing to divide"),
        (CARD, {}, Company(4, 4, False), "needs .* at the least"),
        (replace(CARD, total_memory=2 * GIB), {}, Company(2, 2), "in 2 parts"),
    ],
    ids=str,
)
def test_what_cannot_be_divided_is_refused(
    hardware: Hardware, wrote: dict[str, Any], company: Company, said: str
) -> None:
    with pytest.raises(HardwareRefusal, match=said):
        plan(hardware, LARGE, Training(**wrote), 128, company=company)
