from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import document_text, write_base


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("tiny-base"))


@pytest.fixture
def document(tmp_path: Path, tiny_base: Path) -> Path:
    """Three facts on the tiny base, which learns them in about sixty steps."""
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base)))
    return path
