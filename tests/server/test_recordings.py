"""Sessions of real editors, recorded once, played to the server as it is now.

`python -m tests.server.record` records them anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.server.recording import (
    RECORDINGS,
    Entry,
    Json,
    Keys,
    Server,
    differences,
    load,
    play,
)

NAMES = sorted(path.stem for path in RECORDINGS.glob("*.jsonl"))
COMMAND = [sys.executable, "-m", "dlm_server", "--stdio"]


@pytest.fixture
def surroundings(tmp_path: Path, own_home: Path) -> Mapping[str, str]:
    """As when it was recorded: no document has been trained and no base is there."""
    return {**os.environ, "DLM_CACHE_DIR": str(tmp_path / "cache")}


def session(name: str, folder: Path) -> list[Entry]:
    entries = load(RECORDINGS / f"{name}.jsonl", folder)
    opened = (e for e in entries if e.message.get("method") == "textDocument/didOpen")
    for item in (entry.message["params"]["textDocument"] for entry in opened):
        path = Path(item["uri"].removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(item["text"], encoding="utf-8")
    return entries


def test_there_are_recordings() -> None:
    assert NAMES == ["neovim", "vscode"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_session(name: str, tmp_path: Path, surroundings: Mapping[str, str]) -> None:
    entries = session(name, tmp_path)
    server = Server(COMMAND, surroundings)
    try:
        play(entries, server)
        code, complaints = server.ended()
    finally:
        server.process.kill()
    assert differences(entries, server.said) == []
    assert server.twice == []
    assert (code, complaints) == (0, "")


ASKED = {"jsonrpc": "2.0", "id": 1, "method": "textDocument/hover", "params": {}}
URI = "file:///n.dlm"
PROBLEM = {"code": "key-unknown", "severity": 1, "range": {}, "message": "words"}


def answer(**content: object) -> Json:
    return {"jsonrpc": "2.0", "id": 1, **content}


def changed(version: int) -> list[Entry]:
    params = {"textDocument": {"uri": URI, "version": version}}
    message = {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": params}
    return [Entry(True, message, ("textDocument/didChange", version))]


def published(version: int, *problems: Json) -> Json:
    params = {"uri": URI, "version": version, "diagnostics": list(problems)}
    return {"jsonrpc": "2.0", "method": "textDocument/publishDiagnostics", "params": params}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([answer(result={"a": 1})], [answer(result={"a": 2})], 0),
        ([answer(result={"a": 1})], [answer(result={"b": 1})], 1),
        ([answer(result={"a": 1})], [answer(result=None)], 1),
        ([answer(result=[{}])], [answer(result=[])], 1),
        ([answer(result=None)], [answer(error={"code": -32603})], 1),
        ([answer(result=None)], [], 1),
        ([published(1, PROBLEM)], [published(1, {**PROBLEM, "message": "other words"})], 0),
        ([published(1, PROBLEM)], [published(1, {**PROBLEM, "severity": 2})], 1),
        ([published(1, PROBLEM)], [published(1)], 1),
        ([published(2)], [published(1, PROBLEM), published(2)], 0),
        ([published(1)], [published(1), published(2)], 1),
        ([], [{"jsonrpc": "2.0", "method": "window/showMessage", "params": {}}], 1),
    ],
)
def test_what_counts_as_a_difference(old: list[Json], new: list[Json], told: int) -> None:
    keys, heard = Keys(), Keys()
    entries = [*changed(1), Entry(True, ASKED, ("hover", 1))]
    for message in old:
        if "method" in message:
            entries += changed(message["params"]["version"])
        entries.append(Entry(False, message, keys.key(message)))
    said = {heard.key(message): message for message in new}
    assert len(differences(entries, said)) == told
