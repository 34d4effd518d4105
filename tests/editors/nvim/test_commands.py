"""The :Dlm commands, with the real server, its engine and a tiny base; and what they share."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import PLUGIN, Neovim
from tests.tiny import document_text

from dlm_engine.store import Store
from dlm_server.engine.commands import COMMANDS

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
PROBE = "### Q !probe\nWhere is the harbour?\n### A\nIt is at Norby.\n"
#: picks what contains the word, whenever something is to be chosen
PICK = """
vim.ui.select = function(items, options, done)
  for i, item in ipairs(items) do
    local shown = options.format_item(item)
    table.insert(DlmTest.offered, options.prompt .. ': ' .. shown)
  end
  if options.kind == 'lsp_message' then
    return done(nil)
  end
  for i, item in ipairs(items) do
    if options.format_item(item):find('%s', 1, true) then
      return done(item, i)
    end
  end
  done(nil)
end
"""

#: whether something is drawn in the text
DRAWN = (
    "vim.inspect(vim.api.nvim_buf_get_extmarks(0, require('dlm.results').namespace, 0, -1,"
    ' {{ details = true }})):find("{}", 1, true)'
)

#: takes none of what is offered
LEAVE = """
vim.ui.select = function(items, options, done)
  for _, item in ipairs(items) do
    table.insert(DlmTest.offered, item.title)
  end
  done(nil)
end
"""

#: the titles of all windows
TITLES = (
    "vim.iter(vim.api.nvim_list_wins()):map(function(w) "
    "return vim.inspect(vim.api.nvim_win_get_config(w).title) end):join('')"
)

#: keeps what the window of an answer says after each piece of it, and at its end
GROWING = """
local answer = require('dlm.answer')
local heard, begin = answer.heard, answer.begin
local function shown()
  for _, w in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(w).relative ~= '' then
      local lines = vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(w), 0, -1, false)
      return table.concat(lines, '\\n')
    end
  end
end
DlmTest.grown = {}
answer.heard = function(params)
  local ours = heard(params)
  if ours then
    table.insert(DlmTest.grown, shown() or '')
  end
  return ours
end
answer.begin = function(...)
  local begun = begin(...)
  local done = begun.done
  begun.done = function(text)
    done(text)
    DlmTest.whole = shown()
  end
  return begun
