"""A model folder in Hugging Face form to a 16-bit GGUF, by llama.cpp's own converter.

Sixteen bits are what every quantisation starts from, as in llama.cpp. The converter runs
in a child process: it changes `sys.path`, parses `sys.argv` and ends the interpreter
when something is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dlm_engine.errors import ExportError
from dlm_engine.export import engines

_UNKNOWN = ("is not supported", "BPE pre-tokenizer was not recognized")


def convert_to_gguf(folder: Path, out: Path, *, name: str) -> None:
    """Write `folder` as an F16 GGUF to `out`.

    Raises:
        ExportError: the packages are missing, llama.cpp does not know the architecture or
            tokenizer, or the disk is full.
    """
    script = engines.converter()
    weights = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    command: list[str | Path] = [
        sys.executable, script, folder,
        "--outfile", out, "--outtype", "f16", "--model-name", name,
    ]  # fmt: skip
    try:
        engines.run_child("converting the base", command, seconds=engines.time_limit(weights))
    except ExportError as error:
        if any(text in error.problem for text in _UNKNOWN):
            raise ExportError(
                str(folder),
                f"llama.cpp cannot hold this base ({error.problem})",
                "choose another base",
            ) from error
        raise
    if not out.is_file():
        raise ExportError("converting the base", "ended well but wrote no file", "")
