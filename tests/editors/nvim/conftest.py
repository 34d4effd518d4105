from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import Neovim
from tests.tiny import write_base


@pytest.fixture(scope="session")
def parser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree-sitter parser, built by the plugin's own command."""
    with Neovim() as nvim:
        nvim.command("DlmInstallParser")
        nvim.told("parser built: ")
        built = tmp_path_factory.mktemp("parser") / "dlm.so"
        shutil.copy(nvim.data / "site" / "parser" / "dlm.so", built)
    return built


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("tiny-base"))
