"""What `dlm doctor` says: the machine, the plan for a base, or why there is none.

Invariant: the machine-readable keys and the sentences come from the same values, and the
plan is the one that `dlm train` would use for this document, not for a reference model.
"""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dlm_engine.errors import HardwareRefusal
from dlm_engine.hardware.machine import Hardware
from dlm_engine.hardware.model_shape import ModelShape
from dlm_engine.hardware.plan import Plan, plan

if TYPE_CHECKING:
    from dlm_engine.document.frontmatter import Training

_DETERMINISM = {"cuda": "strong", "cpu": "strong", "rocm": "best-effort", "mps": "best-effort"}
_BACKENDS = {
    "cuda": "an NVIDIA GPU",
    "rocm": "an AMD GPU",
    "mps": "an Apple GPU",
    "cpu": "the CPU",
}


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """The base that a report is about; `params` in parameters, lengths in tokens."""

    name: str
    params: int
    context_length: int
    weights: str
    """Where the weights are: a path, or what getting them takes."""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """One machine, and for one base either a plan or a refusal (neither without a base)."""

    hardware: Hardware
    base: BaseFacts | None = None
    plan: Plan | None = None
    refusal: str | None = None
    #: tokens of the longest row that was planned for: what the document allows
    longest: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """For `--json`: `{capabilities, base, plan, plan_error}`."""
        return {
            "capabilities": capabilities(self.hardware),
            "base": asdict(self.base) if self.base else None,
            "plan": _plan_dict(self.plan) if self.plan else None,
            "plan_error": self.refusal,
        }

    def render_text(self) -> list[str]:
        """Lines for a person, without colour."""
        hardware = self.hardware
        lines = [
            f"This machine trains on {_BACKENDS[hardware.backend]}: {hardware.device_name}",
            f"  memory       {_gib(hardware.total_memory)}, {hardware.cores} CPU cores",
            f"  precision    {hardware.bf16_reason}",
            f"  4-bit bases  {_four_bit(hardware)}",
            f"  repeatable   {_DETERMINISM[hardware.backend]}",
            f"  system       {hardware.platform}, Python {platform.python_version()}",
        ]
        if hardware.versions:
            named = ", ".join(f"{name} {version}" for name, version in hardware.versions)
            lines.append(f"  packages     {named}")
        if self.base:
            lines += [
                "",
                f"Base {self.base.name}: {self.base.params / 1e6:,.0f} million parameters, "
                f"{self.base.context_length:,} tokens of context",
                f"  weights      {self.base.weights}",
            ]
        if self.plan:
            rows = f" (rows of up to {self.longest} tokens)" if self.longest else ""
            lines += ["", f"Training would run like this{rows}:"]
            lines += [f"  {reason}" for reason in self.plan.reasons]
        if self.refusal:
            lines += ["", f"Training cannot run here: {self.refusal}"]
        return lines


def report(
    hardware: Hardware,
    base: BaseFacts | None = None,
    shape: ModelShape | None = None,
    training: Training | None = None,
    sequence_len: int | None = None,
    alternatives: Mapping[str, int] | None = None,
    layers: int | None = None,
) -> DoctorReport:
    """The report for `base`, if one with its shape and settings is given; see `plan`."""
    if base is None or shape is None or training is None:
        return DoctorReport(hardware, base)
    length = sequence_len or training.sequence_len
    try:
        made = plan(hardware, shape, training, length, layers=layers, alternatives=alternatives)
    except HardwareRefusal as error:
        return DoctorReport(hardware, base, refusal=str(error))
    return DoctorReport(hardware, base, plan=made, longest=length)


def capabilities(hardware: Hardware) -> dict[str, Any]:
    """The machine under the documented keys; sizes in GiB, None for what does not apply."""
    accelerated = hardware.backend in ("cuda", "rocm")
    versions = dict(hardware.versions)
    gib = round(hardware.total_memory / 2**30, 2)
    return {
        "backend": hardware.backend,
        "device_name": hardware.device_name,
        "sm": list(hardware.sm) if hardware.sm else None,
        "rocm_arch": hardware.rocm_arch,
        "vram_gb": gib if accelerated else None,
        "unified_memory_gb": gib if hardware.backend == "mps" else None,
        "cpu_cores": hardware.cores,
        "ram_gb": round(hardware.ram / 2**30, 2),
        "supports_bf16": hardware.bf16_native,
        "bf16_reason": hardware.bf16_reason,
        "supports_fp16": False,
        "has_flash_attention": hardware.flash_attention,
        "has_xformers": hardware.xformers,
        "has_bitsandbytes": hardware.bitsandbytes,
        "has_triton": hardware.triton,
        "has_mlx": hardware.mlx,
        "torch_version": versions.get("torch"),
        "accelerate_version": versions.get("accelerate"),
        "cuda_version": hardware.cuda_version,
        "rocm_version": hardware.rocm_version,
        "platform": hardware.platform,
        "determinism_class": _DETERMINISM[hardware.backend],
        "telemetry_posture": {
            **{
                name: os.environ.get(name)
                for name in (
                    "HF_HUB_DISABLE_TELEMETRY",
                    "DO_NOT_TRACK",
                    "TRANSFORMERS_NO_ADVISORY_WARNINGS",
                )
            },
            "wandb_installed": importlib.util.find_spec("wandb") is not None,
            "python": platform.python_version(),
        },
    }


def _plan_dict(made: Plan) -> dict[str, Any]:
    return {
        "device": made.device,
        "precision": made.precision,
        "attn_implementation": made.attention,
        "use_qlora": made.use_qlora,
        "tokens_at_once": made.tokens,
        "micro_batch_size": made.micro_batch,
        "grad_accum": made.grad_accum,
        "effective_batch_size": made.effective_batch,
        "gradient_checkpointing": made.gradient_checkpointing,
        "est_peak_gb": round(made.estimate.total / 2**30, 2),
        "estimate_bytes": {**asdict(made.estimate), "total": made.estimate.total},
        "budget_gb": round(made.budget / 2**30, 2),
        "reasons": list(made.reasons),
        "world_size": 1,
    }


def _four_bit(hardware: Hardware) -> str:
    if hardware.backend in ("mps", "rocm"):
        return f"not on {hardware.backend}"
    return "yes" if hardware.bitsandbytes else "no: bitsandbytes is not installed"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
