"""How wide a base is, from the folder a document names; nothing there holds up or breaks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.server.features.cursor import HEAD

from dlm_engine.document import LiveDocument
from dlm_server.base_files import hidden_size
from dlm_server.session import Snapshot

SIZES = {
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "vocab_size": 300,
    "num_attention_heads": 4,
}


def snapshot(path: Path, base: str) -> Snapshot:
    text = HEAD.replace("smollm2-135m", base)
    return Snapshot(path.as_uri(), path, 1, LiveDocument.open(text))


def good(file: Path) -> None:
    file.write_text(json.dumps(SIZES))


CONFIGS: list[tuple[Callable[[Path], object], int | None]] = [
    (good, 96),
    (lambda file: file.write_text('{"hidden_size": -3}'), None),
    (lambda file: file.write_text("[]"), None),
    (lambda file: file.write_text("{"), None),
    (lambda file: file.write_bytes(b"\xff" * 9), None),
    (lambda file: file.write_text(json.dumps(SIZES) + " " * 2**20), None),
    (lambda file: file.mkdir(), None),
    (lambda file: None, None),
]


@pytest.mark.parametrize(("write", "hidden"), CONFIGS)
def test_of_a_folder_beside_the_document(
    write: Callable[[Path], object], hidden: int | None, tmp_path: Path
) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base" / "config.json")
    assert hidden_size(snapshot(tmp_path / "a.dlm", "./base")) == hidden
    assert hidden_size(snapshot(tmp_path / "a.dlm", str(tmp_path / "base"))) == hidden


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    assert hidden_size(snapshot(tmp_path / "a.dlm", f"{tmp_path}/")) is None


def test_of_the_registry_only_when_it_was_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path))
    shot = snapshot(tmp_path / "a.dlm", "smollm2-135m")
    assert hidden_size(shot) is None
    from dlm_engine.bases import REGISTRY

    folder = tmp_path / "bases" / REGISTRY["smollm2-135m"].slug
    folder.mkdir(parents=True)
    good(folder / "config.json")
    assert hidden_size(shot) == 96
