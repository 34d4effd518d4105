"""Reading a GGUF file: its facts and where its tensors lie.

Invariant: what is returned lies inside the file; anything else is one `BaseModelError`.
The `gguf` package has a reader too, but it makes a memory-map view per token and merge:
half a minute on a busy machine for a vocabulary that this reads in a fraction of a second.
Layout: the GGUF description of the ggml project, version 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_engine.errors import BaseModelError

_SCALARS = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: struct.Struct("<I"),
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: struct.Struct("<Q"),
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` with rows first, `kind` the ggml type number, `offset` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class Gguf:
    """A GGUF file, read once. `gguf[name]` is a header value; a missing one is an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._position = 0
        try:
            with path.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            self._read()
        except (OSError, ValueError, struct.error, KeyError, IndexError) as error:
            raise BaseModelError(str(path), f"it is not a whole GGUF file ({error})") from error

    def __getitem__(self, name: str) -> Any:
        if name not in self.facts:
            raise BaseModelError(str(self.path), f"its header has no {name}")
        return self.facts[name]

    def data(self, tensor: GgufTensor, size: int) -> bytes:
        """`size` bytes of `tensor`."""
        end = tensor.offset + size
        if end > len(self._bytes):
            raise BaseModelError(str(self.path), f"it ends within {tensor.name}")
        return self._bytes[tensor.offset : end]

    def _read(self) -> None:
        if self._take(4) != b"GGUF" or self._number(_U32) != 3:
            raise ValueError("no GGUF version 3 header")
        tensors, facts = self._number(_U64), self._number(_U64)
        self.facts: dict[str, Any] = {}
        for _ in range(facts):
            name = self._string()
            self.facts[name] = self._value(self._number(_U32))
        found = [self._tensor() for _ in range(tensors)]
        alignment = int(self.facts.get("general.alignment", 32))
        start = -(-self._position // alignment) * alignment
        self.tensors = tuple(
            GgufTensor(each.name, each.shape, each.kind, start + each.offset) for each in found
        )

    def _tensor(self) -> GgufTensor:
        name = self._string()
        extents = tuple(self._number(_U64) for _ in range(self._number(_U32)))
        return GgufTensor(name, extents[::-1], self._number(_U32), self._number(_U64))

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._number(_SCALARS[kind])
        element, count = self._number(_U32), self._number(_U64)
        return [self._value(element) for _ in range(count)]

    def _string(self) -> str:
        return self._take(self._number(_U64)).decode("utf-8")

    def _number(self, layout: struct.Struct) -> Any:
        return layout.unpack(self._take(layout.size))[0]

    def _take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._bytes):
            raise ValueError("its header is cut off")
        taken = self._bytes[self._position : end]
        self._position = end
        return taken
