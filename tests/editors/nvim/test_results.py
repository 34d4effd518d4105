"""Answers below their questions: what is drawn, when it is dropped, when it goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.editors.nvim.neovim import PLUGIN, Neovim

TEXT = "---\ndlm_version: 15\n---\n\n::instruction::\n### Q\nWho?\nReally?\n### A\nAna.\n"

ANSWERED: dict[str, Any] = {
    "sectionId": "74aa12cdb64c6646",
    "pair": 0,
    "range": {"start": {"line": 6, "character": 0}, "end": {"line": 8, "character": 0}},
    "question": "Who?",
    "state": "ok",
    "base": "The sun.",
    "adapted": "Ana.",
    "reference": "Ana.",
    "modelVersion": 3,
    "error": None,
}


@pytest.fixture
def nvim(tmp_path: Path) -> Iterator[Neovim]:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    settings = "{ dlm = { results = { maxLines = 3 } } }"
    with Neovim(path, init=f"vim.lsp.config('dlm', {{ settings = {settings} }})") as editor:
        editor.attached()
        yield editor


def tell(nvim: Neovim, *items: dict[str, Any], later: int = 0) -> None:
    """As the server tells results, for a version `later` than the buffer's."""
    params = json.dumps({"uri": "", "version": 0, "items": items})
    nvim.lua(
        f"local params = vim.json.decode([==[{params}]==]); "
        "params.uri = vim.uri_from_bufnr(0); "
        f"params.version = vim.lsp.util.buf_versions[vim.api.nvim_get_current_buf()] + {later}; "
        "local client = vim.lsp.get_clients({ name = 'dlm' })[1]; "
        "client.handlers['dlm/sectionResults'](nil, params, { client_id = client.id })"
    )


#: changes to `ANSWERED`, and the lines that are drawn
DRAWN: list[tuple[str, dict[str, Any], list[str]]] = [
    ("answered", {}, ["answered · version 3", "model     Ana.", "base      The sun."]),
    (
        "failed",
        {"state": "failed", "adapted": "Bo.", "base": None},
        ["failed · version 3", "model     Bo.", "document  Ana."],
    ),
    ("passed", {"state": "passed", "base": None}, ["passed · version 3", "model     Ana."]),
    (
        "running",
        {"state": "running", "adapted": "An", "base": None, "modelVersion": None},
        ["asking …", "model     An", "document  Ana."],
    ),
    (
        "error",
        {"state": "error", "error": "no memory", "adapted": None, "base": None}
        | {"modelVersion": None, "reference": None},
        ["could not be asked", "error     no memory"],
    ),
    (
        "several lines",
        {"adapted": "a\tb\r\nc\n\nd\ne", "base": None, "reference": None},
        [
            "answered · version 3",
            "model     a    b",
            "          c",
            "          ",
            "          … more",
        ],
    ),
    (
        "control characters",
        {"adapted": "a\x1b[2Jb", "base": None, "reference": None},
        ["answered · version 3", "model     a^[[2Jb"],
    ),
    (
        "a selection",
        {"pair": None, "adapted": None, "base": None, "reference": None},
        ["answered · version 3 · Who?"],
    ),
]


@pytest.mark.parametrize(("changes", "lines"), [d[1:] for d in DRAWN], ids=[d[0] for d in DRAWN])
def test_drawn(nvim: Neovim, changes: dict[str, Any], lines: list[str]) -> None:
    tell(nvim, ANSWERED | changes)
    assert nvim.virtual_lines() == [(7, f"  {line}") for line in lines]


def test_long_lines_are_broken_at_blanks(nvim: Neovim) -> None:
    words = "eins zwei drei vier \u4e94\u516d\u4e03\u516b neun zehn elf " * 4 + "x" * 200
    tell(nvim, ANSWERED | {"adapted": words, "base": None, "reference": None})
    width = nvim.lua("return require('dlm.results').width(0)")
    drawn = [text for _, text in nvim.virtual_lines()]
    assert len(drawn) == 5
    for text in drawn:
        assert nvim.lua(f"return vim.fn.strdisplaywidth('{text}')") <= width
    first = drawn[1][12:]
    assert words.startswith(first + " ")


