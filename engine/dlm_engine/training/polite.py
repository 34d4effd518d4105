"""How training shares the machine: how many threads, how they wait, how much they insist.

Threads that spin while they wait take a core each from whoever needs it and, when
somebody does, the thread they wait for does not run at all: two such processes on two
cores ran twenty times slower here. Passive waiting costs nothing measurable and ends
that. Training also stands back a little, so an editor's keystrokes come first.

The environment is read when the thread library loads, so `prepare` runs before torch is
imported; what cannot be changed any more is left as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

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
_NICENESS: Final = 5
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def prepare() -> None:
    """Set what the numerical libraries read when they load; what the user set stays."""
    for name, value in _WAITING.items():
        os.environ.setdefault(name, value)


def settle_in(threads: int | None = None) -> int:
    """Take `threads` threads (all cores we may use when None) and stand back; returns them.

    Freed blocks stay with the process: a step allocates what the last one freed, and
    handing 50 MB to the system and back each time costs 6 % of it.
    """
    import torch

    count = threads or usable_cores()
    torch.set_num_threads(count)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return count


def stand_back() -> None:
    """Lower this process's priority; only once, and never by more than asked before."""
    if hasattr(os, "nice") and os.nice(0) < _NICENESS:
        os.nice(_NICENESS - os.nice(0))


def usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)
