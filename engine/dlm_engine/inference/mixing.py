"""Several adapters as one, whose update is the weighted sum of theirs.

An adapter adds s·B·A to a layer, so a weighted sum of updates is one adapter whose A are the
A's one below the other and whose B are the B's side by side, each times weight and scale: exact
at any rank. Not PEFT's `linear`, which sums the A's and the B's and so adds products that no
adapter has (half and half of two adapters is wrong by as much as they add). `svd` makes the same
sum smaller: singular values that together are less than the bound are left out.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save

from dlm_engine.errors import InferenceError
from dlm_engine.inference.model import MixMethod
from dlm_engine.store import Version

#: Largest relative error, of any module, of what `svd` leaves out.
SVD_BOUND: Final = 5e-4
_Pairs = dict[str, tuple[torch.Tensor, torch.Tensor]]
_PREFIX: Final = "base_model.model."
#: What an adapter's config says where its update is not simply scale·B·A.
_NOT_PLAIN: Final = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "trainable_token_indices",
)


@dataclass(frozen=True, slots=True)
class Folder:
    """An adapter in PEFT's form, None for none; `digest` says what it holds."""

    path: Path | None
    digest: str | None
    note: str = ""


@dataclass(frozen=True)
class _Part:
    """One adapter: by module, A and B with weight and scale in B."""

    config: dict[str, Any]
    rank: int
    pairs: _Pairs


@contextmanager
def adapter_of(versions: Sequence[tuple[Version, float]], method: MixMethod) -> Iterator[Folder]:
    """The weighted sum of `versions` as one adapter; a mix is gone afterwards.

    Raises:
        InferenceError: one of several is not plain LoRA, so its update is no product.
    """
    if not versions:
        yield Folder(None, None)
        return
    counted = [(version, weight) for version, weight in versions if weight]
    if len(counted) == 1 and counted[0][1] == 1.0:
        version = counted[0][0]
        yield Folder(version.path, version.adapter_sha256())
        return
    with tempfile.TemporaryDirectory(prefix="dlm-mix-") as folder:
        path = Path(folder)
        files, note = _files(counted, method)
        for name, data in files.items():
            (path / name).write_bytes(data)
        yield Folder(path, hashlib.sha256(b"".join(files.values())).hexdigest(), note)


def _files(
    versions: Sequence[tuple[Version, float]], method: MixMethod
) -> tuple[dict[str, bytes], str]:
    parts = [_part(version, weight) for version, weight in versions]
    modules = sorted({module for part in parts for module in part.pairs})
    stacked = {module: _stacked(parts, module) for module in modules}
    note = ""
    if method is MixMethod.SVD:
        stacked, error = _reduced(stacked)
        whole = sum(part.rank for part in parts)
        note = f"svd: rank {_rank(stacked)} instead of {whole}, wrong by at most {error:.3%}"
    rank = _rank(stacked)
    config = parts[0].config | {
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": [module.removeprefix(_PREFIX) for module in modules],
        "layers_to_transform": None,
        "layers_pattern": None,
    }
    tensors = {}
    for module, (a, b) in stacked.items():
        tensors[f"{module}.lora_A.weight"] = a.contiguous()
        tensors[f"{module}.lora_B.weight"] = b.contiguous()
    described = json.dumps(config, indent=2, sort_keys=True) + "\n"
    return {
        "adapter_model.safetensors": save(tensors, metadata={"format": "pt"}),
        "adapter_config.json": described.encode(),
    }, note


def _part(version: Version, weight: float) -> _Part:
    config = json.loads((version.path / "adapter_config.json").read_text(encoding="utf-8"))
    odd = [name for name in _NOT_PLAIN if config.get(name)]
    if odd or config.get("peft_type") != "LORA" or config.get("bias", "none") != "none":
        raise InferenceError(
            f"adapter {version.adapter}",
            f"is not plain LoRA ({', '.join(odd) or config.get('peft_type')}), so it has no share "
            "in a mix",
            "set its adapter to lora and train, or leave it out of the mix",
        )
    tensors = load_file(version.path / "adapter_model.safetensors")
    factor = weight * float(config["lora_alpha"]) / int(config["r"])
    ends = ".lora_A.weight", ".lora_B.weight"
    pairs = {
        name.removesuffix(ends[0]): (
            tensor.float(),
            tensors[name.removesuffix(ends[0]) + ends[1]].float() * factor,
        )
        for name, tensor in tensors.items()
        if name.endswith(ends[0])
    }
    return _Part(config, int(config["r"]), pairs)


def _stacked(parts: Sequence[_Part], module: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A (R, in) and B (out, R) of one module; zero where an adapter leaves it alone."""
    shape_a, shape_b = next(p.pairs[module] for p in parts if module in p.pairs)
    pairs = [
        part.pairs.get(module)
        or (
            shape_a.new_zeros(part.rank, shape_a.shape[1]),
            shape_b.new_zeros(shape_b.shape[0], part.rank),
        )
        for part in parts
    ]
    return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs], dim=1)


def _rank(stacked: _Pairs) -> int:
    return next(iter(stacked.values()))[0].shape[0]


def _reduced(stacked: _Pairs) -> tuple[_Pairs, float]:
    """The same products at the least rank that keeps every module within the bound."""
    factors = {module: _factors(a.double(), b.double()) for module, (a, b) in stacked.items()}
    rank = max(1, *(_needed(s) for _, s, _ in factors.values()))
    error = max(_error(s, rank) for _, s, _ in factors.values())
    made = {}
    for module, (left, values, right) in factors.items():
        kept = min(rank, len(values))
        root = values[:kept].sqrt()
        a = right.new_zeros(rank, right.shape[1])
        b = left.new_zeros(left.shape[0], rank)
        a[:kept], b[:, :kept] = root[:, None] * right[:kept], left[:, :kept] * root
        made[module] = (a.float(), b.float())
    return made, error


def _factors(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Singular vectors and values of b·a, from its thin factors: nothing of its size is made."""
    left, upper = torch.linalg.qr(b)
    right, other = torch.linalg.qr(a.t())
    u, values, v = torch.linalg.svd(upper @ other.t())
    size = len(values)
    return left @ u[:, :size], values, (right @ v.t()[:, :size]).t()


def _needed(values: torch.Tensor) -> int:
    return next(k for k in range(len(values) + 1) if _error(values, k) <= SVD_BOUND)


def _error(values: torch.Tensor, rank: int) -> float:
    """Of what is left of b·a at `rank`, relative to all of it (Frobenius norms)."""
    whole = float(values.norm())
    return float(values[rank:].norm()) / whole if whole else 0.0
