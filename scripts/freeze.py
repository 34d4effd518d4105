#!/usr/bin/env python3
"""Writes constraints.txt anew: what `.venv` holds of dlm's dependencies, extras and tools.

What else lies in `.venv` (another tool of yours, a weights package) stays out, and so do
local version parts (`2.13.0+cpu`), which name a build and not a version. Pins of packages
that this machine has not installed are kept as they are.

    .venv/bin/python scripts/freeze.py
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONSTRAINTS = Path(__file__).resolve().parent.parent / "constraints.txt"
HEADER = """\
# Exact versions of everything dlm, its extras and its tools are tested with.
# Used as: pip install -c constraints.txt -e '.[dev,gguf]'. Written by scripts/freeze.py.

"""
#: builds dlm, and is no dependency of it
BUILD_TOOLS = {"setuptools", "wheel"}


def installed(name: str) -> str | None:
    try:
        return distribution(name).version.split("+")[0]
    except PackageNotFoundError:
        return None


def requirements_of(name: str, extras: set[str]) -> set[tuple[str, frozenset[str]]]:
    """What `name` with `extras` requires on this machine, each with its own extras."""
    found = set()
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        environments = [{"extra": extra} for extra in extras | {""}]
        if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
            wanted = frozenset(requirement.extras)
            found.add((str(canonicalize_name(requirement.name)), wanted))
    return found


def dependencies() -> set[str]:
    """Everything dlm needs here, directly or not, with all its extras."""
    extras = set(distribution("dlm").metadata.get_all("Provides-Extra") or [])
    waiting = requirements_of("dlm", extras)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = item = waiting.pop()
        seen.add(item)
        if installed(name) is not None:
            waiting |= requirements_of(name, set(wanted)) - seen
    return {name for name, _ in seen} | BUILD_TOOLS


def main() -> None:
    old = dict(
        line.split("==", 1)
        for line in CONSTRAINTS.read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    needed = dependencies()
    pins = {name: version for name, version in old.items() if installed(name) is None}
    pins |= {name: version for name in needed if (version := installed(name)) is not None}
    CONSTRAINTS.write_text(HEADER + "".join(f"{n}=={pins[n]}\n" for n in sorted(pins)))


if __name__ == "__main__":
    main()
