"""What the hint promises is what the engine takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import Editor
from tests.server.engine.places import DLM_ID, Place
from tests.tiny import document_text

from dlm_engine.document import new_id
from dlm_engine.store import read_log

pytestmark = [pytest.mark.slow]


def test_the_planned_values_are_those_of_the_run(
    tmp_path: Path, tiny_base: Path, editor: Editor, original: Place
) -> None:
    dlm_id = new_id()
    text = document_text(str(tiny_base)).replace(DLM_ID, dlm_id)
    place = Place(tmp_path / "facts.dlm", original.home, text, dlm_id)
    place.path.write_text(text)
    uri = editor.open(place.path)
    before = the_hint(editor, uri)
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
    hints = editor.ask("textDocument/inlayHint", textDocument={"uri": uri}, range=everything)
    [planned] = [hint for hint in hints if hint["label"].startswith("→")]
    return planned
