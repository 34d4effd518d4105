"""`dlm cache`: what it shows, what it lets go of, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.cli.entry import main
from dlm_engine.data.sources import Judged, KnownFile, Stamp
from dlm_engine.data.token_cache import Limits, TokenCache, Window
from dlm_engine.store import token_cache_path


@pytest.fixture
def filled(own_home: Path) -> TokenCache:
    cache = TokenCache(token_cache_path(own_home))
    window = (Window("ab" * 32, tuple(range(5000)), 1),)
    known = {b"/a": KnownFile(Stamp(1, 2, 3, 4), Judged("ab" * 32), 5)}
    keys = [bytes([n]) for n in range(4)]
    assert cache.keep(dict.fromkeys(keys, window), known, (), (), Limits(10**9, 90)) == ""
    return cache


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["cache", *arguments, "--json"]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_show_prune_and_clear(filled: TokenCache, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(capsys, "show")
    assert (shown["texts"], shown["files"], shown["unused_days"]) == (4, 1, 0)
    assert shown["bytes"] > 80_000
    assert said(capsys, "prune")["freed_bytes"] == 0
    pruned = said(capsys, "prune", "--max-bytes", "50000")
    assert (pruned["texts"], pruned["files"]) == (2, 1)
    assert main(["cache", "clear", "--force"]) == 0
    assert "freed" in capsys.readouterr().out
    assert said(capsys, "show")["bytes"] == 0


def test_an_empty_cache_is_shown_and_not_made(
    own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("show", "prune", "clear"):
        assert said(capsys, action)["texts"] == 0
    assert not own_home.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "--older-than", "3"], "belong to prune"),
        (["clear", "--max-bytes", "3"], "belong to prune"),
        (["prune", "--force"], "leave out --force"),
        (["clear"], "add --force"),
        (["drop"], "drop"),
    ],
)
def test_what_does_not_fit_is_refused(
    filled: TokenCache, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert filled.facts().texts == 4
