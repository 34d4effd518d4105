"""What the hint promises is what the engine takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import Editor
from tests.server.engine.places import DLM_ID, Place
from tests.tiny import document_text

from dlm_engine.store import read_log

pytestmark = [pytest.mark.slow]


def test_the_planned_values_are_those_of_the_run(tmp_path: Path, tiny_base: Path) -> None:
    place = Place(tmp_path / "facts.dlm", tmp_path / "home", document_text(str(tiny_base)), DLM_ID)
    place.path.write_text(place.text)
    settings = {"probes": {"afterTraining": False}, "inlayHints": {"tokens": False}}
    with Editor(place.home, settings) as editor:
        uri = editor.open(place.path)
        before = the_hint(editor, uri)
        assert editor.worker() is None
        editor.command("dlm.train", uri=uri)
        after = the_hint(editor, uri)
    [log] = place.store.logs_dir().glob("*.jsonl")
    plan: Any = next(read_log(log))["plan"]
    promised = dict(line.partition(":")[0].split() for line in after["tooltip"].splitlines()[:5])
    assert promised == {
        name: plan[name]
        for name in ("lora_r", "lora_alpha", "lora_dropout", "learning_rate", "precision")
    }
    assert before["label"] == after["label"].replace(f", {plan['precision']}", "")
    assert before["label"].startswith(f"→ rank {plan['lora_r']}, rate ")


def the_hint(editor: Editor, uri: str) -> Any:
    everything = {"start": {"line": 0, "character": 0}, "end": {"line": 9, "character": 0}}
    [hint] = editor.ask("textDocument/inlayHint", textDocument={"uri": uri}, range=everything)
    return hint
