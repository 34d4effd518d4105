"""The plugin itself: where it finds the server, its parser and queries, its help and its health."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.editors.nvim.neovim import BIN, NVIM, PLUGIN, ROOT, Neovim

from dlm_server.settings import SETTINGS

QUERIES = ("highlights", "injections", "folds", "locals")
TEXT = """---
key: value
---
# Title

::instruction#fast::
### Q !probe
Who?
### A
```lua
local x = 1
```
::foo::
"""


def test_what_is_generated_is_up_to_date() -> None:
    """Queries, defaults, colours and the help's settings come from the tables they share."""
    script = ROOT / "scripts" / "generate_nvim.py"
    ran = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_server_is_looked_for_in_order(tmp_path: Path) -> None:
    environment = executable(tmp_path / "venv" / "bin" / "dlm-server")
    on_path = executable(tmp_path / "path" / "dlm-server")
    cli = executable(tmp_path / "path" / "dlm")
    found = "return (require('dlm.server').command())"
    with Neovim() as nvim:
        nvim.lua(f"vim.env.PATH = '{on_path.parent}'; vim.env.VIRTUAL_ENV = '{tmp_path / 'venv'}'")
        nvim.lua("vim.g.dlm = { cmd = { 'mine', '-x' } }")
        assert nvim.lua(found) == ["mine", "-x"]
        nvim.lua("vim.g.dlm = nil")
        assert nvim.lua(found) == [str(environment)]
        environment.unlink()
        assert nvim.lua(found) == [str(on_path)]
        on_path.unlink()
        assert nvim.lua(found) == [str(cli), "lsp"]
        cli.unlink()
        assert nvim.lua(found) is None


