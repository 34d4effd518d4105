"""How training shares the machine: how many threads, and how they wait.

Threads that spin while they wait take a core each from whoever needs it and, when
somebody does, the thread they wait for does not run at all: two such processes on two
cores ran twenty times slower here. Passive waiting costs nothing measurable and ends
that: beside a busy process a step takes 1.6 times as long and leaves it 91 % of a core.
Lowering our priority on top of that made a step slower and left the neighbour no more.

The environment is read when the thread library loads, so `prepare` runs before torch is
imported; what cannot be changed any more is left as it is.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dlm_engine.errors import UsageError
from dlm_engine.training import ranks

#: How many threads training takes, instead of all cores it may use.
THREADS_VARIABLE: Final = "DLM_THREADS"
_MAX_THREADS: Final = 1024
_WAITING: Final = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def prepare() -> None:
    """Set what the numerical libraries read when they load; what the user set stays."""
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)
    # bitsandbytes runs code from a hub when it finds the package that fetches it, and
    # complains on every start when it does not. Nothing here runs fetched code.
    sys.modules.setdefault("kernels", None)  # type: ignore[arg-type]
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    branch = _mkl_branch()
    if branch is not None:
        os.environ.setdefault("MKL_CBWR", f"{branch},STRICT")


def _mkl_branch() -> str | None:
    """The instruction set to hold Intel's matrix library to, None on other processors.

    Left to itself it divides sums by the number of threads, and one thread and two give
    different bits. Held to one branch they do not, at no cost that could be measured.
    """
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    if "GenuineIntel" not in facts:
        return None
    return "AVX512" if "avx512f" in facts else "AVX2" if "avx2" in facts else None


def settle_in(threads: int | None = None) -> int:
    """Take `threads` threads; returns them.

    None stands for `$DLM_THREADS` and, where that is unset or empty, for all cores this
    process may use, divided between those of a run that share the machine. Raises `UsageError`
    for a `$DLM_THREADS` that is no number of threads.

    Freed blocks stay with the process: a step allocates what the last one freed, and
    handing 50 MB to the system and back each time costs 6 % of it.
    """
    import torch

    count = threads or threads_wanted() or max(1, usable_cores() // ranks.local_world())
    torch.set_num_threads(count)
    _allocate(mapped_from=1 << 30, kept=(1 << 31) - 1)
    return count


def hand_back() -> None:
    """Have freed blocks go back to the system from now on, where memory is worth more than time."""
    _allocate(mapped_from=1 << 20, kept=1 << 20)


def _allocate(mapped_from: int, kept: int) -> None:
    """Freed blocks of `mapped_from` bytes go back, of the others all but `kept` bytes."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, mapped_from)
            libc.mallopt(_M_TRIM_THRESHOLD, kept)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within, torch takes one thread: the last bits of a decomposition depend on how many."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def threads_wanted() -> int | None:
    """What `$DLM_THREADS` asks for, None where it is unset or empty.

    Raises:
        UsageError: it is no number of threads.
    """
    asked = os.environ.get(THREADS_VARIABLE, "").strip()
    if not asked:
        return None
    if asked.isascii() and asked.isdigit() and 1 <= int(asked[:5]) <= _MAX_THREADS:
        return int(asked)
    raise UsageError(
        f"{THREADS_VARIABLE}={asked[:40]}",
        f"is not a whole number from 1 to {_MAX_THREADS}",
        "correct it, or unset it to use every core",
    )


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
