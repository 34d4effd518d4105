"""From a machine, a model and what the author wrote to how training runs.

Invariant: what the author wrote is done or refused with the reason, never changed in
silence; every choice of ours carries its reason; and the plan is a function of totals, so
the same machine gives the same plan whatever else is running. There is no way to force a
refused plan: the refusal says what to change instead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from dlm_engine.document.unsupported import FP16
from dlm_engine.errors import HardwareRefusal
from dlm_engine.hardware.machine import Hardware
from dlm_engine.hardware.memory import Attention, Estimate, Precision, Workload, estimate
from dlm_engine.hardware.model_shape import ModelShape, approximate_shape

if TYPE_CHECKING:
    from dlm_engine.document.frontmatter import Training

EFFECTIVE_BATCH = 8
PLANNED_RANK = 16
#: Tokens of a pack: longer ones lose more in attention than they save on the prefix.
PACK_TOKENS: Final = 640
#: Of a pack where the memory does not last for those, how many times shorter.
_SHORTER: Final = (1, 2, 4, 8)
_SHARE = {"cuda": 0.85, "rocm": 0.85, "mps": 0.6, "cpu": 0.6}

Device = Literal["cpu", "cuda", "mps"]
Switch = Literal["off", "on"]


@dataclass(frozen=True, slots=True)
class Company:
    """The processes of a run, and those on this machine. `shard`: whether they are to divide the
    base; None where it does not fit otherwise."""

    world: int = 1
    local_world: int = 1
    shard: bool | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How training runs on this machine. `budget` and the estimate are in bytes.

    What goes through at once is a pack of rows: of at most `pack_tokens` and, where the document
    says so, `micro_batch` rows, or one row that is longer; in all at most `tokens`. `grad_accum`
    packs make a step; None where the document leaves that to its length.
    """

    device: Device
    precision: Precision
    attention: Attention
    tokens: int
    pack_tokens: int
    micro_batch: int | None
    grad_accum: int | None
    gradient_checkpointing: bool
    use_qlora: bool
    estimate: Estimate
    budget: int
    reasons: tuple[str, ...]
    parts: int = 1
    """Processes that divide the base."""
    fits_whole: bool = True
    """Whether a process by itself could have the whole base."""

    @property
    def effective_batch(self) -> int | None:
        """Most rows of a step; None where tokens decide."""
        if self.micro_batch is None or self.grad_accum is None:
            return None
        return self.micro_batch * self.grad_accum


def plan(
    hardware: Hardware,
    shape: ModelShape,
    training: Training,
    sequence_len: int,
    *,
    rank: int | None = None,
    supervised: float = 1.0,
    layers: int | None = None,
    alternatives: Mapping[str, int] | None = None,
    company: Company = Company(),
    document: int = 0,
) -> Plan:
    """Plan training of `shape` on rows of up to `sequence_len` tokens.

    Args:
        rank: LoRA rank if it was already decided; else the author's, else 16.
        supervised: share of positions with loss (1.0 for prose).
        layers: how many of the layers are trained, the last ones; None for all.
        alternatives: parameter counts of other bases by name, to name those that fit.
        document: tokens of all that is trained, as far as they are known.

    Raises:
        HardwareRefusal: this machine cannot do what was asked; says why and what instead.
    """
    reasons: list[str] = []
    device: Device = "cuda" if hardware.backend in ("cuda", "rocm") else _plain(hardware)
    reasons.append(f"device {device}: {hardware.device_name}")
    _check_optimizer(hardware, training.optimizer)
    quantised = _quantisation(hardware, training, reasons)
    precision = _precision(hardware, training, reasons)
    attention = _attention(hardware, shape, precision, reasons)
    used_rank = rank or (training.lora_r if "lora_r" in training.model_fields_set else PLANNED_RANK)
    work = Workload(
        shape=shape,
        precision=precision,
        attention=attention,
        sequence_len=sequence_len,
        adapter_params=shape.lora_params(used_rank) * (layers or shape.layers) // shape.layers,
        optimizer=training.optimizer,
        quantised=quantised,
        dora="yes" if training.adapter == "dora" else "no",
        device=device,
        supervised=supervised,
        layers=layers,
        document=document,
        warm_up=training.cpt.embed_warmup_steps > 0,
    )
    budget = int(hardware.total_memory * _SHARE[hardware.backend])
    rows = None if training.micro_batch_size == "auto" else int(training.micro_batch_size)
    fitting = _Fitting(rows, budget, alternatives or {})
    fits_whole = _first_that_fits(work, fitting) is not None
    work, tokens, checkpointing = _alone_or_divided(work, fitting, company, reasons)
    needed = _estimate(work, tokens, checkpointing)
    reasons += _batch_reasons(rows, tokens, work, checkpointing, needed, budget, hardware)
    accumulation = _accumulation(training, rows)
    if training.grad_accum != "auto":
        reasons.append(f"accumulation {accumulation}: set in the document")
    elif accumulation is not None:
        reasons.append(f"accumulation {accumulation}: towards {EFFECTIVE_BATCH} rows per step")
    return Plan(
        device=device,
        precision=precision,
        attention=attention,
        tokens=tokens,
        pack_tokens=PACK_TOKENS if rows else min(PACK_TOKENS, tokens),
        micro_batch=rows,
        grad_accum=accumulation,
        gradient_checkpointing=checkpointing == "on",
        use_qlora=quantised == "nf4",
        estimate=needed,
        budget=budget,
        reasons=tuple(reasons),
        parts=work.parts,
        fits_whole=fits_whole,
    )


