"""A PEFT LoRA adapter as the GGUF that llama.cpp adds to a base at load time.

llama.cpp computes `alpha / rank * B·A`, with one alpha for the file and the rank read
from each B. So the factor that PEFT applies is written as `alpha = scale * rank`, which
is right for plain and rank-stabilised adapters alike, and what differs between modules
is folded into B. The rows of B must lie as the rows of the base tensor do: some
architectures reorder query and key rows for their rotary embedding. Which ones is not
looked up but measured, by comparing the base GGUF with the weights it came from; that
finds a wrong base too. Why not `convert_lora_to_gguf.py`: it writes `lora_alpha` for
rank-stabilised adapters (short by the root of the rank) and ignores `alpha_pattern`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.errors import ExportError
from dlm_engine.export.capabilities import AdapterFacts, base_files
from dlm_engine.export.gguf_file import GgufFile, PlannedTensor, encode, write_gguf
from dlm_engine.export.tensors import TensorReader, open_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_F32 = 0
_PROBE_ROWS = 128
#: Relative error above which two sets of rows are not the same weights. The coarsest
#: quantisation stays below 0.1; rows in another order are at about 1.4.
_SAME_ROWS = 0.4


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a PEFT module lies in the GGUF. `order[i]` is the row of the original that is
    row `i` there; None when rows were not moved."""

    tensor: str
    order: npt.NDArray[np.intp] | None


def tensor_name(file: GgufFile, module: str) -> str | None:
    """The GGUF's name for the weight of a module, or None when it has none of its own."""
    names = _name_map(file.architecture, file.number("block_count") or 0)
    found = names.get_name(f"{module}.weight", try_suffixes=(".weight",)) if names else None
    return found if found in file.tensors else None


@cache
def _name_map(architecture: str, blocks: int) -> Any:
    """gguf's table of names; building it takes long enough to do it once only."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    known = next((a for a, n in MODEL_ARCH_NAMES.items() if n == architecture), None)
    return None if known is None else get_tensor_name_map(known, blocks)


def place(file: GgufFile, module: str, base: TensorReader) -> Placed:
    """Find a module's tensor and the order of its rows.

    Raises:
        ExportError: the module has no tensor of its own, or its rows match in no known order.
    """
    name, weight = tensor_name(file, module), f"{module}.weight"
    if name is None or weight not in base:
        raise ExportError(
            module, "has no weight of its own in the GGUF", "export with --merged instead"
        )
    order = row_order(file, name, base, weight)
    return Placed(name, order)


def row_order(
    file: GgufFile, name: str, base: TensorReader, weight: str
) -> npt.NDArray[np.intp] | None:
    """The order of rows, measured on the first rows; None is the original order.

    Raises:
        ExportError: they match in no known order; this is another base.
    """
    stored = file.rows(name, _PROBE_ROWS)
    rows = base.shape(weight)[0]
    if relative_error(stored, base.rows(weight, len(stored))) < _SAME_ROWS:
        return None
    original = base.rows(weight)
    for key in ("attention.head_count", "attention.head_count_kv"):
        heads = file.number(key)
        if not heads or rows % (2 * heads):
            continue
        order = _rotary_order(rows, heads)
        if relative_error(stored, original[order[: len(stored)]]) < _SAME_ROWS:
            return order
    raise ExportError(
        str(file.path),
        f"{name} does not hold the weights of {weight}",
        "the base or the cached GGUF is another one; export again",
    )


def _rotary_order(rows: int, heads: int) -> npt.NDArray[np.intp]:
    """Halves of each head interleaved, as llama.cpp wants them for its rotary embedding."""
    import numpy as np

    return np.arange(rows).reshape(heads, 2, rows // heads // 2).swapaxes(1, 2).reshape(rows)


def relative_error(value: npt.NDArray[Any], reference: npt.NDArray[Any]) -> float:
    """Root of the mean square error over the root of the mean square of the reference."""
    import numpy as np

    if value.shape != reference.shape:
        return float("inf")
    difference = float(np.sqrt(np.mean(np.square(value - reference, dtype=np.float64))))
    scale = float(np.sqrt(np.mean(np.square(reference, dtype=np.float64))))
    return difference if scale == 0 else difference / scale


def write_lora(
    facts: AdapterFacts, base: Path, base_gguf: Path, out: Path, origin: Mapping[str, str]
) -> None:
    """Write the adapter as a GGUF for `base_gguf`, in 32 bits: exact, and small beside the base.

    `origin` becomes `dlm.*` keys, so that a file can be traced to its base and version.

    Raises:
        ExportError: a number is not finite, or the adapter does not belong to this base.
    """
    alpha = max(facts.scales[m] * facts.ranks[m] for m in facts.scales)
    with (
        GgufFile(base_gguf) as file,
        open_tensors(base_files(base)) as weights,
        open_tensors([facts.path / "adapter_model.safetensors"]) as adapter,
    ):
        names = {module: place(file, module, weights) for module in sorted(facts.scales)}
        keys = {
            "general.architecture": encode(file.architecture),
            "general.type": encode("adapter"),
            "adapter.type": encode("lora"),
            "adapter.lora.alpha": encode(float(alpha)),
            **{f"dlm.{key}": encode(value) for key, value in sorted(origin.items())},
        }
        by_module = _pairs(adapter)
        planned, sources = [], []
        for module, placed in names.items():
            a, b = by_module[module]
            for suffix, source in (("lora_a", a), ("lora_b", b)):
                shape = adapter.shape(source)
                planned.append(PlannedTensor(f"{placed.tensor}.{suffix}", shape, _F32))
            factor = facts.scales[module] * facts.ranks[module] / alpha
            sources.append((a, b, placed, factor))

        def contents() -> Iterator[npt.NDArray[np.float32]]:
            import numpy as np

            for a, b, placed, factor in sources:
                yield _finite(facts, a, np.ascontiguousarray(adapter.rows(a)))
                rows = adapter.rows(b)
                rows = rows if placed.order is None else rows[placed.order]
                rows = rows if factor == 1.0 else (rows * np.float32(factor))
                yield _finite(facts, b, np.ascontiguousarray(rows))

        write_gguf(out, keys, planned, contents())


def _pairs(adapter: TensorReader) -> dict[str, tuple[str, str]]:
    from dlm_engine.export.capabilities import module_of

    found: dict[str, dict[str, str]] = {}
    for name in adapter.names():
        module, _, part = module_of(name).rpartition(".")
        if part in {"lora_A", "lora_B"}:
            found.setdefault(module, {})[part] = name
    return {m: (p["lora_A"], p["lora_B"]) for m, p in found.items() if len(p) == 2}


def _finite(
    facts: AdapterFacts, name: str, array: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    import numpy as np

    if np.isfinite(array).all():
        return array
    raise ExportError(
        str(facts.path), f"{name} holds numbers that are not finite", "train again, or roll back"
    )


def lora_updates(path: Path) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """What a runtime will add, read from the file alone: (tensor name, scale * B·A).

    Follows llama.cpp's `llama_adapter_lora_weight::get_scale`.
    """
    with GgufFile(path) as file:
        alpha = float(file.values["adapter.lora.alpha"])
        for name in file.tensors:
            tensor, dot, part = name.rpartition(".lora_b")
            if not dot or part:
                continue
            a, b = file.rows(f"{tensor}.lora_a"), file.rows(name)
            scale = alpha / b.shape[1] if alpha else 1.0
            yield tensor, (b @ a) * scale
