"""Whether equal inputs give equal bytes here: measured, never claimed by platform name.

The same gradients are computed twice on the run's own last layers and first pack, with
one thread and with all of them. Equal bits earn the class "strong"; anything else is
"best-effort". What the promise depends on (instruction set, precision, attention, batch
geometry, library builds) is recorded beside it in `dlm.lock`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
from typing import Literal

import torch
from pydantic import JsonValue

from dlm_engine.data.packs import Pack, pack
from dlm_engine.hardware import Hardware, Plan
from dlm_engine.store.lockfile import HardwareTier
from dlm_engine.training import optimisers
from dlm_engine.training.loss import head_loss
from dlm_engine.training.network import Trainee
from dlm_engine.training.settings import Settings

_TOKENS = 160
PINNED = ("torch", "transformers", "peft", "tokenizers", "safetensors")


def earn(trainee: Trainee, first: Pack) -> Literal["strong", "best-effort"]:
    """Compute gradients of a few rows with one thread and with all; leaves none behind.

    Rows of `first` up to about 160 tokens: enough for the kernels to be the same as in
    the run, and a second of work at most.
    """
    rows = list(first.rows[:1])
    for row in first.rows[1:]:
        if sum(len(r.ids) for r in rows) + len(row.ids) > _TOKENS:
            break
        rows.append(row)
    small = pack(rows).to(trainee.device)
    trunk = trainee.trunk(small)
    threads = torch.get_num_threads()
    try:
        digests = []
        for count in (1, threads, threads):
            torch.set_num_threads(count)
            digests.append(_gradient_digest(trainee, small, trunk))
    finally:
        torch.set_num_threads(threads)
    return "strong" if len(set(digests)) == 1 else "best-effort"


def _gradient_digest(trainee: Trainee, pack: Pack, trunk: torch.Tensor | None) -> str:
    trainee.model.eval()
    hidden = trainee.hidden(pack, trunk)
    head_loss(hidden, trainee.head, pack.labels, trainee.soft_cap).mean().backward()
    total = hashlib.sha256()
    for parameter in trainee.parameters().values():
        if parameter.grad is not None:
            total.update(parameter.grad.detach().float().cpu().numpy().tobytes())
            parameter.grad = None
    return total.hexdigest()


def conditions(plan: Plan, settings: Settings, trained: str, threads: int) -> dict[str, str]:
    """What the class depends on, for the lock. `trained` layers carry the adapter."""
    return {
        **computing(plan),
        "batch": f"{settings.packs_per_step} packs of {settings.pack_tokens} tokens",
        "layers": trained,
        "threads": str(threads),
        **optimisers.conditions(settings.optimizer),
        **({"embed_warmup": f"{settings.embed_warmup} steps"} if settings.embed_warmup else {}),
    }


def computing(plan: Plan) -> dict[str, str]:
    """What decides the bits of one product: equal here, equal there."""
    return {
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "kernels": _kernel_versions(),
        "precision": plan.precision,
        "attention": plan.attention,
        "device": plan.device,
        "mkl_branch": os.environ.get("MKL_CBWR", "unset"),
    }


def flags() -> dict[str, JsonValue]:
    """The switches of torch that decide which kernels it takes, as they are now."""
    return {
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def pinned_versions(*, four_bit: bool) -> dict[str, str]:
    """Versions of the packages that compute."""
    names = (*PINNED, "bitsandbytes") if four_bit else PINNED
    return {name: importlib.metadata.version(name) for name in names}


def tier(hardware: Hardware) -> HardwareTier:
    if hardware.backend == "cuda":
        return "cuda-sm80+" if (hardware.sm or (0, 0)) >= (8, 0) else "cuda-sm<80"
    return hardware.backend


def _kernel_versions() -> str:
    """The matrix libraries torch was built with, as it names them."""
    text = torch.__config__.show()
    found = re.findall(r"(oneDNN|oneMKL|Intel\(R\) MKL-DNN|OpenBLAS)[^\n]*?v?(\d[\w.]*)", text)
    return ", ".join(f"{name} {version}" for name, version in found) or "unknown"
