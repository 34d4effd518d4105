"""A training that forgets says so in the editor. The worker is made up: a real one seldom does."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from tests.server.engine.editor import Editor
from tests.tiny import document_text

FAKE = Path(__file__).with_name("fake_worker.py")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ([], []),
        (["Who?"], ["facts.dlm: no longer known: 'Who?'"]),
        (
            ["A?", "B?", "C?", "D?", "E?"],
            ["facts.dlm: no longer known: 'A?', 'B?', 'C?' and 2 more"],
        ),
        (["é" * 90], [f"facts.dlm: no longer known: '{'é' * 79}…'"]),
    ],
    ids=["nothing", "one", "many", "long"],
)
def test_what_is_no_longer_known_is_said(lost: list[str], said: list[str], tmp_path: Path) -> None:
    (tmp_path / "lost").write_text("\n".join(lost))
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexec {shlex.join([sys.executable, str(FAKE), '', str(tmp_path)])}\n"
    )
    python.chmod(0o755)
    path = tmp_path / "facts.dlm"
    path.write_text(document_text("smollm2-135m"))
    with Editor(tmp_path / "home", {"engine": {"python": str(python)}}) as editor:
        editor.command("dlm.train", uri=editor.open(path))
        shown = editor.told("window/showMessage")
    assert [message["message"] for message in shown] == said
    assert {message["type"] for message in shown} <= {2}