end
"""

#: a name of a command of the server, in Lua
_NAMED = re.compile(r"(?:run\(client, |ask\(client, bufnr, |add\(|reply_now\()'(dlm[./][A-Za-z]+)'")


@pytest.mark.slow
def test_a_document_is_trained_asked_and_trained_again(
    tmp_path: Path, tiny_base: Path, own_home: Path
) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra="training:\n  num_epochs: 12\n") + PROBE)
    init = (
        "vim.lsp.config('dlm', { settings = { dlm = { train = { settleMilliseconds = 0 } } } })\n"
        "DlmTest.states = {}\n"
        "vim.api.nvim_create_autocmd('User', { pattern = 'DlmStatus', callback = function() "
        "table.insert(DlmTest.states, require('dlm').status()) end })"
    )
    with Neovim(path, init=init) as nvim:
        nvim.attached()
        assert nvim.lua("return require('dlm').status()") == "dlm"

        nvim.command("DlmVersions")
        nvim.told("not trained yet")
        nvim.command("DlmTrain")
        nvim.told("version 1: ")
        states = nvim.lua("return DlmTest.states")
        assert any(state.startswith("dlm: training") for state in states), states
        store = Store(own_home, DLM_ID)
        assert [v.number for v in store.versions()] == [1]

        nvim.command("/Who keeps")
        nvim.command("DlmAsk")
        row = nvim.lua("return vim.fn.line('.') - 1")
        nvim.until(DRAWN.format("answered"))
        drawn = [text for at, text in nvim.virtual_lines() if at == row]
        assert "answered · version 1" in drawn[0]
        assert any("model " in text for text in drawn)
        assert any("base " in text for text in drawn)

        nvim.lua(GROWING)
        nvim.command("DlmPrompt Who keeps the lamp?")
        whole = nvim.until("DlmTest.whole")
        grown = nvim.lua("return DlmTest.grown")
        assert grown
        assert all(later.startswith(part) for part, later in itertools.pairwise([*grown, whole]))

        nvim.command("DlmProbe")
        nvim.told("of 1 probes passed")

        nvim.hit("gg/Where is the pier<CR>vt?")
        nvim.until("vim.api.nvim_get_mode().mode == 'v'")
        nvim.hit(":DlmAsk<CR>")
        nvim.until(DRAWN.format('version 1 · Where is the pier\\"'))

        nvim.hit("Go### Q<CR>Who sails?<CR>### A<CR>Bo sails.<Esc>")
        nvim.until("vim.fn.search('Bo sails', 'cnw') > 0")
        nvim.command("DlmTrain")
        nvim.told("write it first")
        nvim.command("write")
        nvim.told("version 2: ")

        nvim.lua("DlmTest.offered = {}\n" + PICK % "version 1")
        # As a lens of the server's has it run.
        nvim.lua(
            "vim.lsp.get_clients({ name = 'dlm' })[1]:exec_cmd({ title = '', "
            "command = 'dlm.versions', arguments = {} }, { bufnr = 0 })"
        )
        nvim.told("version 1 is current")
        offered = nvim.lua("return DlmTest.offered")
        assert any("version 2 (current)" in line for line in offered), offered
        assert nvim.lua("return vim.fn.getcompletion('DlmRollback ', 'cmdline')") == ["2"]
        nvim.command("DlmRollback 2")
        nvim.told("version 2 is current")
        nvim.command("DlmRollback 77")
        nvim.until(
            "vim.iter(DlmTest.notified):any(function(n) return n[1]:find('77', 1, true) end)"
        )


@pytest.mark.slow
def test_the_base_is_asked_and_a_training_cancelled(tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra="training:\n  num_epochs: 5000\n"))
    with Neovim(path) as nvim:
        nvim.attached()
        nvim.lua("vim.ui.input = function(_, done) done('Who keeps the lamp?') end")
        nvim.lua("DlmTest.offered = {}\n" + LEAVE)
        nvim.command("DlmPrompt")
        nvim.until("vim.iter(DlmTest.offered):any(function(o) return o == 'Train now' end)")
        nvim.command("DlmPrompt!")
        nvim.until(f"({TITLES}):find('Who keeps the lamp?', 1, true)")
        nvim.command("DlmCancel")
        nvim.told("nothing to cancel")

        nvim.command("DlmTrain")
        nvim.until("require('dlm').status():find('step', 1, true)")
        nvim.command("DlmCancel")
        nvim.told("cancelled 1")
        nvim.until("require('dlm').status() == 'dlm'")
        nvim.command("DlmInfo")
        nvim.until("vim.fn.search('executable', 'nw') > 0")


def test_export_is_chosen_and_completed(tmp_path: Path, tiny_base: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base)))
    with Neovim(path) as nvim:
        nvim.attached()
        complete = "return vim.fn.getcompletion('{}', 'cmdline')"
        assert nvim.lua(complete.format("DlmExport ")) == ["gguf", "ollama"]
        assert "Q4_K_M" in nvim.lua(complete.format("DlmExport gguf "))
        nvim.lua("DlmTest.offered = {}\n" + PICK % "nothing like it")
        nvim.command("DlmExport")
        nvim.until("#DlmTest.offered > 1")
        nvim.lua("DlmTest.offered = {}\n" + PICK % "")
        nvim.command("DlmExport")
        # Never trained, so there is nothing to export, and training is offered.
        nvim.until(
            "vim.iter(DlmTest.offered):any(function(o) return o:find(': Train now', 1, true) end)"
        )
        offered = nvim.lua("return DlmTest.offered")
        assert "Export to: GGUF files for llama.cpp" in offered
        assert offered[2].endswith("(the document's choice)"), offered


#: commands that act on a document, and what each says where there is no server
OF_DOCUMENTS = (
    *("DlmTrain", "DlmTrain!", "DlmCancel", "DlmPrompt x", "DlmAsk", "DlmProbe", "DlmExport"),
    *("DlmVersions", "DlmRollback 1", "DlmMigrate", "DlmInfo", "DlmRestart engine"),
    *("DlmTrain anew", "DlmRuns", "DlmOpenStore", "DlmBase", "DlmNewId"),
)


def test_every_command_says_that_there_is_no_server(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text("---\n---\n")
    ran = "vim.iter({{ {} }}):each(function(c) vim.cmd(c) end)".format(
        ", ".join(f"'{command}'" for command in OF_DOCUMENTS)
    )
    with Neovim(path, init="vim.g.dlm = { enable = false }") as nvim:
        nvim.lua(ran)
        lacking = "dlm: no server is attached to this document; :checkhealth dlm says why"
        assert nvim.notified() == [lacking] * len(OF_DOCUMENTS)
        nvim.lua("DlmTest.notified = {}; vim.cmd.enew()")
        nvim.lua(ran)
        assert nvim.notified() == ["dlm: this is not a .dlm document"] * len(OF_DOCUMENTS)


def test_what_cannot_be_written_or_was_never_saved_is_said(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("smollm2-135m"))
    path.chmod(0o444)
    with Neovim(path) as nvim:
        nvim.attached()
        nvim.command("normal! Gox")
        nvim.command("DlmTrain!")
        assert nvim.notified() == [
            "dlm: not trained, as it is not written: E45: 'readonly' option is set "
            "(add ! to override)"
        ]
        nvim.command("enew!")
        nvim.command("setfiletype dlm")
        nvim.attached()
        nvim.command("DlmPrompt Who?")
        nvim.told("dlm: the document is not saved yet: save it as a file first")


def test_the_log_is_opened() -> None:
    with Neovim() as nvim:
        nvim.command("DlmLog")
        assert nvim.lua("return vim.fn.expand('%:t')") == "lsp.log"


def test_the_server_is_asked_for_nothing_it_does_not_have() -> None:
    lua = PLUGIN / "lua" / "dlm"
    named = {
        name
        for file in ("commands.lua", "store.lua", "frontmatter.lua")
        for name in _NAMED.findall((lua / file).read_text())
    }
    assert len(named) > 8
    assert named <= set(COMMANDS)


def test_every_command_is_documented() -> None:
    with Neovim() as nvim:
        defined = nvim.lua("return vim.fn.getcompletion('Dlm', 'command')")
    page = (PLUGIN / "doc" / "dlm.txt").read_text()
    assert len(defined) == 17
    assert [name for name in defined if f"*:{name}*" not in page] == []
