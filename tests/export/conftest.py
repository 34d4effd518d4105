from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import export_parts as parts


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = parts.llama(tmp_path_factory.mktemp("tiny") / "base")
    return folder


@pytest.fixture(scope="session")
def tiny_gguf(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = parts.f16_gguf(tiny, tmp_path_factory.mktemp("gguf") / "base.gguf")
    return file