def _plain(hardware: Hardware) -> Device:
    return "mps" if hardware.backend == "mps" else "cpu"


def _check_optimizer(hardware: Hardware, name: str) -> None:
    if name in ("adamw_torch", "galore_adamw"):
        return
    subject, remedy = f"training.optimizer {name}", "remove the line (adamw_torch is used)"
    paged = name.startswith("paged")
    if hardware.backend != "cuda" and (paged or hardware.backend != "cpu"):
        raise HardwareRefusal(
            subject,
            f"{'paged' if paged else '8-bit'} optimisers run on "
            f"{'an NVIDIA GPU' if paged else 'an NVIDIA GPU or a CPU'}, and this machine trains on "
            f"{hardware.backend}",
            "write adamw_bnb_8bit, or remove the line" if hardware.backend == "cpu" else remedy,
        )
    if not hardware.bitsandbytes:
        raise HardwareRefusal(
            subject,
            "it needs the package bitsandbytes, which is not installed",
            f"pip install bitsandbytes, or {remedy}",
        )


def _quantisation(
    hardware: Hardware, training: Training, reasons: list[str]
) -> Literal["none", "nf4"]:
    kinds = {training.adapter, *(each.adapter for each in (training.adapters or {}).values())}
    if "qlora" not in kinds:
        return "none"
    instead = "write `adapter: lora` instead"
    if hardware.backend in ("mps", "rocm"):
        raise HardwareRefusal(
            "training.adapter qlora", f"4-bit bases do not train on {hardware.backend}", instead
        )
    if not hardware.bitsandbytes:
        raise HardwareRefusal(
            "training.adapter qlora",
            "it needs the package bitsandbytes, which is not installed",
            f"pip install bitsandbytes, or {instead}",
        )
    reasons.append("base in 4 bits: the document asks for qlora")
    return "nf4"


def _precision(hardware: Hardware, training: Training, reasons: list[str]) -> Precision:
    asked = training.precision
    if asked == "fp16":
        raise HardwareRefusal(
            "training.precision fp16",
            FP16,
            "remove the line, or write bf16 or fp32",
        )
    if asked == "bf16" and not hardware.bf16_native and hardware.backend != "cpu":
        raise HardwareRefusal(
            "training.precision bf16", hardware.bf16_reason, "remove the line, or write fp32"
        )
    if asked is not None:
        slow = asked == "bf16" and not hardware.bf16_native
        note = f", though slower here: {hardware.bf16_reason}" if slow else ""
        reasons.append(f"precision {asked}: set in the document{note}")
        return asked
    chosen: Precision = "bf16" if hardware.bf16_native else "fp32"
    reasons.append(f"precision {chosen}: {hardware.bf16_reason}")
    return chosen


def _attention(
    hardware: Hardware,
    shape: ModelShape,
    precision: Precision,
    reasons: list[str],
) -> Attention:
    if shape.softcap:
        reasons.append("attention eager: this model caps its scores, which fused kernels leave out")
        return "eager"
    if hardware.backend == "cpu":
        # Of eager attention the gradient of torch's own softmax depends on the number of
        # threads. Packs attend in a way of their own (`training.attention`).
        reasons.append("attention sdpa: gives the same bits with any number of threads")
        return "sdpa"
    if hardware.flash_attention and precision == "bf16":
        reasons.append("attention flash_attention_2: installed, and the precision is bf16")
        return "flash_attention_2"
    reasons.append(f"attention sdpa: the fast one on {hardware.backend}")
    return "sdpa"


@dataclass(frozen=True, slots=True)
class _Fitting:
    """What the tokens that go through at once have to fit into: `rows` is the author's number."""

    rows: int | None
    budget: int
    alternatives: Mapping[str, int]


