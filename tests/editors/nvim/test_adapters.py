"""Which of several named adapters is meant: chosen, said, and told with what comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import Neovim
from tests.editors.nvim.test_commands import DRAWN, PICK
from tests.training.named import named_text

OFFERED = "vim.iter(DlmTest.offered):any(function(o) return o:find('{}', 1, true) end)"

#: what the windows above the others say
WINDOWS = (
    "vim.iter(vim.api.nvim_list_wins()):map(function(w) return "
    "vim.api.nvim_win_get_config(w).relative ~= '' and table.concat("
    "vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(w), 0, -1, false), '\\n') or '' "
    "end):join('')"
)

#: takes the text that is offered, as it is
AS_OFFERED = "vim.ui.input = function(options, done) done(options.default) end\n"


@pytest.mark.slow
def test_each_is_trained_asked_exported_and_gone_back_by_name(
    tmp_path: Path, tiny_base: Path
) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(named_text(tiny_base))
    init = (
        "vim.lsp.config('dlm', { settings = { dlm = { train = { settleMilliseconds = 0 } } } })\n"
        "DlmTest.states = {}\n"
        "vim.api.nvim_create_autocmd('User', { pattern = 'DlmStatus', callback = function() "
        "table.insert(DlmTest.states, require('dlm').status()) end })"
    )
    with Neovim(path, init=init) as nvim:
        nvim.attached()
        complete = "return vim.fn.getcompletion('{}', 'cmdline')"
        assert nvim.lua(complete.format("DlmExport gguf Q8_0 ")) == ["harbour", "kitchen"]
        nvim.lua("DlmTest.offered = {}\n" + PICK % "kitchen")
        nvim.command("DlmExport gguf")
        nvim.until(OFFERED.format("Train now"))
        assert nvim.lua("return DlmTest.offered")[:3] == [
            "Adapter: harbour · not trained yet",
            "Adapter: kitchen · not trained yet",
            "Adapter: a mix: their sum, each with a weight",
        ]
        nvim.command("DlmTrain")
        nvim.told("trained: ")
        states = nvim.lua("return DlmTest.states")
        for name in ("harbour", "kitchen"):
            assert any(state.startswith(f"dlm: training {name} · step") for state in states), states

        nvim.lua(AS_OFFERED + "DlmTest.offered = {}\n" + PICK % "a mix")
        nvim.command("DlmPrompt Who keeps the lamp?")
        nvim.until(f"({WINDOWS}):find('(harbour 0.5 + kitchen 0.5)', 1, true)")
        assert "Adapter: harbour · version 1" in nvim.lua("return DlmTest.offered")
        nvim.command("DlmExport gguf Q8_0 harbour=1,nobody=1")
        nvim.told("nobody")

        nvim.command("/What is the code")
        nvim.command("DlmAsk")
        nvim.until(DRAWN.format("answered · kitchen version 1"))
        nvim.hit("gg/Where is the pier<CR>vt?")
        nvim.until("vim.api.nvim_get_mode().mode == 'v'")
        nvim.hit(":DlmAsk<CR>")
        nvim.until(DRAWN.format("harbour version 1 · Where is the pier"))

        nvim.command("%s/Per does/Ola does/")
        nvim.lua("DlmTest.notified = {}")
        nvim.command("write")
        nvim.told("trained: ")
        assert nvim.lua(complete.format("DlmRollback ")) == ["1"]
        assert nvim.lua(complete.format("DlmRollback 1 ")) == ["kitchen"]
        nvim.command("DlmRollback 1 kitchen")
        nvim.told("version 1 of kitchen is current")
        nvim.lua(PICK % "kitchen")
        nvim.command("DlmRollback 2")
        nvim.told("version 2 of kitchen is current")


def test_who_can_be_chosen() -> None:
    with Neovim() as nvim:

        def items(purpose: str, *names: str, gate: bool = False) -> list[str]:
            adapters = ", ".join(f"{{ adapter = '{name}', version = 2 }}" for name in names)
            found = f"{{ adapters = {{ {adapters} }}, gate = {str(gate).lower()} }}"
            labels = nvim.lua(
                f"return vim.tbl_map(function(item) return item.label end, "
                f"require('dlm.adapters').items({found}, '{purpose}'))"
            )
            return [re.split(r"[:·]", label)[0].strip() for label in labels]

        assert not items("ask", "harbour", gate=True)
        two = ["harbour", "kitchen"]
        assert items("ask", *two) == [*two, "a mix"]
        assert items("ask", *two, gate=True) == ["by question", *two, "a mix"]
        assert items("export", *two, gate=True) == [*two, "a mix"]
        assert items("rollback", *two, gate=True) == two
