"""The flags of `dlm train` that say how many processes share its steps, and where they meet.

What cannot be obeyed is refused before any of them is started.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dlm_engine.errors import HardwareRefusal, UsageError

_PORT: Final = 29500
#: all, a count, or numbers with a comma between
_GPUS: Final = re.compile(r"all|[1-9][0-9]{0,3}|[0-9]{1,4}(,[0-9]{1,4})+")

#: What `accelerate launch --use_fsdp` sets, and what else it may be told that has no part here.
_ACCELERATE: Final = "ACCELERATE_USE_FSDP"
_NOT_DONE: Final = {
    "FSDP_OFFLOAD_PARAMS": "a base that is divided stays on its GPUs",
    "ACCELERATE_USE_DEEPSPEED": "dlm does not use DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "dlm does not use Megatron-LM",
}


@dataclass(frozen=True, slots=True)
class Crowd:
    """`devices`: one GPU for each process of this machine, "" for none of them, None for any."""

    devices: tuple[str | None, ...]
    nodes: int
    node: int
    address: str | None
    port: int

    @property
    def world(self) -> int:
        return self.nodes * len(self.devices)

    @property
    def first(self) -> int:
        """The number of this machine's first process among all."""
        return self.node * len(self.devices)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The flags as they were given; None for what was not."""

    gpus: str | None
    processes: int | None
    num_nodes: int | None
    node_rank: int | None
    main_address: str | None
    main_port: int | None

    @property
    def given(self) -> list[str]:
        """The flags that were given, as they are written."""
        flags = {
            "--gpus": self.gpus,
            "--processes": self.processes,
            "--num-nodes": self.num_nodes,
            "--node-rank": self.node_rank,
            "--main-address": self.main_address,
            "--main-port": self.main_port,
        }
        return [flag for flag, value in flags.items() if value is not None]

    def require_usable(self, *, excluded: dict[str, bool]) -> None:
        """Raise `UsageError` for what cannot be obeyed, before a file is read or written."""
        if not self.given:
            return
        other = next((flag for flag, is_given in excluded.items() if is_given), None)
        if other is not None:
            problem = f"{other} runs in one process, and {self.given[0]} asks for several"
            raise UsageError("dlm train", problem, "leave one of them out")
        if self.gpus is not None and self.processes is not None:
            problem = "--gpus and --processes exclude each other"
            raise UsageError("dlm train", problem, "each GPU has one process")
        if self.gpus is not None and not _GPUS.fullmatch(self.gpus):
            problem = f"{self.gpus[:40]!r} is neither all, nor a count, nor numbers like 0,2"
            raise UsageError("--gpus", problem, "see `dlm train --help`")
        if self.num_nodes is None:
            alone = [flag for flag in self.given if flag not in ("--gpus", "--processes")]
            if alone:
                raise UsageError(alone[0], "goes with --num-nodes", "add it, or leave this out")
            return
        if self.num_nodes > 1 and (self.node_rank is None or not self.main_address):
            missing = "--node-rank" if self.node_rank is None else "--main-address"
            raise UsageError("--num-nodes", f"needs {missing}", "see docs/scale.md")
        if (self.node_rank or 0) >= self.num_nodes:
            problem = f"{self.node_rank} is not below --num-nodes {self.num_nodes}"
            raise UsageError("--node-rank", problem, "nodes are counted from 0")

    def crowd(self) -> Crowd | None:
        """The processes to start, None for a run in this one.

        Raises:
            HardwareRefusal: this machine has no such GPUs, or one that nothing is kept from.
            UsageError: one is named twice.
        """
        devices: tuple[str | None, ...] = (None,)
        if self.processes is not None:
            _require_the_cpu(self.processes)
            devices = ("",) * self.processes
        if self.gpus is not None:
            devices = _devices(self.gpus)
        crowd = Crowd(
            devices,
            self.num_nodes or 1,
            self.node_rank or 0,
            self.main_address if (self.num_nodes or 1) > 1 else None,
            _PORT if self.main_port is None else self.main_port,
        )
        # Only a process of its own can be kept from the GPUs.
        return crowd if crowd.world > 1 or self.processes else None


def _require_the_cpu(count: int) -> None:
    if platform.system() != "Darwin":
        return
    from dlm_engine.hardware import detect

    if detect().backend == "mps":
        raise HardwareRefusal(
            f"--processes {count}",
            "on this machine torch takes the Apple GPU, which processes cannot share",
            "train without",
        )


def shard_wanted(flag: bool | None, environment: Mapping[str, str], world: int) -> bool | None:
    """Whether so many processes are to divide the base: by the flag, else as Accelerate was told.

    Raises:
        UsageError: there is only one; or Accelerate was told what is not done here.
    """
    for name, what in _NOT_DONE.items():
        if environment.get(name, "").lower() == "true":
            problem = f"{name} is set, and {what}"
            raise UsageError("accelerate", problem, "launch it without")
    told = environment.get(_ACCELERATE, "").lower() == "true"
    if flag and world == 1:
        problem = "there is one process, and nothing to divide the base between"
        raise UsageError("--shard", problem, "add --gpus or --processes")
    return True if flag is None and told and world > 1 else flag


def _devices(wanted: str) -> tuple[str, ...]:
    from dlm_engine.hardware import detect, gpus

    hardware = detect()
    if hardware.backend != "cuda":
        raise HardwareRefusal(
            f"--gpus {wanted}",
            f"this machine has no NVIDIA GPU: it trains on {hardware.backend} "
            f"({hardware.device_name})",
            "leave it out; --processes divides the steps over the cores of a CPU",
        )
    count = gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = (
        [n.strip() for n in visible.split(",")][:count] if visible else list(map(str, range(count)))
    )
    if wanted == "all":
        return tuple(names)
    several = "," in wanted
    chosen = list(map(int, wanted.split(","))) if several else list(range(int(wanted)))
    if len(set(chosen)) < len(chosen):
        raise UsageError("--gpus", f"{wanted} names one twice", "name each once")
    if max(chosen) >= count:
        here = "one GPU" if count == 1 else f"{count} GPUs, numbered from 0"
        raise HardwareRefusal(f"--gpus {wanted}", f"this machine has {here}", "choose among them")
    return tuple(names[number] for number in chosen)
