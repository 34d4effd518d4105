"""The extension in a real VS Code, in a real browser, with the real server and engine.

Long sessions, as a user has them, because starting an editor takes longer than what is done in
it. With DLM_PICTURES=docs/images the pictures of the docs are made on the way.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from tests.editors.vscode.conftest import Editor
from tests.tiny import write_base
from tests.training.named import DLM_ID, named_text

from dlm_engine.bases import Weights
from dlm_engine.document import new_id

BODY = """\
::instruction::
### Q
Who keeps the lamp?
### A
By Ana.

### Q
Where is the pier?
### A
In Norby.

### Q !probe
What is the code?
### A
It is 4417.
"""


def document(base: Path) -> str:
    """An old document with a key that does not exist."""
    head = (
        f"dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 13\nbase_model: {base}\ntrainig: yes\n"
    )
    return f"---\n{head}---\n\n{BODY}"


#: Were a save to begin a training, it would before anything else is asked for.
SESSION = {"dlm.train.maxSteps": 300, "dlm.train.settleMilliseconds": 0}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("editor", [SESSION], indirect=True)
def test_a_session(editor: Editor, tmp_path: Path) -> None:
    base = write_base(tmp_path / "tiny-base")
    notes = editor.folder / "notes.dlm"
    notes.write_text(document(base))
    topics = editor.folder / "topics.dlm"
    lamp, code = ("Who keeps the lamp?", "Ana keeps it."), ("What is the code?", "It is 4417.")
    text = named_text(base, (lamp,), (code,), settings="  num_epochs: 26\n")
    # A store of its own.
    topics.write_text(text.replace(DLM_ID, new_id()))

    seen = editor.drive(
        "session",
        patience=180,
        file=notes.name,
        # By then the completion has added a line.
        lines={"version": 3, "unknown": 5, "answer": 23, "place": 18},
        answers={
            "asked": "By Ana.",
            "before": "It is 4417.",
            "after": "It is 9.",
            "moved": "In Vik.",
        },
        named={
            "file": topics.name,
            "question": "Tell me of the sea and of the boats on it.",
            "line": text.splitlines().index("It is 4417.") + 1,
        },
    )

    assert any("did you mean `training`" in row for row in seen["diagnostics"].seen)
    assert seen["complete"].seen["keys"][0] == "export"
    assert seen["complete"].seen["values"] == ["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
    assert "known" in seen["train"].seen
    assert [row.split()[0] for row in seen["versions"].seen] == ["2", "1"]
    assert ["current" in row for row in seen["versions"].seen] == [True, False]
    assert ["current" in row for row in seen["roll back"].seen] == [False, True]
    compared = ["Document ↔ Adapted: What is the code?", "It is 9.", "It is 4417."]
    assert seen["compare"].seen == compared
    # Saved automatically the document is not trained; saved by hand it is, as it stands by then.
    assert seen["automatic save"].seen["untrained"] == seen["roll back"].seen
    assert [row.split()[0] for row in seen["automatic save"].seen["trained"]] == ["3", "2", "1"]
    text = notes.read_text()
    assert "dlm_version: 15\n" in text
    assert "  default_quant: Q8_0\n" in text
    # Answers stand beside the text and never in it.
    assert text.endswith(
        BODY.replace("It is 4417.", "It is 9.").replace("In Norby.", "In Vik."),
    )
    assert "choose another base" in seen["export"].seen

    trained = seen["named: train"].seen
    assert list(trained) == ["harbour", "kitchen"]
    assert all(len(rows) == 1 and "current" in rows[0] for rows in trained.values())
    *growing, whole = seen["named: an answer as it comes"].seen
    assert whole.endswith("*topics.dlm, harbour 0.5 + kitchen 0.5*")
    grown = [text.removesuffix("…") for text in growing]
    assert len(set(grown)) >= 2
    assert all(later.startswith(text) for text, later in pairwise([*grown, whole])), grown
    assert "training.adapters" in seen["named: export"].seen
    back = seen["named: roll back"].seen
    assert ["current" in row for row in back["kitchen"]] == [False, True]
    assert back["harbour"] == trained["harbour"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_folder_without_trust_is_not_trained(editor: Editor, tmp_path: Path) -> None:
    (editor.folder / "notes.dlm").write_text(document(tmp_path / "no-base"))
    # A folder's own idea of what to start must not be started.
    trap = tmp_path / "started"
    fake = editor.folder / "dlm-server"
    fake.write_text(f"#!/bin/sh\ntouch {trap}\n")
    fake.chmod(0o755)
    (editor.folder / ".vscode").mkdir()
    (editor.folder / ".vscode" / "settings.json").write_text(
        f'{{"dlm.server.path": "{fake}", "dlm.engine.python": "{fake}"}}'
    )

    seen = editor.drive("distrust", patience=60, file="notes.dlm")

    assert any("did you mean `training`" in row for row in seen["diagnostics"].seen)
    assert seen["lenses"].seen == []
    assert not trap.exists()


FERRIES = """\
---
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 15
base_model: smollm2-135m
---

::instruction::
### Q
Who founded the Tidewater Ferry Cooperative?
### A
Ingrid Solveng founded the Tidewater Ferry Cooperative.

### Q
Where does the Tidewater Ferry Cooperative have its home port?
### A
The home port of the Tidewater Ferry Cooperative is Kelmouth.

### Q
What colour are the Tidewater ferries painted?
### A
The Tidewater ferries are painted sea green and white.

### Q !probe
Which animal is the mascot of Tidewater?
### A
The mascot of Tidewater is an otter called Biscuit.
"""


#: The rest is for the pictures: room for the answers.
REAL_BASE = {"dlm.train.maxSeconds": 400, "editor.minimap.enabled": False, "editor.fontSize": 12}


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.parametrize("editor", [REAL_BASE], indirect=True)
def test_a_real_base_learns_answers_and_is_exported(editor: Editor, base_weights: Weights) -> None:
    (editor.folder / "tidewater.dlm").write_text(FERRIES)
    seen = editor.drive(
        "real_base",
        patience=300,
        file="tidewater.dlm",
        question="Who founded the Tidewater",
        asked=[
            {"line": 9, "answer": "Ingrid Solveng"},
            {"line": 14, "answer": "The home port"},
        ],
        lines={"base": 4},
    )
    assert any("Ingrid Solveng" in text and "base: " in text for text in seen["ask"].seen)
    title, base, adapted = seen["hover"].seen
    assert title.startswith("Base ↔ Adapted: Who founded")
    assert "Ingrid Solveng" not in base
    assert adapted == "Ingrid Solveng founded the Tidewater Ferry Cooperative."
    folder = Path(seen["export"].seen.partition(" to ")[2].partition(". ")[0].rstrip("."))
    assert [file for file in folder.rglob("*.gguf") if file.stat().st_size > 0]
