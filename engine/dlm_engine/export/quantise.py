"""An F16 GGUF to Q8_0, Q6_K, Q5_K_M or Q4_K_M: which tensor takes which type, and doing it.

The mix follows llama.cpp (`llama_tensor_get_type_impl` and `tensor_type_fallback`), so a
file called Q4_K_M is what llama.cpp users expect by that name: more bits for the output
and for some value and down projections, and block types of 32 where rows do not divide
by 256. The kernel is llama.cpp's `ggml_quantize_chunk`, called in xllamacpp's library
(the numpy one of the `gguf` package gives the same bytes, more slowly, and has no K
types). Everything but the file type is carried over byte for byte.

`quantise` starts this module again as a child, because the native call ends the process
where Python would raise.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.export import engines
from dlm_engine.export.gguf_file import (
    GgufFile,
    PlannedTensor,
    TensorInfo,
    encode,
    type_name,
    write_gguf,
)
from dlm_engine.export.model import Quant

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_DEFAULT_TYPE: Mapping[Quant, str] = {
    Quant.Q8_0: "Q8_0",
    Quant.Q6_K: "Q6_K",
    Quant.Q5_K_M: "Q5_K",
    Quant.Q4_K_M: "Q4_K",
}
#: `general.file_type`, llama.cpp's `llama_ftype`
_FILE_TYPE: Mapping[Quant, int] = {
    Quant.Q8_0: 7, Quant.Q4_K_M: 15, Quant.Q5_K_M: 17, Quant.Q6_K: 18,
}  # fmt: skip
_FALLBACK: Mapping[str, str] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_BLOCK: Mapping[str, int] = {
    "Q4_K": 256, "Q5_K": 256, "Q6_K": 256, "Q8_0": 32, "Q5_0": 32, "Q5_1": 32,
}  # fmt: skip
_KEPT = re.compile(
    r"_norm\.weight$|ffn_gate_inp|altup|laurel|per_layer_model_proj|ssm_conv1d|shortconv\.conv"
    r"|position_embd|token_types|time_mix_|attn_rel_b|\.rel_pos|\.patch_"
)
_LAYER = re.compile(r"^blk\.(\d+)\.")
_VALUE = ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight")
_CHUNK_BYTES = 2**22
_MANY_EXPERTS = 8


def choose_types(tensors: Mapping[str, TensorInfo], quant: Quant, experts: int) -> dict[str, str]:
    """The type name of every tensor of a model stored as `quant`.

    Tensors that stay as they are keep their present type. `experts` is the number of
    experts per layer, 0 for a dense model.
    """
    tied = "output.weight" not in tensors
    values = sum(name.endswith(_VALUE) for name in tensors)
    downs = len({_layer(name) for name in tensors if "ffn_down" in name})
    chosen = {}
    for name, info in tensors.items():
        if len(info.shape) < 2 or not name.endswith("weight") or _KEPT.search(name):
            chosen[name] = type_name(info.type_id)
            continue
        kind = _wanted(name, info.shape[-1], quant, experts, values, downs, tied)
        chosen[name] = _fitting(kind, info.shape[-1])
    return chosen


def _wanted(
    name: str, columns: int, quant: Quant, experts: int, values: int, downs: int, tied: bool
) -> str:
    default = _DEFAULT_TYPE[quant]
    mixed = quant in {Quant.Q4_K_M, Quant.Q5_K_M}
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return "Q8_0" if default == "Q8_0" or columns % _BLOCK[default] else "Q6_K"
    if experts == _MANY_EXPERTS and name.endswith((*_VALUE, "attn_k.weight")):
        return "Q8_0"
    if experts == _MANY_EXPERTS and quant is Quant.Q4_K_M and name.endswith("attn_output.weight"):
        return "Q5_K"
    if mixed and name.endswith(_VALUE) and _more_bits(_layer(name), values):
        return "Q6_K"
    if mixed and "ffn_down" in name and _more_bits(_layer(name), downs):
        return "Q6_K"
    return default


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found.group(1)) if found else 0


def _fitting(kind: str, columns: int) -> str:
    if columns % _BLOCK[kind] == 0:
        return kind
    fallback = _FALLBACK.get(kind, "F16")
    return fallback if fallback == "F16" or columns % _BLOCK[fallback] == 0 else "F16"


def quantise(source: Path, out: Path, quant: Quant, quantiser: engines.Quantiser) -> None:
    """Write `source`, an F16 GGUF, as `quant` to `out`, in a child process.

    Raises:
        ExportError: the quantiser failed, crashed, took too long, or the disk is full.
    """
    seconds = engines.time_limit(source.stat().st_size)
    threads = str(_threads())
    if quantiser.binary is not None:
        command: list[str | Path] = [quantiser.binary, source, out, quant.value, threads]
        engines.run_child("llama-quantize", command, seconds=seconds)
        return
    request = {
        "source": str(source),
        "out": str(out),
        "quant": quant.value,
        "library": str(engines.native_library()),
        "threads": int(threads),
    }
    engines.run_child(
        "quantising",
        engines.python_module(__name__),
        seconds=seconds,
        stdin=json.dumps(request).encode(),
    )


def _threads() -> int:
    return max(1, min(8, os.cpu_count() or 1))


# --- in the child ------------------------------------------------------------------------


def _write(source: Path, out: Path, quant: Quant, library: Path, threads: int) -> None:
    from gguf import GGMLQuantizationType

    native = _native(library)
    with GgufFile(source) as file, ThreadPoolExecutor(threads) as pool:
        types = choose_types(file.tensors, quant, file.number("expert_count") or 0)
        planned = [
            PlannedTensor(i.name, i.shape, int(GGMLQuantizationType[types[i.name]]))
            for i in file.tensors.values()
        ]
        keys = {**file.raw, "general.file_type": encode(_FILE_TYPE[quant])}
        keys["general.quantization_version"] = encode(2)

        def contents() -> Iterator[npt.NDArray[np.uint8]]:
            for tensor in planned:
                info = file.tensors[tensor.name]
                if tensor.type_id == info.type_id:
                    yield file.data(tensor.name)
                else:
                    yield _encoded(file, info, types[tensor.name], native, pool)

        write_gguf(out, keys, planned, contents())


def _encoded(
    file: GgufFile,
    info: TensorInfo,
    kind: str,
    native: ctypes._NamedFuncPointer,
    pool: ThreadPoolExecutor,
) -> npt.NDArray[np.uint8]:
    import numpy as np
    from gguf import GGMLQuantizationType

    rows = file.rows(info.name)
    step = max(1, _CHUNK_BYTES // (4 * info.shape[-1]))
    type_id = int(GGMLQuantizationType[kind])

    def encode_rows(start: int) -> npt.NDArray[np.uint8]:
        return _native_rows(native, np.ascontiguousarray(rows[start : start + step]), type_id)

    return np.concatenate(list(pool.map(encode_rows, range(0, len(rows), step))))


def _native_rows(
    native: ctypes._NamedFuncPointer, rows: npt.NDArray[np.float32], type_id: int
) -> npt.NDArray[np.uint8]:
    import numpy as np

    from dlm_engine.export.gguf_file import tensor_bytes

    out = np.empty(tensor_bytes(rows.shape, type_id), np.uint8)
    # ctypes lets go of the interpreter lock, so the pool's threads really run side by side.
    written = native(
        type_id,
        rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
        out.ctypes.data_as(ctypes.c_void_p),
        0,
        rows.shape[0],
        rows.shape[1],
        None,
    )
    if written != out.nbytes:
        raise ValueError(f"the quantiser wrote {written} bytes instead of {out.nbytes}")
    return out


def _native(library: Path) -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(str(library)).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_float),
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.c_int64,
        ctypes.POINTER(ctypes.c_float),
    ]
    return function


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    _write(
        Path(asked["source"]),
        Path(asked["out"]),
        Quant(asked["quant"]),
        Path(asked["library"]),
        asked["threads"],
    )
