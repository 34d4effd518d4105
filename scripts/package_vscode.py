#!/usr/bin/env python3
"""Packages the VS Code extension together with the server it can install: out/dlm.vsix.

    .venv/bin/python scripts/package_vscode.py

The wheel of dlm holds compiled code (the grammar, for any Python from 3.11), so the package is
for this platform only and says so. Built from a copy of the sources: what an earlier build left in
the checkout would end up in the wheel. The same sources give the same bytes, by which the
extension knows whether what it installed is what it carries.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = ROOT / "clients" / "vscode"
SERVER = EXTENSION / "out" / "server"
PACKAGE = EXTENSION / "out" / "dlm.vsix"
#: All that `pip wheel` reads.
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "engine", "server", "grammar")
SYSTEMS = {"Linux": "linux", "Darwin": "darwin", "Windows": "win32"}
MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
#: The earliest moment that a zip archive can name.
EPOCH = "315532800"


def fail(problem: str, remedy: str) -> NoReturn:
    print(f"error: packaging: {problem}: {remedy}", file=sys.stderr)
    raise SystemExit(1)


def target() -> str:
    """This platform as `vsce package --target` names it."""
    machine = MACHINES.get(platform.machine().lower())
    system = SYSTEMS.get(platform.system())
    if system is None or machine is None:
        fail(f"VS Code has no name for {platform.platform()}", "package on another machine")
    if system == "linux" and platform.libc_ver()[0] != "glibc":
        system = "alpine"
    return f"{system}-{machine}"


def run(*command: str | Path, cwd: Path) -> None:
    words = [str(word) for word in command]
    environment = {
        **os.environ,
        "SOURCE_DATE_EPOCH": EPOCH,
        # What is said for debuggers names the folder of the build.
        "CFLAGS": f"{os.environ.get('CFLAGS', '')} -g0".strip(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        print(done.stdout + done.stderr, file=sys.stderr)
        fail(f"`{' '.join(words[:4])} ...` failed", "the reason stands above")


def copy_sources(folder: Path) -> None:
    """All of them but what building leaves behind."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("*.egg-info", "__pycache__", "*.so", "*.pyd", "build")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy2(source, folder / name)


def bundle() -> None:
    """The wheel, the constraints it is tested with, and what says which they are."""
    shutil.rmtree(SERVER, ignore_errors=True)
    SERVER.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as made:
        sources = Path(made) / "dlm"
        sources.mkdir()
        copy_sources(sources)
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
        run(*pip, "--wheel-dir", SERVER, sources, cwd=sources)
    [wheel] = SERVER.glob("dlm-*.whl")
    constraints = SERVER / "constraints.txt"
    shutil.copyfile(ROOT / "constraints.txt", constraints)
    digest = hashlib.sha256(wheel.read_bytes() + constraints.read_bytes()).hexdigest()
    said = {
        "wheel": wheel.name,
        "constraints": constraints.name,
        "version": wheel.name.split("-")[1],
        "digest": digest,
    }
    (SERVER / "bundle.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    if not (EXTENSION / "node_modules").is_dir():
        fail("the extension's modules are missing", "run `npm ci` in clients/vscode")
    bundle()
    vsce = EXTENSION / "node_modules" / "@vscode" / "vsce" / "vsce"
    options = ("--no-dependencies", "--allow-missing-repository", "--target", target())
    run("node", vsce, "package", *options, "--out", PACKAGE, cwd=EXTENSION)
    size = PACKAGE.stat().st_size / 1e6
    print(f"{PACKAGE.relative_to(ROOT)} for {target()} ({size:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
