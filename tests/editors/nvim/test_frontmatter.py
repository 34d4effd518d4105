"""The base and the id of a document, chosen from lists."""

from __future__ import annotations

from pathlib import Path

from tests.editors.nvim.neovim import TAKE, Neovim
from tests.tiny import document_text

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


def test_the_base_and_the_id_are_changed(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("smollm2-135m"))
    with Neovim(path) as nvim:
        nvim.attached()
        nvim.lua(TAKE % "qwen2.5-0.5b")
        nvim.command("DlmBase")
        nvim.until("vim.fn.search('base_model: qwen2.5-0.5b', 'nw') > 0")
        assert nvim.lua("return DlmTest.offered")[0].startswith("smollm2-135m · ")
        nvim.command("DlmBase smollm2-360m")
        nvim.until("vim.fn.search('base_model: smollm2-360m', 'nw') > 0")
        nvim.lua(TAKE % "Leave it")
        nvim.command("DlmNewId")
        assert DLM_ID in nvim.text()
        nvim.lua(TAKE % "Give it a new id")
        nvim.command("DlmNewId")
        nvim.until(f"vim.fn.search('{DLM_ID}', 'nw') == 0")
