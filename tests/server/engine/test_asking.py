"""Asking through the real server and worker: as it comes, at a place, and before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import CAPABILITIES, Editor
from tests.server.engine.places import DLM_ID, PROBE, SHORT, Place, ended
from tests.tiny import document_text

from dlm_engine.document import new_id

pytestmark = [pytest.mark.slow]


def heard(editor: Editor, token: str | int) -> list[str]:
    """The pieces of an answer."""
    return [m["value"]["text"] for m in editor.told("$/progress") if m["token"] == token]


@pytest.mark.parametrize("token", ["mine", 7])
def test_an_answer_is_told_as_it_comes(token: str | int, editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    asked: dict[str, Any] = {"uri": uri, "question": "Who keeps the lamp?"}
    reply = editor.command("dlm.prompt", **asked, token=token)
    pieces = heard(editor, token)
    assert "".join(pieces) == reply["text"] != ""
    base = editor.command("dlm.prompt", **asked, version="base", token=f"{token}, too")
    assert "".join(heard(editor, f"{token}, too")) == base["text"]
    editor.forget()
    assert editor.command("dlm.prompt", **asked) == reply
    assert editor.told("$/progress") == []


def test_the_question_at_a_place_is_asked(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    line = place.text.splitlines().index("In Norby.")
    editor.command("dlm.askSection", uri=uri, position={"line": line, "character": 3})
    told = editor.results(lambda r: r["items"] and r["items"][0]["state"] == "ok")
    assert [item["question"] for item in told["items"]] == ["Where is the pier?"]
    nowhere = {"line": 0, "character": 0}
    assert "no question here" in editor.refused("dlm.askSection", uri=uri, position=nowhere)
    assert "sectionId" in editor.refused("dlm.askSection", uri=uri)
    for wrong in ({"line": 1}, {"line": -1, "character": 0}):
        said = editor.refused("dlm.askSection", uri=uri, position=wrong)
        assert "must have a line and a character" in said


# --- never trained -------------------------------------------------------------------------


@pytest.fixture
def untrained(tmp_path: Path, tiny_base: Path, original: Place) -> Place:
    dlm_id = new_id()
    text = document_text(str(tiny_base), extra=SHORT).replace(DLM_ID, dlm_id) + PROBE
    path = tmp_path / "untrained.dlm"
    path.write_text(text)
    return Place(path, original.home, text, dlm_id)


def asks(place: Place) -> list[tuple[str, dict[str, Any]]]:
    line = place.text.splitlines().index("In Norby.")
    selected = {"start": {"line": line, "character": 0}, "end": {"line": line, "character": 8}}
    return [
        ("dlm.prompt", {"question": "Who?"}),
        ("dlm.askSection", {"sectionId": place.section()}),
        ("dlm.askSelection", {"range": selected}),
        ("dlm.probe", {}),
        ("dlm.export", {"target": "gguf"}),
    ]


def test_the_user_is_told_in_the_editors_words_and_may_leave_it(
    editor: Editor, untrained: Place
) -> None:
    editor.choice = None
    uri = editor.open(untrained.path)
    for command, argument in asks(untrained):
        editor.forget()
        error = editor.answer(editor.send_command(command, uri=uri, **argument))["error"]
        assert error["data"]["ending"] == "cancelled"
        asked = editor.wait(lambda m: m.get("method") == "window/showMessageRequest")["params"]
        assert asked["message"].startswith("untrained.dlm has not been trained yet")
        assert "dlm train" not in asked["message"]
        assert [action["title"] for action in asked["actions"]] == ["Train now"]
    assert not untrained.store.exists()


def test_once_trained_it_answers(editor: Editor, untrained: Place) -> None:
    editor.choice = "Train now"
    uri = editor.open(untrained.path)
    reply = editor.command("dlm.prompt", uri=uri, question="Who keeps the lamp?", token="a")
    assert (reply["version"], "".join(heard(editor, "a"))) == (1, reply["text"])
    assert untrained.numbers() == [1]
    editor.status(ended(uri, "probe"))
    assert editor.command("dlm.probe", uri=uri)["version"] == 1


def test_a_training_that_fails_is_the_answer(editor: Editor, untrained: Place) -> None:
    editor.choice = "Train now"
    text = untrained.text.replace("num_epochs: 12", "num_epochs: 12\n  precision: fp16")
    untrained.path.write_text(text)
    uri = editor.open(untrained.path)
    error = editor.answer(editor.send_command("dlm.probe", uri=uri))["error"]
    assert "training.precision: float16" in error["message"]
    assert error["data"]["ending"] == "unavailable"


def test_a_client_that_offers_nothing_gets_the_words(untrained: Place) -> None:
    able = {**CAPABILITIES, "window": {"workDoneProgress": True}}
    with Editor(untrained.home, capabilities=able) as editor:
        uri = editor.open(untrained.path)
        for command, argument in asks(untrained):
            said = editor.refused(command, uri=uri, **argument)
            assert said.endswith("train it with the command dlm.train")
        assert editor.worker() is None


def test_what_comes_before_the_settings_waits_for_them(place: Place) -> None:
    """They say where the store is: elsewhere the document was never trained."""
    with Editor(place.home) as editor:
        editor.hold_settings()
        uri = editor.open(place.path)
        editor.tell("workspace/didChangeConfiguration", settings=None)
        asked = editor.send_command("dlm.versions", uri=uri)
        taken_back = editor.send_command("dlm.runs", uri=uri)
        editor.cancel(taken_back)
        assert editor.answer(taken_back)["error"]["code"] == -32800
        assert not editor.answered(asked)
        editor.give_settings()
        assert len(editor.answer(asked)["result"]) == 1
