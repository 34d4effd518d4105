"""Decisions that a training asks for, and what is small: runs, store, base, id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import Neovim
from tests.tiny import document_text

from dlm_engine.store import Store

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"

#: takes what contains the word, of whatever is offered
TAKE = """
DlmTest.offered = {}
vim.ui.select = function(items, options, done)
  local taken, at
  for i, item in ipairs(items) do
    local shown = (options.format_item or tostring)(item)
    table.insert(DlmTest.offered, shown)
    if not taken and shown:find('%s', 1, true) then
      taken, at = item, i
    end
  end
  done(taken, at)
end
"""


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
