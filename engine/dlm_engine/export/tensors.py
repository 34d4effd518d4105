"""Weights of a Hugging Face folder as float32 arrays, a tensor or a few rows at a time.

bfloat16 has no numpy type, so reading goes through torch; nothing else here does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TensorReader:
    """All safetensors files of a folder as one name space."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files

    def names(self) -> list[str]:
        return sorted(self._files)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def rows(self, name: str, stop: int | None = None, start: int = 0) -> npt.NDArray[np.float32]:
        """Rows `start` to `stop` (the last when None) of a tensor as float32."""
        part = self._files[name].get_slice(name)[start:stop]
        array: npt.NDArray[np.float32] = part.float().numpy()
        return array


@contextmanager
def open_tensors(paths: list[Path]) -> Iterator[TensorReader]:
    """Open safetensors files together.

    Raises:
        ExportError: a file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    with ExitStack() as stack:
        files: dict[str, Any] = {}
        for path in paths:
            try:
                file = stack.enter_context(safe_open(str(path), framework="pt"))
            except (OSError, SafetensorError) as error:
                raise ExportError(
                    str(path), f"cannot be read ({error})", "restore it, or train or fetch it again"
                ) from error
            files |= dict.fromkeys(file.keys(), file)
        yield TensorReader(files)
