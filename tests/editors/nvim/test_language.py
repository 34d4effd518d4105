"""The language server in Neovim: what a person sees, types and is offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
from tests.editors.nvim.neovim import Neovim

from dlm_engine.document import CURRENT_VERSION, parse

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
HEAD = f"---\ndlm_id: {DLM_ID}\ndlm_version: {CURRENT_VERSION}\nbase_model: smollm2-135m\n---\n"
FACTS = "\n::instruction::\n### Q\nWho keeps the lamp?\n### A\nAna keeps it.\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "facts.dlm"
    path.write_text(text, encoding="utf-8")
    return path


def expected(text: str) -> list[list[Any]]:
    """Code and place of each problem as Neovim counts: lines by \\n only, columns in bytes."""

    def place(offset: int) -> tuple[int, int]:
        before = text[:offset]
        return before.count("\n"), len(before[before.rfind("\n") + 1 :].encode())

    _, found = parse(text)
    return sorted([d.code, *place(d.span.start), *place(d.span.end)] for d in found)


SHOWN = (
    "(function() local found = {}; for _, d in ipairs(vim.diagnostic.get(0)) do "
    "table.insert(found, { d.code, d.lnum, d.col, d.end_lnum, d.end_col }) end; "
    "return #found > 0 and found or nil end)()"
)


def test_problems_stand_where_they_are(tmp_path: Path) -> None:
    odd = "::prose::\nOne\u2028two\x85three \U0001f600\U0001f600 four\n"
    text = HEAD + odd + '\n::image path="\U0001f600.png" paht="x"::\n:: prose ::\n' + FACTS
    assert len(expected(text)) >= 2
    with Neovim(written(tmp_path, text)) as nvim:
        assert nvim.lua("return vim.bo.filetype") == "dlm"
        nvim.until(SHOWN)
        parsed = {code for code, *_ in expected(text)}
        shown = [entry for entry in nvim.until(SHOWN) if entry[0] in parsed]
        assert sorted(shown) == expected(text)


def test_problems_follow_edits(tmp_path: Path) -> None:
    with Neovim(written(tmp_path, HEAD + "\u2028 \U0001f600\n" + FACTS)) as nvim:
        nvim.attached()
        nvim.hit("Go:: prose ::<Esc>")
        near = nvim.until(SHOWN)
        assert sorted(near) == expected(nvim.text())
        nvim.hit("dd")
        nvim.until("#vim.diagnostic.get(0) == 0")


def test_a_key_is_completed(tmp_path: Path) -> None:
    with Neovim(written(tmp_path, HEAD + FACTS)) as nvim:
        nvim.attached()
        nvim.lua(
            "vim.o.completeopt = 'menuone,noselect'; "
            "local client = vim.lsp.get_clients({ name = 'dlm' })[1]; "
            "vim.lsp.completion.enable(true, client.id, 0)"
        )
        nvim.hit("4Gotrain<C-x><C-o>")
        nvim.until("vim.fn.pumvisible() == 1")
        nvim.hit("<C-n><C-y>")
        nvim.until("vim.fn.search('^training:$', 'cnw') > 0")
        # Where the first key of the block belongs.
        nvim.hit("budget<Esc>")
        nvim.until("vim.fn.search('^  budget$', 'cnw') > 0")


def test_migration_is_applied(tmp_path: Path) -> None:
    old = HEAD.replace(f"dlm_version: {CURRENT_VERSION}", "dlm_version: 1")
    with Neovim(written(tmp_path, old + FACTS)) as nvim:
        nvim.attached()
        nvim.lua(
            "vim.lsp.buf.code_action({ apply = true, "
            "context = { only = { 'source.migrate.dlm' }, diagnostics = {} } })"
        )
        nvim.until(f"vim.fn.search('dlm_version: {CURRENT_VERSION}', 'cnw') > 0")
        nvim.command("undo")
        assert nvim.text() == old + FACTS
        nvim.command("DlmMigrate")
        nvim.told("migrated")
        assert nvim.text() == HEAD + FACTS


def test_an_adapter_is_renamed(tmp_path: Path) -> None:
    text = HEAD[:-4] + "training:\n  adapters:\n    fast: {}\n---\n\n::prose#fast::\nText.\n"
    with Neovim(written(tmp_path, text)) as nvim:
        nvim.attached()
        nvim.command("/^::prose")
        nvim.command("normal! f#l")
        nvim.lua("vim.lsp.buf.rename('slow')")
        nvim.until("vim.fn.search('::prose#slow::', 'cnw') > 0")
        assert nvim.text() == text.replace("fast", "slow")


def test_sections_fold_and_stay_open(tmp_path: Path) -> None:
    with Neovim(written(tmp_path, HEAD + FACTS)) as nvim:
        nvim.attached()
        nvim.until("vim.fn.foldlevel(8) > 0")
        assert nvim.lua("return vim.wo.foldexpr") == "v:lua.vim.lsp.foldexpr()"
        assert nvim.lua("return vim.fn.foldclosed(8)") == -1
        nvim.command("normal! zM")
        assert nvim.lua("return { vim.fn.foldclosed(7), vim.fn.foldclosedend(7) }") == [7, 11]


def test_folds_of_the_user_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + FACTS)
    with Neovim(path, init="vim.o.foldmethod = 'marker'") as nvim:
        nvim.attached()
        nvim.until("#vim.lsp.get_clients({ name = 'dlm' }) == 1")
        assert nvim.lua("return vim.wo.foldmethod") == "marker"


def test_every_write_is_said_to_be_made_by_hand(tmp_path: Path) -> None:
    """What doc/dlm.txt says of plugins that save by themselves."""
    with Neovim(written(tmp_path, HEAD + FACTS)) as nvim:
        nvim.attached()
        nvim.lua(
            "DlmTest.reasons = {}; local client = vim.lsp.get_clients({ name = 'dlm' })[1]; "
            "local notify = client.notify; client.notify = function(self, method, params) "
            "if method == 'textDocument/willSave' then "
            "table.insert(DlmTest.reasons, params.reason) end; "
            "return notify(self, method, params) end"
        )
        # What plugins that save by themselves do.
        nvim.command("autocmd InsertLeave * ++nested silent write")
        nvim.hit("Gox<Esc>")
        nvim.until("#DlmTest.reasons == 1")
        assert nvim.lua("return DlmTest.reasons") == [1]


def test_the_server_leaves_with_the_editor(tmp_path: Path) -> None:
    with Neovim(written(tmp_path, HEAD + FACTS)) as nvim:
        nvim.attached()
        servers = psutil.Process(nvim.process.pid).children(recursive=True)
        assert any("dlm-server" in " ".join(p.cmdline()) for p in servers), servers
        nvim.process.kill()
        nvim.process.wait()
        _, alive = psutil.wait_procs(servers, timeout=3)
        assert alive == []


def test_a_restart_gives_a_new_server(tmp_path: Path) -> None:
    with Neovim(written(tmp_path, HEAD + FACTS)) as nvim:
        nvim.attached()
        old = nvim.lua("return vim.lsp.get_clients({ name = 'dlm' })[1].id")
        nvim.command("DlmRestart")
        nvim.until(
            f"(vim.lsp.get_clients({{ name = 'dlm', bufnr = 0 }})[1] or {{id={old}}}).id ~= {old}"
        )
        assert nvim.lua("return #vim.lsp.get_clients({ name = 'dlm' })") == 1