def test_a_missing_server_is_said_once_the_document_opens(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    with Neovim(path, init="vim.env.PATH = '/nowhere'") as nvim:
        said = nvim.told("no server found")
        assert "vim.g.dlm.cmd" in said


def test_dlm_lsp_serves_as_well(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    init = f"vim.lsp.config('dlm', {{ cmd = {{ '{BIN / 'dlm'}', 'lsp' }} }})"
    with Neovim(path, init=init) as nvim:
        nvim.attached()
        nvim.until("#vim.diagnostic.get(0) > 0")


INTERPRETERS = [
    ("#!/opt/x/bin/python3\nimport x\n", "/opt/x/bin/python3"),
    ("#!/bin/sh\n'''exec' /opt/x/bin/python3 \"$0\" \"$@\"\n' '''\n", "/opt/x/bin/python3"),
    ("#!/bin/sh\n'''exec' \"/opt/a b/python3\" \"$0\" \"$@\"\n' '''\n", "/opt/a b/python3"),
    ("#!/bin/sh\necho\n", None),
    ("\x7fELF", None),
]


def test_the_interpreter_of_a_script_is_found(tmp_path: Path) -> None:
    with Neovim() as nvim:
        nvim.lua("local x = vim.fn.executable; vim.fn.executable = function() return 1 end")
        for number, (head, expected) in enumerate(INTERPRETERS):
            script = executable(tmp_path / str(number))
            script.write_text(head)
            assert nvim.lua(f"return require('dlm.server').python({{ '{script}' }})") == expected
        python = sys.executable
        assert nvim.lua(f"return require('dlm.server').python({{ '{python}' }})") == python


@pytest.mark.parametrize("query", QUERIES)
def test_queries_fit_the_parser(parser: Path, query: str) -> None:
    with Neovim(parser=parser) as nvim:
        captures = nvim.lua(f"return vim.treesitter.query.get('dlm', '{query}').captures")
        assert len(captures) > 0


def test_every_capture_has_a_colour(parser: Path) -> None:
    """A name that Neovim does not know would show as plain text."""
    plain = {"spell", "nospell"}
    with Neovim(parser=parser) as nvim:
        captures = nvim.lua("return vim.treesitter.query.get('dlm', 'highlights').captures")
        for capture in set(captures) - plain:
            parts = capture.split(".")
            names = ["@" + ".".join(parts[:n]) for n in range(1, len(parts) + 1)]
            known = nvim.lua(
                "return vim.iter({" + ",".join(f"'{n}'" for n in names) + "}):any(function(n) "
                "return next(vim.api.nvim_get_hl(0, { name = n, create = false })) ~= nil end)"
            )
            assert known, capture


def test_a_document_is_coloured_and_folded_without_a_server(tmp_path: Path, parser: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    with Neovim(path, parser=parser, init="vim.g.dlm = { enable = false }") as nvim:
        shown = (
            "return vim.iter(vim.treesitter.get_captures_at_pos(0, {}, {})):map(function(c) "
            "return c.lang .. ':' .. c.capture end):totable()"
        )
        nvim.lua("vim.treesitter.get_parser(0):parse(true)")
        assert "dlm:keyword" in nvim.lua(shown.format(5, 3))
        assert "dlm:module" in nvim.lua(shown.format(5, 15))
        assert "dlm:keyword.modifier" in nvim.lua(shown.format(6, 7))
        assert "lua:keyword" in nvim.lua(shown.format(10, 0))
        assert "markdown:markup.heading.1" in nvim.lua(shown.format(3, 3))
        assert nvim.lua("return vim.wo.foldexpr") == "v:lua.vim.treesitter.foldexpr()"
        nvim.until("vim.fn.foldlevel(8) >= 2")
        assert nvim.lua("return vim.bo.commentstring") == "# %s"
        nvim.command("set filetype=text")
        assert nvim.lua("return { vim.bo.commentstring, vim.wo.foldmethod }") == ["", "manual"]


def test_tokens_of_the_server_look_like_captures(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    with Neovim(path) as nvim:
        nvim.attached()
        token = "(vim.lsp.semantic_tokens.get_at_pos(0, 6, 1) or {})[1]"
        assert nvim.until(token)["type"] == "header"
        linked = nvim.lua("return vim.api.nvim_get_hl(0, { name = '@lsp.type.header.dlm' }).link")
        assert linked == "@markup.heading.3"


def test_no_parser_is_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    with Neovim(path) as nvim:
        nvim.attached()
        assert nvim.notified() == []


TROUBLE = [
    ("vim.env.CC = nil; vim.env.PATH = '/nowhere'", "", "no C compiler found"),
    ("", "/nowhere", "no grammar found"),
    ("vim.env.CC = 'false'", "", "could not be built"),
]


def test_building_the_parser_can_fail(tmp_path: Path) -> None:
    with Neovim() as nvim:
        path = nvim.lua("return vim.env.PATH")
        for before, argument, said in TROUBLE:
            nvim.lua(f"vim.env.PATH = '{path}'; {before}")
            nvim.command(f"DlmInstallParser {argument}")
            nvim.told(said)
        assert not (nvim.data / "site" / "parser" / "dlm.so").exists()


def test_nvim_treesitter_is_offered_the_grammar() -> None:
    with Neovim() as nvim:
        nvim.lua("package.loaded['nvim-treesitter.parsers'] = {}")
        nvim.command("doautocmd User TSUpdate")
        info = nvim.lua("return require('nvim-treesitter.parsers').dlm.install_info")
        assert info == {"path": str(ROOT / "grammar" / "tree-sitter-dlm")}


def health(nvim: Neovim) -> str:
    nvim.command("checkhealth dlm")
    return nvim.text()


def test_health_is_good(tmp_path: Path, parser: Path) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    with Neovim(path, parser=parser) as nvim:
        nvim.attached()
        page = health(nvim)
        assert "ERROR" not in page, page
        assert "WARNING" not in page, page
        for said in ("Neovim 0.11", "dlm-server ", "engine ", "(ABI ", "1 document(s)"):
            assert re.search(rf"OK.*{re.escape(said)}", page), page


def test_health_says_what_is_wrong() -> None:
    init = "vim.g.dlm = { cmd = { 'false' }, colour = 'red', treesitter = 'yes' }"
    with Neovim(init=init) as nvim:
        page = health(nvim)
        assert 'no option "colour"' in page
        assert "vim.g.dlm.treesitter must be a boolean" in page
        assert "does not start" in page
        assert ":DlmInstallParser" in page
        nvim.lua("vim.g.dlm = nil; vim.env.PATH = '/nowhere'")
        assert "not found" in health(nvim)


def test_the_help_has_its_tags_and_settings(tmp_path: Path) -> None:
    folder = tmp_path / "doc"
    folder.mkdir()
    page = (PLUGIN / "doc" / "dlm.txt").read_text()
    (folder / "dlm.txt").write_text(page)
    ran = subprocess.run(
        [NVIM, "--headless", "--clean", "-c", f"helptags {folder}", "-c", "quit"],
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    tags = {line.split("\t")[0] for line in (folder / "tags").read_text().splitlines()}
    linked = {name for name in re.findall(r"\|(\S+)\|", page) if "lm" in name}
    assert linked <= tags
    for setting in SETTINGS:
        assert f"\n{setting.name} (default " in page
    assert max(map(len, page.splitlines())) <= 78
