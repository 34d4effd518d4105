#!/usr/bin/env python3
"""Makes a folder that Zed can install as an extension.

    python3 scripts/package_zed.py FOLDER

Zed takes a grammar from a commit of a git repository, by the repository's address, and builds
it and the extension in the extension's own folder. Which commit, and where, only the checkout
knows: so the folder is a copy of clients/zed with that written into it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
GRAMMAR = "grammar/tree-sitter-dlm"
MANIFEST = "extension.toml"


def fail(problem: str, remedy: str) -> NoReturn:
    print(f"error: the Zed extension: {problem}: {remedy}", file=sys.stderr)
    raise SystemExit(1)


def git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True)
    except FileNotFoundError:
        fail("there is no git", "install it; Zed needs it too")
    if done.returncode:
        fail(f"{root} is no git repository with a commit", "clone dlm with git")
    return done.stdout.strip()


def is_made_here(folder: Path) -> bool:
    manifest = folder / MANIFEST
    if manifest.is_file():
        return 'id = "dlm"\n' in manifest.read_text(encoding="utf-8")
    return folder.is_dir() and not any(folder.iterdir())


def package(root: Path, folder: Path) -> None:
    """Copy the extension in the checkout `root` to `folder`, with the grammar's place."""
    if folder.exists() and not is_made_here(folder):
        fail(f"{folder} holds something else", "name a new folder, or one that was made before")
    if git(root, "status", "--porcelain", "--", GRAMMAR):
        fail(f"{GRAMMAR} has changes that are not committed", "commit them, Zed takes a commit")
    top = Path(git(root, "rev-parse", "--show-toplevel"))
    commit = git(root, "rev-parse", "HEAD")
    path = (root / GRAMMAR).relative_to(top.resolve()).as_posix()
    shutil.copytree(root / "clients" / "zed", folder, dirs_exist_ok=True)
    with (folder / MANIFEST).open("a", encoding="utf-8") as manifest:
        manifest.write(
            f'\n[grammars.dlm]\nrepository = "{top.as_uri()}"\nrev = "{commit}"\npath = "{path}"\n'
        )


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__, file=sys.stderr)
        raise SystemExit(2)
    folder = Path(sys.argv[1]).expanduser().resolve()
    package(ROOT, folder)
    print(f"{folder}: choose it in Zed with `zed: install dev extension`")


if __name__ == "__main__":
    main()
