"""Reading a GGUF file: its facts and where its tensors lie.

Invariant: what is returned lies inside the file; anything else is one error. The `gguf`
package has a reader too, but it makes a memory-map view per token and merge: half a minute
on a busy machine for a vocabulary that this reads in a fraction of a second.
Layout: the GGUF description of the ggml project, version 3, little-endian.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_engine.errors import BaseModelError

_STRING, _ARRAY = 8, 9
#: struct's letter of each type that has a fixed size
_SCALARS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: `shape` with rows first, `kind` the ggml type number, `offset` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """`raw` is type and value of each key as they stand in the file, in its order."""

    raw: Mapping[str, bytes]
    tensors: tuple[GgufTensor, ...]


def read_header(data: mmap.mmap) -> Header:
    """Everything before the tensors' data. Raises `ValueError` where it is not all there."""
    try:
        return _header(data)
    except (struct.error, KeyError, OverflowError) as error:
        raise ValueError(f"its header is damaged or cut off: {error}") from error


def decoded(raw: bytes) -> Any:
    """The value of a key of `Header.raw`: a text, a number, a truth value or a list of them."""
    (kind,) = struct.unpack_from("<I", raw, 0)
    if kind == _STRING:
        return _text(raw, 4)[0]
    if kind != _ARRAY:
        return struct.unpack_from(f"<{_SCALARS[kind]}", raw, 4)[0]
    element, count = struct.unpack_from("<IQ", raw, 4)
    if element != _STRING:
        return list(struct.unpack_from(f"<{count}{_SCALARS[element]}", raw, 16))
    texts, at = [], 16
    for _ in range(count):
        text, at = _text(raw, at)
        texts.append(text)
    return texts


def is_list(raw: bytes) -> bool:
    """Whether the value of a key is a list, which may be as long as a vocabulary."""
    return bool(struct.unpack_from("<I", raw, 0)[0] == _ARRAY)


def _header(data: mmap.mmap) -> Header:
    magic, version, tensors, keys = struct.unpack_from("<4sIQQ", data, 0)
    if magic != b"GGUF" or version != 3:
        raise ValueError("it does not start as GGUF version 3 does")
    at = struct.calcsize("<4sIQQ")
    raw: dict[str, bytes] = {}
    for _ in range(keys):
        key, start = _text(data, at)
        at = _end_of_value(data, start)
        raw[key] = data[start:at]
    table = []
    for _ in range(tensors):
        name, at = _text(data, at)
        (rank,) = struct.unpack_from("<I", data, at)
        *sizes, kind, offset = struct.unpack_from(f"<{rank}QIQ", data, at + 4)
        at += 4 + 8 * rank + 12
        table.append((name, tuple(reversed(sizes)), kind, offset))
    alignment = decoded(raw["general.alignment"]) if "general.alignment" in raw else _ALIGNMENT
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"data aligned to {alignment}")
    start = at + -at % alignment
    found = (GgufTensor(name, shape, kind, start + offset) for name, shape, kind, offset in table)
    return Header(raw, tuple(found))


def _text(data: mmap.mmap | bytes, at: int) -> tuple[str, int]:
    """A text, and where it ends."""
    (length,) = struct.unpack_from("<Q", data, at)
    at += 8
    if at + length > len(data):
        raise ValueError("a text runs past the end of the file")
    return data[at : at + length].decode("utf-8"), at + length


def _end_of_value(data: mmap.mmap, at: int) -> int:
    (kind,) = struct.unpack_from("<I", data, at)
    at += 4
    count = 1
    if kind == _ARRAY:
        kind, count = struct.unpack_from("<IQ", data, at)
        at += 12
    if kind != _STRING:
        at += int(count) * struct.calcsize(_SCALARS[kind])
    else:
        length_at = struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + int(length_at(data, at)[0])
    if at > len(data):
        raise ValueError("a value runs past the end of the file")
    return at


class Gguf:
    """A GGUF file, read once. `gguf[name]` is a header value; a missing one is an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            header = read_header(self._bytes)
            self.facts: dict[str, Any] = {name: decoded(raw) for name, raw in header.raw.items()}
        except (OSError, ValueError) as error:
            raise BaseModelError(str(path), f"it is not a whole GGUF file ({error})") from error
        self.tensors = header.tensors

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