def _alone_or_divided(
    work: Workload, fitting: _Fitting, company: Company, reasons: list[str]
) -> tuple[Workload, int, Switch]:
    """Tokens at once, with the base in parts where that is asked for or it does not fit whole.

    What fits whole is planned so in either case: a run goes on with the other.
    """
    can = company.world > 1 and work.quantised == "none" and work.device != "mps"
    if company.shard and not can:
        four_bits = work.quantised != "none"
        raise HardwareRefusal(
            "--shard",
            "a base in 4 bits cannot be divided"
            if four_bits
            else f"there is nothing to divide the base between ({company.world} on {work.device})",
            "write `adapter: lora`, or leave it out" if four_bits else "leave it out",
        )
    beside = company.local_world if work.device == "cpu" else 1
    room = replace(fitting, budget=fitting.budget // beside)
    parts = replace(work, parts=company.world)
    why = "--shard"
    planned = _first_that_fits(work, fitting)
    if planned is None:
        if not can or company.shard is False:
            raise _too_large(work, fitting)
        why = "whole it does not fit"
    elif not company.shard:
        crowded = _estimate(work, *planned).total > room.budget
        if not can or company.shard is False or not crowded:
            return work, *planned
        why = f"{beside} whole ones do not fit beside each other"
    if planned is None or _estimate(parts, *planned).total > room.budget:
        planned = _first_that_fits(parts, room)
    if planned is None:
        raise _too_large(parts, room)
    reasons.append(f"base divided between {company.world} processes: {why}")
    return parts, *planned


def _first_that_fits(work: Workload, fitting: _Fitting) -> tuple[int, Switch] | None:
    """Most tokens at once, and whether activations are computed twice."""
    longest = work.sequence_len
    sizes = sorted({longest, *(max(longest, PACK_TOKENS // n) for n in _SHORTER)}, reverse=True)
    if fitting.rows is not None:
        sizes = [_tokens(work, fitting.rows)]
    switches: tuple[Switch, Switch] = ("off", "on")
    for checkpointing in switches:
        for tokens in sizes:
            if _estimate(work, tokens, checkpointing).total <= fitting.budget:
                return tokens, checkpointing
    return None


def _too_large(work: Workload, fitting: _Fitting) -> HardwareRefusal:
    rows, budget = fitting.rows, fitting.budget
    least = _estimate(work, work.sequence_len, "on").total
    if rows is not None and least <= budget:
        largest = bisect_right(
            range(1, rows), budget, key=lambda n: _estimate(work, _tokens(work, n), "on").total
        )
        return HardwareRefusal(
            f"training.micro_batch_size {rows}",
            f"it needs {_gib(_estimate(work, _tokens(work, rows), 'on').total)}, and dlm may use "
            f"{_gib(budget)}",
            f"write {largest} or less, or auto",
        )
    parts = f" in {work.parts} parts" if work.parts > 1 else ""
    return HardwareRefusal(
        f"a base of {work.shape.params / 1e9:.2g}B parameters{parts}",
        f"training on {work.sequence_len} tokens needs {_gib(least)} at the least, and dlm may "
        f"use {_gib(budget)} of this machine's memory",
        _smaller(work, budget, fitting.alternatives),
    )


def _tokens(work: Workload, rows: int) -> int:
    """Of a pack of at most so many rows."""
    return min(rows * work.sequence_len, max(PACK_TOKENS, work.sequence_len))


def _estimate(work: Workload, tokens: int, checkpointing: Switch) -> Estimate:
    """Of a step on a pack, which is one sequence."""
    return estimate(replace(work, sequence_len=tokens), 1, checkpointing)


def _smaller(work: Workload, budget: int, alternatives: Mapping[str, int]) -> str:
    fitting = []
    for name, params in sorted(alternatives.items(), key=lambda item: -item[1]):
        shape = approximate_shape(params)
        adapter = shape.lora_params(PLANNED_RANK)
        smaller = replace(work, shape=shape, adapter_params=adapter, layers=None)
        if params < work.shape.params and estimate(smaller, 1, "on").total <= budget:
            fitting.append(name)
    if not fitting:
        return "use a smaller base, shorter rows (training.sequence_len), or more memory"
    return f"these would fit: {', '.join(fitting[:3])}; or shorten training.sequence_len"


def _batch_reasons(
    rows: int | None,
    tokens: int,
    work: Workload,
    checkpointing: Switch,
    needed: Estimate,
    budget: int,
    hardware: Hardware,
) -> list[str]:
    share = round(100 * _SHARE[hardware.backend])
    size = f"about {_gib(needed.total)} of the {_gib(budget)} ({share} %) that dlm may use"
    at_once, why = f"up to {tokens} tokens at a time", "the most that pays"
    if rows is not None:
        at_once = f"up to {rows} rows, {tokens} tokens, at a time"
        why = "rows as set in the document"
    elif tokens == work.sequence_len >= PACK_TOKENS:
        why = "the longest row"
    elif tokens < PACK_TOKENS:
        why = "the most that fits"
    lines = [f"{at_once}: {why}; {size}"]
    if checkpointing == "on":
        lines.append("gradient checkpointing on: it does not fit without (a quarter slower)")
    else:
        lines.append("gradient checkpointing off: it fits without, and is faster")
    return lines


def _accumulation(training: Training, rows: int | None) -> int | None:
    if isinstance(training.grad_accum, int):
        return training.grad_accum
    return None if rows is None else max(1, round(EFFECTIVE_BATCH / rows))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
