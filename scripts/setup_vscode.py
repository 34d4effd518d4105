#!/usr/bin/env python3
"""Puts a real VS Code under .cache/editors/vscode, to be driven in a browser by tests.

    python3 scripts/setup_vscode.py [--system-packages]

The parts come from the npm registry: code-server carries VS Code's own server and workbench.
Its modules are installed without their scripts, which would fetch programs from elsewhere, and
the few with native code are compiled here. A stamp, written last, holds a digest of what
decides the content, so a second run does nothing and an interrupted one starts anew. Runs on
the system's Python with the standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".cache" / "editors" / "vscode"
STAMP = FOLDER / "setup.json"
LOG = ROOT / ".cache" / "editors" / "setup.log"
EXTENSION = ROOT / "clients" / "vscode"
CODE = FOLDER / "node_modules" / "code-server" / "lib" / "vscode"

#: The newest VS Code that runs on Node 20; and what drives the browser.
PACKAGES = {"code-server": "4.100.3", "playwright-core": "1.65.1", "node-gyp": "11.5.0"}
#: Modules with code to compile, without which the server does not start.
NATIVE = ("@vscode/spdlog", "native-watchdog", "node-pty", "@vscode/deviceid", "kerberos")
#: Debian's names of what must be there besides Node.
SYSTEM = ("chromium", "ripgrep", "g++", "make", "libkrb5-dev", "fonts-dejavu-core")
OLDEST_NODE = 20
QUIET = ("--no-audit", "--no-fund", "--loglevel=error")


def fail(problem: str, remedy: str) -> NoReturn:
    print(f"error: set-up of VS Code: {problem}: {remedy}", file=sys.stderr)
    raise SystemExit(1)


def run(*command: str | Path, cwd: Path) -> None:
    """Run quietly; on failure show the end of what the command said."""
    words = [str(word) for word in command]
    # One compiler at a time: this is a guest on somebody's machine.
    environment = {**os.environ, "JOBS": "1", "npm_config_update_notifier": "false"}
    with LOG.open("a", encoding="utf-8") as log:
        print(f"$ {' '.join(words)}", file=log, flush=True)
        done = subprocess.run(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    if done.returncode != 0:
        tail = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-30:]
        print("\n".join(tail), file=sys.stderr)
        fail(f"`{' '.join(words)}` failed", f"see {LOG}")


def node_version() -> int:
    """The major version of Node, 0 without one."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return int(said.stdout.strip().removeprefix("v").partition(".")[0] or 0)


def headers() -> list[str]:
    """Where Node's headers lie, when they came with it; else node-gyp finds its own."""
    prefix = Path(os.path.realpath(shutil.which("node") or "/")).parent.parent
    there = (prefix / "include" / "node" / "node_api.h").is_file()
    return [f"--nodedir={prefix}"] if there else []


def install_system_packages() -> None:
    programs = {"chromium": "chromium", "ripgrep": "rg", "g++": "g++", "make": "make"}
    missing = [p for p in SYSTEM if p not in programs or shutil.which(programs[p]) is None]
    if not missing:
        return
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    run(*sudo, "apt-get", "update", "-qq", cwd=ROOT)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run(*sudo, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing, cwd=ROOT)


def digest() -> str:
    decides = json.dumps([PACKAGES, NATIVE, node_version(), str(ROOT)]).encode()
    return hashlib.sha256(Path(__file__).read_bytes() + decides).hexdigest()


def install_code() -> None:
    if STAMP.is_file() and json.loads(STAMP.read_text()).get("digest") == digest():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    (FOLDER / "package.json").write_text('{"name": "dlm-editors", "private": true}\n')
    names = [f"{name}@{version}" for name, version in PACKAGES.items()]
    run("npm", "install", "--ignore-scripts", *QUIET, *names, cwd=FOLDER)
    modules = ("npm", "install", "--omit=dev", "--ignore-scripts", "--legacy-peer-deps", *QUIET)
    run(*modules, cwd=CODE)
    run(*modules, cwd=CODE / "extensions")
    gyp = FOLDER / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"
    for name in NATIVE:
        run("node", gyp, "rebuild", *headers(), cwd=CODE / "node_modules" / name)
    searcher = CODE / "node_modules" / "@vscode" / "ripgrep" / "bin" / "rg"
    searcher.parent.mkdir(exist_ok=True)
    searcher.symlink_to(shutil.which("rg") or "/usr/bin/rg")
    (CODE / "node_modules.asar").symlink_to("node_modules")
    STAMP.write_text(json.dumps({"digest": digest(), "made": time.time()}))


def install_extension_parts() -> None:
    """What building the extension needs, as its lock file has it."""
    lock = EXTENSION / "package-lock.json"
    stamp = EXTENSION / "node_modules" / ".dlm-setup"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    # Their scripts only fetch or move programs that the packages for this machine carry.
    run("npm", "ci", "--ignore-scripts", *QUIET, cwd=EXTENSION)
    stamp.write_text(wanted)


def main() -> int:
    LOG.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with (LOG.parent / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        LOG.write_text("")
        if node_version() < OLDEST_NODE:
            fail(f"Node {OLDEST_NODE} or newer with npm is needed", "install it")
        if "--system-packages" in sys.argv[1:]:
            install_system_packages()
        for program in ("chromium", "rg", "g++", "make"):
            if shutil.which(program) is None:
                fail(f"{program} is missing", f"install {' '.join(SYSTEM)}, or --system-packages")
        install_code()
        install_extension_parts()
    print(f"VS Code is in {FOLDER.relative_to(ROOT)} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
