"""Other servers for .dlm files, each installed once into an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

PEERS = Path(__file__).resolve().parents[2] / ".cache" / "peers"
#: the engine it reads documents with; what that needs for training is left out
_WHOLE = ("dlm-lsp==0.1.1", "document-language-model==0.10.0")
_NEEDED = ("pygls==2.1.1", "lsprotocol==2025.0.0", "pydantic==2.14.3", "pyyaml==6.0.3")


def dlm_lsp() -> list[str] | None:
    """The command that starts dlm-lsp 0.1.1; None, after saying so, where it cannot be had."""
    folder = PEERS / "dlm-lsp-0.1.1"
    done = folder / "done"
    if not done.exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        for wanted in (["--no-deps", *_WHOLE], list(_NEEDED)):
            ran = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                print(f"dlm-lsp 0.1.1 could not be had: {_last(ran.stderr)}", file=sys.stderr)
                return None
        done.touch()
    return [str(folder / "bin" / "dlm-lsp")]


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else "pip failed"
