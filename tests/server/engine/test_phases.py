"""`dlm/trainingProgress` of a training in two phases: of which, and which run, each step is."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from tests.server.engine.editor import Editor
from tests.server.engine.places import DLM_ID
from tests.store.conftest import commit_version
from tests.tiny import document_text

from dlm_engine.store import Manifest, Store

FAKE = Path(__file__).with_name("fake_worker.py")
SHORT = (
    "training:\n  num_epochs: 2\n"
    "  preference:\n    hyperparams:\n      num_epochs: 2\n      learning_rate: 0.01\n"
)
PAIR = "\n::preference::\n### Prompt\nHow is it?\n### Chosen\nCalm.\n### Rejected\nSo so.\n"


def runs(editor: Editor) -> list[tuple[int, str]]:
    """By their numbers and phases, in the order in which they were told of."""
    steps = editor.told("dlm/trainingProgress")
    return list(dict.fromkeys((step["run_id"], step["phase"]) for step in steps))


@pytest.mark.slow
def test_the_preferences_are_a_phase_and_a_run_of_their_own(
    tiny_base: Path, tmp_path: Path
) -> None:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT) + PAIR)
    with Editor(tmp_path / "home", {"probes": {"afterTraining": False}}) as editor:
        trained = editor.command("dlm.train", uri=editor.open(path))
        assert (trained["outcome"], trained["version"]) == ("trained", 2)
        assert runs(editor) == [(1, "sft"), (2, "preference")]


def test_a_second_phase_that_is_first_heard_of_late_is_the_next_run(tmp_path: Path) -> None:
    """Steps that come too fast are left out, so the numbers of steps need not begin again. The
    worker is made up, and the test commits between the phases as it would."""
    python = tmp_path / "python"
    fake = [sys.executable, str(FAKE), "two phases", str(tmp_path)]
    python.write_text(f"#!/bin/sh\nexec {shlex.join(fake)}\n")
    python.chmod(0o755)
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("smollm2-135m"))
    with Editor(tmp_path / "home", {"engine": {"python": str(python)}}) as editor:
        training = editor.send_command("dlm.train", uri=editor.open(path))
        editor.status(lambda status: status["job"] and status["job"]["step"] == 5)
        store = Store(tmp_path / "home", DLM_ID)
        store.write_manifest(Manifest(dlm_id=DLM_ID, base_model="smollm2-135m"))
        commit_version(store)
        (tmp_path / "committed").touch()
        editor.answer(training)
        assert runs(editor) == [(1, "sft"), (2, "preference")]
