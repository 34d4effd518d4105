"""Where each tensor of a base lies in its files, to read a part of one and no more.

Nothing is mapped: what is mapped counts as memory of the process, in whole where it may be
written to, and only what is read is wanted. The files are those that transformers would load.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlm_engine.bases.files import check_safetensors, read_json
from dlm_engine.errors import BaseModelError

WEIGHTS: Final = "model.safetensors"
INDEX: Final = f"{WEIGHTS}.index.json"


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file: `dtype` as safetensors names it, `start` its first byte there."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer`, of bytes, with the tensor's from its byte `offset` on.

        Raises:
            BaseModelError: the file cannot be read, or is shorter than it was.
        """
        try:
            with self.path.open("rb", buffering=0) as stream:
                stream.seek(self.start + offset)
                done = 0
                while done < len(buffer):
                    count = stream.readinto(buffer[done:])
                    if not count:
                        raise BaseModelError(str(self.path), "it is not whole", "get it again")
                    done += count
        except OSError as error:
            raise BaseModelError(str(self.path), f"it cannot be read ({error.strerror})") from error


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of the base in `folder`, by name.

    Raises:
        BaseModelError: a file is missing or damaged.
    """
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        names = [WEIGHTS]
    else:
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    found: dict[str, Stored] = {}
    for name in names:
        path = folder / str(name)
        check_safetensors(path)
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        for tensor, entry in header.items():
            if tensor != "__metadata__":
                start = 8 + length + int(entry["data_offsets"][0])
                found[tensor] = Stored(path, str(entry["dtype"]), tuple(entry["shape"]), start)
    return found