def test_a_stale_answer_looks_it(nvim: Neovim) -> None:
    def highlights() -> set[str]:
        marks = nvim.lua(
            "return vim.api.nvim_buf_get_extmarks(0, require('dlm.results').namespace, 0, -1, "
            "{ details = true })"
        )
        return {piece[1] for mark in marks for line in mark[3]["virt_lines"] for piece in line}

    tell(nvim, ANSWERED)
    assert highlights() == {"DlmResult", "DlmResultAdapted", "DlmResultBase"}
    tell(nvim, ANSWERED | {"state": "stale"})
    assert highlights() == {"DlmResult", "DlmResultStale"}


def test_every_group_is_linked_and_may_be_changed(nvim: Neovim) -> None:
    nvim.command("highlight link DlmResultBase Error")
    tell(nvim, ANSWERED)
    groups = nvim.lua("return require('dlm.results').groups") | {"DlmResultBase": "Error"}
    for group, link in groups.items():
        assert nvim.lua(f"return vim.api.nvim_get_hl(0, {{ name = '{group}' }}).link") == link
        assert nvim.lua(f"return vim.fn.hlexists('{link}')") == 1


def test_what_is_about_another_version_is_dropped(nvim: Neovim) -> None:
    tell(nvim, ANSWERED)
    before = nvim.virtual_lines()
    tell(nvim, ANSWERED | {"adapted": "Bo."}, later=-1)
    tell(nvim, later=1)
    assert nvim.virtual_lines() == before


def test_results_move_with_the_text_and_never_get_into_it(nvim: Neovim) -> None:
    tell(nvim, ANSWERED)
    nvim.command("normal! ggOnew")
    assert {row for row, _ in nvim.virtual_lines()} == {8}
    assert nvim.text() == "new\n" + TEXT


def test_nothing_told_clears(nvim: Neovim) -> None:
    tell(nvim, ANSWERED)
    tell(nvim)
    assert nvim.virtual_lines() == []


def test_reloading_the_file_clears(nvim: Neovim) -> None:
    """Another program writes it: Neovim keeps what is drawn, the server forgets its answers."""
    tell(nvim, ANSWERED)
    path = Path(nvim.lua("return vim.api.nvim_buf_get_name(0)"))
    path.write_text(TEXT + "More.\n")
    nvim.command("set autoread | checktime")
    assert nvim.text() == TEXT + "More.\n"
    assert nvim.virtual_lines() == []


def test_the_end_of_the_server_clears(nvim: Neovim) -> None:
    tell(nvim, ANSWERED)
    nvim.lua("vim.lsp.enable('dlm', false)")
    nvim.until("#vim.lsp.get_clients({ name = 'dlm' }) == 0")
    nvim.until(
        "#vim.api.nvim_buf_get_extmarks(0, require('dlm.results').namespace, 0, -1, {}) == 0"
    )


@pytest.mark.parametrize("display", ["off", "hints"])
def test_not_drawn_when_turned_off(tmp_path: Path, display: str) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(TEXT)
    settings = f"{{ dlm = {{ results = {{ display = '{display}' }} }} }}"
    init = f"vim.lsp.config('dlm', {{ settings = {settings} }})"
    with Neovim(path, init=init) as nvim:
        nvim.attached()
        tell(nvim, ANSWERED)
        assert nvim.virtual_lines() == []


def test_the_groups_are_in_the_help() -> None:
    source = (PLUGIN / "lua" / "dlm" / "results.lua").read_text()
    page = (PLUGIN / "doc" / "dlm.txt").read_text()
    groups = {
        w.strip() for w in source.split("M.groups = {")[1].split("}")[0].split() if "Dlm" in w
    }
    assert len(groups) > 5
    for group in groups:
        assert f"*hl-{group}*" in page
