"""Reading and writing GGUF containers, version 3, little endian.

Owns the container only: header, key-value section, tensor table, aligned data. The
values of a file that is rewritten are carried over as raw bytes, so nothing is lost in
decoding and encoding again. The header is read as `bases` reads it, which also says why not
`gguf.GGUFReader`; a test holds the two against each other.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from dlm_engine.bases.gguf_read import decoded, is_list, read_header
from dlm_engine.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_MAGIC = b"GGUF"
_VERSION = 3
_ALIGNMENT = 32
_UINT32, _FLOAT32, _BOOL, _STRING = 4, 6, 7, 8

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A row of the tensor table. `shape` is numpy's order: rows first, row length last.

    `offset` counts from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    type_id: int
    offset: int
    size: int

    @property
    def elements(self) -> int:
        return int(prod(self.shape))


def type_name(type_id: int) -> str:
    """`Q4_K` and the like; the number itself for a type this gguf package does not know."""
    from gguf import GGMLQuantizationType

    try:
        return str(GGMLQuantizationType(type_id).name)
    except ValueError:
        return f"type {type_id}"


def tensor_bytes(shape: Sequence[int], type_id: int) -> int:
    """Size of the data of a tensor; the row length must be a multiple of the block."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType(type_id)]
    if shape[-1] % block:
        raise ValueError(f"rows of {shape[-1]} do not divide into blocks of {block}")
    return prod(shape) // block * int(size)


class GgufFile:
    """An open GGUF. Use as a context manager; copy what must outlive it.

    Raises:
        ExportError: the file is not a GGUF of version 3, or is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("rb")
        try:
            self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            self._stream.close()
            raise _broken(path, "is empty") from None
        try:
            self._parse()
        except (ValueError, IndexError) as error:
            self.close()
            raise _broken(path, f"is not a readable GGUF ({error})") from error

    def __enter__(self) -> GgufFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        # An array from `data` that is still alive keeps the mapping; it goes with the array.
        with suppress(BufferError):
            self._map.close()
        self._stream.close()

    def _parse(self) -> None:
        header = read_header(self._map)
        #: raw bytes (type and value) of each key, in file order
        self.raw = dict(header.raw)
        self.values: dict[str, Value] = {
            key: decoded(raw) for key, raw in header.raw.items() if not is_list(raw)
        }
        self.tensors: dict[str, TensorInfo] = {}
        for each in header.tensors:
            size = tensor_bytes(each.shape, each.kind)
            if each.offset + size > len(self._map):
                raise ValueError(f"cut short: {each.name} lies beyond its end")
            self.tensors[each.name] = TensorInfo(
                each.name, each.shape, each.kind, each.offset, size
            )

    @property
    def architecture(self) -> str:
        return str(self.values["general.architecture"])

    def number(self, key: str) -> int | None:
        """An integer of the model's own section, such as `block_count`; None when absent."""
        value = self.values.get(f"{self.architecture}.{key}")
        return int(value) if isinstance(value, int) else None

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        """The stored bytes of a tensor."""
        import numpy as np

        info = self.tensors[name]
        return np.frombuffer(self._map, np.uint8, info.size, info.offset)

    def rows(self, name: str, stop: int | None = None, start: int = 0) -> npt.NDArray[np.float32]:
        """Rows `start` to `stop` (the last when None) as float32, shape (rows, row length).

        Dimensions before the last are flattened into rows.
        """
        import numpy as np
        from gguf import GGMLQuantizationType, quants

        info = self.tensors[name]
        per_row = tensor_bytes(info.shape[-1:], info.type_id)
        rows = info.elements // info.shape[-1]
        count = (rows if stop is None else min(stop, rows)) - start
        at = info.offset + start * per_row
        stored = np.frombuffer(self._map, np.uint8, count * per_row, at)
        kind = GGMLQuantizationType(info.type_id)
        if kind == GGMLQuantizationType.F32:
            return stored.view(np.float32).reshape(count, -1).copy()
        if kind == GGMLQuantizationType.F16:
            return stored.view(np.float16).reshape(count, -1).astype(np.float32)
        decoded: npt.NDArray[np.float32] = quants.dequantize(stored.reshape(count, per_row), kind)
        return decoded.reshape(count, -1)


def _broken(path: Path, problem: str) -> ExportError:
    return ExportError(str(path), problem, "export again; if it happens again, check the disk")


# --- writing -----------------------------------------------------------------------------


def encode(value: Value) -> bytes:
    """Type and value as they stand in the key-value section; whole numbers become u32."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", _FLOAT32, value)
    text = value.encode("utf-8")
    return struct.pack("<IQ", _STRING, len(text)) + text


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """A tensor to be written; `shape` in numpy's order."""

    name: str
    shape: tuple[int, ...]
    type_id: int


def write_gguf(
    path: Path,
    keys: Mapping[str, bytes],
    tensors: Sequence[PlannedTensor],
    contents: Iterator[Any],
) -> None:
    """Write a new file: `keys` already encoded, `contents` one array per tensor, in order.

    One tensor is in memory at a time. Raises plain `OSError`, and `ValueError` when an
    array has not the size its row of the table promises.
    """
    with path.open("xb") as stream:
        stream.write(struct.pack("<4sIQQ", _MAGIC, _VERSION, len(tensors), len(keys)))
        for key, raw in keys.items():
            stream.write(_text(key) + raw)
        offset = 0
        for tensor in tensors:
            shape = tuple(reversed(tensor.shape))
            stream.write(_text(tensor.name))
            stream.write(
                struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, tensor.type_id, offset)
            )
            offset += tensor_bytes(tensor.shape, tensor.type_id)
            offset += -offset % _ALIGNMENT
        _pad(stream)
        for tensor, array in zip(tensors, contents, strict=True):
            if array.nbytes != tensor_bytes(tensor.shape, tensor.type_id):
                raise ValueError(f"{tensor.name} has {array.nbytes} bytes")
            stream.write(memoryview(array).cast("B"))
            _pad(stream)


def _text(value: str) -> bytes:
    data = value.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _pad(stream: IO[bytes]) -> None:
    stream.write(bytes(-stream.tell() % _ALIGNMENT))
