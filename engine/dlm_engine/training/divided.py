"""A base in parts: every process keeps its part of each layer, and has one layer whole at a time.

The base does not change, so there is nothing to add up or to write back: before a layer computes,
all processes gather it, and it stays until another one is gathered. What autograd would keep of a
layer's weights is kept as their place in it, and the layer is gathered again when the backward
pass asks. The adapter, the last norm and buffers are whole everywhere.

The invariant: gathering takes all processes, so each goes through as many passes as the others,
in the same order (`Trainee.keep_up`, `ranks.short`), whatever its share of the work is. A weight
that is not there reads as not a number: a mistake shows in the loss, never as a wrong figure.

FSDP of torch was tried, and its layers compute the same. Most of it is for weights that train; the
head, which is used outside of its module's forward pass, and DoRA, which reads weights when it is
put on, would need ways around it; and a lost process shows as any other `RuntimeError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import torch

from dlm_engine.inference.hollow import Places, read_stored
from dlm_engine.training import ranks

#: Where a weight begins within its layer, in bytes, as kernels like it.
_ALIGNED: Final = 64
_NAME: Final = "dlm_divided"


@dataclass(frozen=True, eq=False)
class _Unit:
    """Weights that are gathered together. `places`: each one, the byte where it begins, and what
    stands for it while it is missing. `part`: the bytes that this process has, of `size` in all."""

    places: tuple[tuple[torch.nn.Parameter, int, torch.Tensor], ...]
    part: torch.Tensor
    size: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor lies within a unit."""

    unit: _Unit
    dtype: torch.dtype
    offset: int
    size: torch.Size
    stride: tuple[int, ...]


class Divided:
    """The weights of one base, of which the unit that was gathered last is whole."""

    def __init__(self, base: Any, places: Places, device: torch.device) -> None:
        self._units: list[_Unit] = []
        self._of: dict[int, _Unit] = {}
        self._held: tuple[_Unit, torch.Tensor] | None = None
        embeddings = base.get_input_embeddings(), base.get_output_embeddings()
        for module in (*embeddings, *base.model.layers):
            weights = [weight for weight in module.parameters() if id(weight) not in self._of]
            if weights:
                unit = _taken_apart(weights, places, device)
                self._units.append(unit)
                self._of |= {id(weight): unit for weight in weights}
            # A checkpointed layer computes again without being called, its modules do not.
            for each in module.modules():
                own = next(each.parameters(recurse=False), None)
                if own is not None:
                    each.register_forward_pre_hook(self._hook(self._of[id(own)]))

    @property
    def nbytes(self) -> int:
        """Of what this process keeps of the base."""
        return sum(unit.part.numel() for unit in self._units)

    @property
    def largest(self) -> int:
        """Bytes of the largest unit."""
        return max(unit.size for unit in self._units)

    def has(self, weight: torch.Tensor) -> bool:
        """Whether it is one of the weights that are divided."""
        return id(weight) in self._of

    def whole(self, weight: torch.nn.Parameter) -> torch.Tensor:
        """`weight` as it is, for as long as somebody holds it; all processes ask for it."""
        unit = self._of.get(id(weight))
        if unit is not None:
            self._gathered(unit)
        return weight.detach()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within, autograd keeps no weight that is gathered."""
        with torch.autograd.graph.saved_tensors_hooks(self._placed, self._found):
            yield

    def _hook(self, unit: _Unit) -> Callable[..., None]:
        def gather(*_: Any) -> None:
            self._gathered(unit)

        return gather

    def _gathered(self, unit: _Unit) -> torch.Tensor:
        if self._held is not None:
            held, whole = self._held
            if held is unit:
                return whole
            self._held = None
            del whole
            for weight, _, missing in held.places:
                weight.data = missing
        whole = torch.empty(unit.size, dtype=torch.uint8, device=unit.part.device)
        ranks.gather(unit.part, whole)
        for weight, start, missing in unit.places:
            weight.data = _within(whole, start, missing)
        self._held = unit, whole
        return whole

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor | _Place:
        if self._held is None:
            return tensor
        unit, whole = self._held
        if tensor.untyped_storage().data_ptr() != whole.untyped_storage().data_ptr():
            return tensor
        offset = int(tensor.storage_offset())
        return _Place(unit, tensor.dtype, offset, tensor.size(), tensor.stride())

    def _found(self, kept: torch.Tensor | _Place) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        whole = self._gathered(kept.unit)
        empty = torch.empty(0, dtype=kept.dtype, device=whole.device)
        return empty.set_(whole.untyped_storage(), kept.offset, kept.size, kept.stride)


def divide(base: Any, places: Places, device: str) -> Any:
    """`base`, of which `places` are to be filled in, with this process's part of it on `device`.

    Of what is not there the part is read, and nothing more.
    """
    divided = Divided(base, places, torch.device(device))
    setattr(base, _NAME, divided)
    for tensor in chain(base.parameters(), base.buffers()):
        stored = places.get(id(tensor))
        # The last norm, and what else is in no unit.
        if stored is not None and not divided.has(tensor):
            whole = torch.empty(tensor.shape, dtype=tensor.dtype)
            read_stored(stored, 0, whole.numel(), whole.view(-1))
            tensor.data = whole
    return base.to(device)


def divided_of(base: Any) -> Divided | None:
    """The parts of a base that was divided."""
    found: Divided | None = getattr(base, _NAME, None)
    return found


@torch.no_grad()
def _taken_apart(
    weights: Iterable[torch.nn.Parameter], places: Places, device: torch.device
) -> _Unit:
    """Keep this process's part of `weights`, and put what is missing in their place."""
    starts, size = [], 0
    for weight in weights:
        # Not a number, of the same shape, in the memory of one.
        one = torch.full((1,), math.nan, dtype=weight.dtype, device=device)
        starts.append((weight, size, one.expand(weight.shape)))
        size = _rounded(size + weight.nbytes, _ALIGNED)
    size = _rounded(size, _ALIGNED * ranks.world())
    own = ranks.span(size)
    part = torch.zeros(len(own), dtype=torch.uint8)
    for weight, start, missing in starts:
        each = weight.element_size()
        first, last = max(own.start, start), min(own.stop, start + weight.nbytes)
        if first < last:
            onto = part[first - own.start : last - own.start].view(weight.dtype)
            stored = places.get(id(weight))
            if stored is None:
                at = (first - start) // each
                onto.copy_(weight.detach().reshape(-1)[at : at + onto.numel()])
            else:
                read_stored(stored, (first - start) // each, onto.numel(), onto)
        weight.requires_grad_(False)
        weight.data = missing
    return _Unit(tuple(starts), part.to(device), size)


def _within(whole: torch.Tensor, start: int, like: torch.Tensor) -> torch.Tensor:
    """What has the form of `like` and begins at the byte `start` of `whole`."""
    stop = start + like.numel() * like.element_size()
    return whole[start:stop].view(like.dtype).view(like.shape)


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
