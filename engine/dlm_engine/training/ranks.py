"""The processes that share the steps of one run: which part is whose, and how they agree.

As in torch.distributed, which carries it, there is one group per process, and without one
everything here is what a single process does: its bytes are the same. The invariant: what is
decided is decided from numbers that all have, or by process 0, which alone writes; and the
steps are those of one process, as sums are over the whole step. What goes between processes is
numbers, tensors and JSON, never a pickle, which would run whatever a stranger sent.

`DistributedDataParallel` is not used: it averages what each process made of its own share, so
shares of unequal length would count differently, and here a share may be empty.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dlm_engine.errors import ProcessLost, TrainingError, UsageError

if TYPE_CHECKING:
    import torch

#: So long may one process be busy alone, as with the download of a base.
_PATIENCE: Final = timedelta(minutes=30)
#: Where processes of one machine meet: a file, so that nothing listens for strangers.
MEETING_VARIABLE: Final = "DLM_MEETING"

Each = TypeVar("Each")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Place:
    """This process among `world`, and as number `local` among the `local_world` of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1


_ALONE: Final = Place()
_here = _ALONE


def place_of(environment: Mapping[str, str]) -> Place | None:
    """What `dlm train` itself or torchrun say; None for nothing or one.

    Raises:
        UsageError: they say what cannot be.
    """
    if not {"RANK", "WORLD_SIZE"} <= environment.keys():
        # So `accelerate launch --cpu` starts one process where it was asked for several.
        by_accelerate = environment.get("ACCELERATE_USE_CPU", "").lower() == "true"
        if by_accelerate and "MASTER_ADDR" in environment:
            raise UsageError(
                "accelerate launch",
                "was asked for several processes and with --cpu started one",
                "launch it with --multi_gpu instead, which also does so on a CPU, or use "
                "`dlm train --processes`",
            )
        return None
    names = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    given = [environment.get(name, otherwise) for name, otherwise in names.items()]
    if not all(value.isascii() and value.isdigit() for value in given):
        said = ", ".join(f"{name}={environment[name]!r}" for name in names if name in environment)
        raise UsageError("environment", f"{said} are not all numbers", "unset them")
    place = Place(*map(int, given))
    if place.rank >= place.world or not place.local < place.local_world <= place.world:
        raise UsageError("environment", f"{place} cannot be", "unset RANK and WORLD_SIZE")
    meeting = (
        MEETING_VARIABLE in environment or {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys()
    )
    if place.world > 1 and not meeting:
        raise UsageError(
            "environment",
            f"WORLD_SIZE is {place.world}, without MASTER_ADDR and MASTER_PORT to meet at",
            "set both, or unset RANK and WORLD_SIZE",
        )
    return place if place.world > 1 else None


@contextmanager
def joined(place: Place | None) -> Iterator[None]:
    """Within, this process is one of the group; nothing without a `place`.

    Raises:
        ProcessLost: the others did not come.
    """
    global _here
    if place is None:
        yield
        return
    import torch
    import torch.distributed as dist

    meeting = os.environ.get(MEETING_VARIABLE)
    gpus = torch.cuda.device_count()
    if gpus:
        # One that was given a single GPU sees that alone.
        torch.cuda.set_device(place.local % gpus)
    _here = place
    try:
        with _company("meeting them"):
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if gpus else "gloo",
                init_method=f"file://{meeting}" if meeting else "env://",
                rank=place.rank,
                world_size=place.world,
                timeout=_PATIENCE,
            )
        yield
        if leads():
            # Whoever is gone already has heard enough.
            with suppress(ProcessLost):
                told(None)
    finally:
        _here = _ALONE
        # Where they never met, there is nothing to leave.
        with suppress(RuntimeError, AssertionError, ValueError):
            dist.destroy_process_group()


def world() -> int:
    return _here.world


def local_world() -> int:
    """How many processes share this machine."""
    return _here.local_world


def leads() -> bool:
    """Whether this process decides, writes and speaks."""
    return _here.rank == 0


def takes(number: int) -> bool:
    """Whether work `number` is for this process."""
    return number % _here.world == _here.rank


def mine(works: Sequence[Each]) -> list[Each]:
    return [work for number, work in enumerate(works) if takes(number)]


