"""A base without its weights: a model as it is loaded, and where in the files each weight lies.

In place of every weight is one number, not a number, in the shape of the weight. transformers
loads these as it would the weights, so its configuration, buffers, ties and renaming are what
they are in a base that is loaded; which of them a parameter is afterwards says where it lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain
from typing import Any, NamedTuple

import torch

from dlm_engine.bases import Stored, Weights, stored_tensors

#: Bytes that are read of a file at a time.
_AT_ONCE = 16 * 2**20
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Places = Mapping[int, Stored]
"""Where the weights lie that are not there, by their `id`."""


class Hollow(NamedTuple):
    base: Any
    places: Places


def hollow_base(weights: Weights, dtype: torch.dtype, attention: str) -> Hollow | None:
    """The base with the weights to be filled in; None where they are not in the files as the
    model has them.

    Raises:
        BaseModelError: the files are damaged.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    every = stored_tensors(weights.path)
    config = AutoConfig.from_pretrained(
        str(weights.path), local_files_only=True, trust_remote_code=False
    )
    kind = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if not isinstance(kind, type) or any(each.dtype not in _DTYPES for each in every.values()):
        return None
    stand_ins = {
        name: torch.full((1,), math.nan, dtype=dtype).expand(each.shape)
        for name, each in every.items()
    }
    names = {each.untyped_storage().data_ptr(): name for name, each in stand_ins.items()}
    made: Any = kind
    base = made.from_pretrained(
        None,
        config=config,
        state_dict=stand_ins,
        dtype=dtype,
        attn_implementation=attention,
        local_files_only=True,
    )
    # Without it PEFT asks a hub.
    base.name_or_path = base.config.name_or_path = str(weights.path)
    places: dict[int, Stored] = {}
    for tensor in chain(base.parameters(), base.buffers()):
        name = names.get(tensor.untyped_storage().data_ptr())
        if name is not None and tensor.shape == every[name].shape:
            places[id(tensor)] = every[name]
        elif bool(tensor.isnan().any()):
            return None
    return Hollow(base, places)


def read_stored(stored: Stored, first: int, count: int, onto: torch.Tensor) -> None:
    """Fill `onto`, (count,), with the numbers of a stored tensor from its number `first` on."""
    dtype = _DTYPES[stored.dtype]
    each = dtype.itemsize
    most = _AT_ONCE // each
    for at in range(0, count, most):
        part = onto[at : at + most]
        read = part if dtype == part.dtype else torch.empty(part.shape, dtype=dtype)
        numbers: Any = read.view(torch.uint8).numpy()
        stored.read_into(memoryview(numbers), (first + at) * each)
        if read is not part:
            part.copy_(read)
