"""What this machine is.

Invariant: only totals and facts that do not change from minute to minute are recorded
(never free memory), so that the same machine always gets the same plan. bfloat16 on a CPU
counts only where the CPU has the instructions and a short measurement confirms the gain:
elsewhere it is emulated, and slower than float32.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Backend = Literal["cuda", "rocm", "mps", "cpu"]

#: Of these torch's kernels make use: several times as fast wherever it was measured.
_BF16_SURE = frozenset({"avx512_bf16", "amx_bf16"})
BF16_FLAGS = _BF16_SURE | {"bf16", "feat_bf16"}
BF16_GAIN = 1.5
_ROCM_BF16 = frozenset({"gfx90a", "gfx942", "gfx1100", "gfx1101", "gfx1102", "gfx1200", "gfx1201"})


@dataclass(frozen=True, slots=True)
class Hardware:
    """One machine; `total_memory` and `ram` in bytes, `cores` those we may use.

    `total_memory` is the accelerator's own memory on CUDA and ROCm, all of RAM elsewhere.
    `versions` maps package names to versions, without entries for what is missing.
    """

    backend: Backend
    device_name: str
    total_memory: int
    ram: int
    cores: int
    bf16_native: bool
    bf16_reason: str
    sm: tuple[int, int] | None = None
    rocm_arch: str | None = None
    flash_attention: bool = False
    bitsandbytes: bool = False
    triton: bool = False
    xformers: bool = False
    mlx: bool = False
    platform: str = ""
    cuda_version: str | None = None
    rocm_version: str | None = None
    versions: tuple[tuple[str, str], ...] = ()


def detect() -> Hardware:
    """This machine, asking torch where it is installed (a second to import)."""
    light = detect_light()
    if importlib.util.find_spec("torch") is None:
        return light
    import torch

    if torch.cuda.is_available():
        return _rocm(light, torch) if torch.version.hip else _cuda(light, torch)
    if torch.backends.mps.is_available():
        return _replace(
            light,
            backend="mps",
            device_name=_cpu_name(),
            bf16_native=False,
            bf16_reason="Apple GPUs train in float32: bfloat16 has given NaNs there",
            mlx=_installed("mlx") and _installed("mlx_lm"),
        )
    flags = cpu_flags()
    speedup = measure_bf16_gain() if not flags & _BF16_SURE and flags & BF16_FLAGS else None
    native, reason = bf16_on_cpu(flags, speedup)
    return _replace(light, bf16_native=native, bf16_reason=reason)


def gpus() -> int:
    """How many GPUs torch sees."""
    import torch

    return int(torch.cuda.device_count())


def detect_light() -> Hardware:
    """This machine as a CPU, without importing torch; bfloat16 is not measured."""
    ram = _total_ram()
    return Hardware(
        backend="cpu",
        device_name=_cpu_name(),
        total_memory=ram,
        ram=ram,
        cores=_cores(),
        bf16_native=False,
        bf16_reason="not measured",
        bitsandbytes=_installed("bitsandbytes"),
        platform=f"{platform.system()} {platform.release()}",
        versions=_versions(("torch", "transformers", "peft", "accelerate", "bitsandbytes")),
    )


def bf16_on_cpu(flags: Iterable[str], speedup: float | None) -> tuple[bool, str]:
    """Whether to train in bfloat16 on a CPU with these flags, and why.

    `speedup` is the time of a float32 matrix product over that of a bfloat16 one; None
    where it was not measured. It decides only where the instructions do not: a figure that
    what else runs can turn would turn the adapter's bytes.
    """
    found = sorted(BF16_FLAGS & set(flags))
    if not found:
        return False, "this CPU has no bfloat16 instructions, and emulating them is slower"
    if sure := sorted(_BF16_SURE & set(found)):
        return True, f"this CPU has {sure[0]}"
    if speedup is None:
        return False, f"this CPU has {found[0]}, but the gain was not measured"
    if speedup < BF16_GAIN:
        return False, (
            f"this CPU has {found[0]}, but bfloat16 is only {speedup:.1f} times as fast here"
        )
    return True, f"this CPU has {found[0]}, and bfloat16 products are {speedup:.1f} times as fast"


def measure_bf16_gain(clock: Callable[[], float] = time.process_time) -> float:
    """Time of a float32 matrix product over a bfloat16 one, of this process; about 10 ms each."""
    import torch

    def best(dtype: torch.dtype) -> float:
        left = torch.ones(384, 384, dtype=dtype)
        times = []
        for _ in range(6):
            start = clock()
            torch.mm(left, left)
            times.append(clock() - start)
        return min(times[1:])

    return best(torch.float32) / max(best(torch.bfloat16), 1e-9)


def cpu_flags() -> frozenset[str]:
    """The CPU's feature names in lower case; empty where the system does not tell."""
    if sys.platform == "darwin":
        feature = "hw.optional.arm.FEAT_BF16"
        return frozenset({"feat_bf16"}) if _sysctl(feature) == "1" else frozenset()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return flags_in(text)


def flags_in(cpuinfo: str) -> frozenset[str]:
    """Feature names of the first processor in the text of `/proc/cpuinfo`."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.lower().split())
    return frozenset()


def _cuda(light: Hardware, torch: Any) -> Hardware:
    facts = torch.cuda.get_device_properties(0)
    sm = (int(facts.major), int(facts.minor))
    native = sm >= (8, 0)
    return _replace(
        light,
        backend="cuda",
        device_name=str(facts.name),
        total_memory=int(facts.total_memory),
        sm=sm,
        bf16_native=native,
        bf16_reason=(
            f"compute capability {sm[0]}.{sm[1]} has bfloat16"
            if native
            else f"compute capability {sm[0]}.{sm[1]} has no bfloat16 (8.0 does)"
        ),
        flash_attention=native and _installed("flash_attn"),
        triton=_installed("triton"),
        xformers=_installed("xformers"),
        cuda_version=torch.version.cuda,
    )


def _rocm(light: Hardware, torch: Any) -> Hardware:
    facts = torch.cuda.get_device_properties(0)
    arch = str(getattr(facts, "gcnArchName", "")).split(":")[0]
    native = arch in _ROCM_BF16
    return _replace(
        light,
        backend="rocm",
        device_name=str(facts.name),
        total_memory=int(facts.total_memory),
        rocm_arch=arch or None,
        bf16_native=native,
        bf16_reason=f"{arch or 'this GPU'} {'has' if native else 'has no known'} bfloat16",
        triton=_installed("triton"),
        rocm_version=torch.version.hip,
    )


def _replace(hardware: Hardware, **changes: Any) -> Hardware:
    from dataclasses import replace

    return replace(hardware, **changes)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _versions(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    found = []
    for name in names:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _total_ram() -> int:
    import psutil

    total = int(psutil.virtual_memory().total)
    limits = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    for limit in limits:
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.processor() or "CPU"
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or "CPU"
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine() or "CPU"


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