def short(count: int, before: int = 0) -> bool:
    """Whether of `count` works, with `before` others before them, another process has more."""
    own = sum(map(takes, range(before, before + count)))
    return own < -(-count // _here.world)


def everyones(value: Value) -> list[Value]:
    """What each process gives here, in their order; JSON, so tuples come as lists.

    Raises:
        ProcessLost: as everything here that waits for the others.
    """
    if _here.world == 1:
        return [value]
    import torch
    import torch.distributed as dist

    data = _tensor(json.dumps(value).encode())
    with _company("comparing notes"):
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(_here.world)]
        dist.all_gather(sizes, torch.tensor([len(data)]))
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(data)] = data
        found = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(found, padded)
    return [
        json.loads(each[: int(size)].numpy().tobytes())
        for each, size in zip(found, sizes, strict=True)
    ]


def merged(found: dict[str, Value]) -> dict[str, Value]:
    """Of all processes, each of which found some of it."""
    return {key: value for each in everyones(found) for key, value in each.items()}


def told(value: Any = None) -> Any:
    """What process 0 gives here; JSON."""
    if _here.world == 1:
        return value
    return json.loads(told_bytes(json.dumps(value).encode()))


def told_bytes(data: bytes = b"") -> bytes:
    """What process 0 gives here."""
    if _here.world == 1:
        return data
    import torch
    import torch.distributed as dist

    with _company("hearing the first"):
        size = torch.tensor([len(data)])
        dist.broadcast(size, src=0)
        whole = _tensor(data) if leads() else torch.zeros(int(size), dtype=torch.uint8)
        dist.broadcast(whole, src=0)
    return whole.numpy().tobytes()


def share(tensors: Iterable[torch.Tensor], of: int = 0) -> None:
    """Put what process `of` has in `tensors` into everyone's."""
    if _here.world == 1:
        return
    import torch.distributed as dist

    with _company("taking over the adapter"):
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=of)


def span(size: int) -> range:
    """This process's of equal parts of `size`, which can be divided so."""
    each = size // _here.world
    return range(_here.rank * each, (_here.rank + 1) * each)


def gather(part: torch.Tensor, whole: torch.Tensor) -> None:
    """Fill `whole` with everyone's `part` of it."""
    if _here.world == 1:
        whole.copy_(part)
        return
    import torch.distributed as dist

    with _company("gathering a part of the base"):
        if whole.device.type == "cpu":
            # Gathered by gloo, all of it would be there twice.
            own = span(len(whole))
            whole[own.start : own.stop] = part
            for rank, each in enumerate(whole.chunk(_here.world)):
                dist.broadcast(each, src=rank)
            return
        # Named so since torch 2.13, which warns of the other.
        collect = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
        collect(whole, part)


@contextmanager
def in_turn() -> Iterator[None]:
    """Within, this is the only process of its machine; all come here."""
    turns = max(everyones(_here.local_world))
    for turn in range(turns):
        if turn == _here.local:
            yield
        everyones(None)


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Have every process hold the sum of everyone's gradients; None counts as zeros."""
    if _here.world == 1:
        return
    import torch
    import torch.distributed as dist

    every = list(parameters)
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in every]
    )
    with _company("adding up gradients"):
        dist.all_reduce(flat)
    sums = flat.split([p.numel() for p in every])
    for parameter, total in zip(every, sums, strict=True):
        parameter.grad = total.view_as(parameter)


def require_same(facts: Sequence[object], subject: str) -> None:
    """Refuse to train together what is not the same run.

    Raises:
        TrainingError: in every process.
    """
    every = everyones(list(facts))
    other = next((rank for rank, each in enumerate(every) if each != every[0]), None)
    if other is not None:
        raise TrainingError(
            subject,
            f"process {other} has another document, base, flags or plan than process 0",
            "give every machine the same files and flags, and set training.precision",
        )


@contextmanager
def _company(doing: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(
            f"process {_here.rank}",
            f"another process of this run is gone or did not come, noticed while {doing}",
            "--resume goes on from the last state that was kept",
        ) from error


def _tensor(data: bytes) -> Any:
    import torch

    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
