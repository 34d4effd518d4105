"""A document's store and its runs, and the decisions that a training asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import TAKE, Neovim
from tests.tiny import document_text

from dlm_engine.store import Store

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"


@pytest.mark.slow
def test_runs_store_and_what_a_training_asks(
    tmp_path: Path, tiny_base: Path, own_home: Path
) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra="training:\n  num_epochs: 12\n"))
    init = "vim.lsp.config('dlm', { settings = { dlm = { train = { on = 'never' } } } })"
    store = Store(own_home, DLM_ID)
    with Neovim(path, init=init) as nvim:
        nvim.attached()
        nvim.command("DlmRuns")
        nvim.told("not trained yet")
        nvim.command("DlmOpenStore")
        nvim.told("the document has no store yet")
        nvim.command("DlmTrain further")
        nvim.told("train how?")
        nvim.command("DlmTrain")
        nvim.told("version 1: ")

        # Another torch made that version.
        lock = store.root / "dlm.lock"
        value = json.loads(lock.read_text())
        now = value["pinned_versions"]["torch"]
        value["pinned_versions"]["torch"] = "9.0.0"
        lock.write_text(json.dumps(value))
        nvim.lua(TAKE % "Accept the change")
        nvim.command("DlmTrain anew")
        nvim.told("version 2: ")
        offered = nvim.lua("return DlmTest.offered")
        assert len(offered) == 2, offered
        assert "Accept the change" in offered[0]
        assert json.loads(lock.read_text())["pinned_versions"]["torch"] == now

        nvim.command("DlmRuns")
        nvim.until("vim.fn.search('run 2', 'nw') > 0")
        newer, older = nvim.text().splitlines()
        assert newer.startswith("run 2 · version 2 · ")
        assert " · 12 steps · loss " in older
        assert older.endswith("▁")
        assert "█" in older
        nvim.command("close")
        nvim.command("DlmOpenStore")
        nvim.until(f"vim.fn.expand('%:p'):find('{DLM_ID}', 1, true)")


def test_a_question_takes_a_licence_as_a_training_does(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("llama-3.2-1b"))
    with Neovim(path) as nvim:
        nvim.attached()
        nvim.lua(TAKE % "Accept the licence")
        nvim.command("DlmPrompt! Who keeps the lamp?")
        nvim.told("llama-3.2-1b: its weights")
        offered = ["Accept the licence LicenseRef-Llama-3.2", "Read the licence"]
        assert nvim.lua("return DlmTest.offered") == offered
        # It is remembered, and what fails in the same way again is said again.
        said = len(nvim.notified())
        nvim.command("DlmPrompt! Who keeps the lamp?")
        nvim.until(f"#DlmTest.notified > {said}")
        assert nvim.lua("return DlmTest.offered") == offered
