"""A document with named adapters through the real server and worker: each trained, asked, shown
and gone back by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.conftest import another
from tests.server.engine.editor import Editor
from tests.server.engine.places import Place
from tests.training.named import named_text

pytestmark = [pytest.mark.slow]

NAMES = ("harbour", "kitchen")
PROSE = "\n::prose::\nThe sea is calm.\n"


def text_for(base: Path) -> str:
    """`kitchen` is declared first, so that no order but the document's is right by chance."""
    adapters = "    kitchen: {}\n    harbour: {}\n"
    return named_text(base, adapters=adapters, more=PROSE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Place:
    """Trained by whoever asks it first."""
    folder = tmp_path_factory.mktemp("named")
    place = Place(folder / "facts.dlm", folder / "home", text_for(tiny_base))
    place.path.write_text(place.text)
    with Editor(place.home, {"probes": {"afterTraining": False}}) as editor:
        uri = editor.open(place.path)
        before = [{"adapter": name, "version": None} for name in ("kitchen", "harbour")]
        assert editor.command("dlm.adapters", uri=uri) == {"adapters": before, "gate": False}
        editor.choice = "Train now"
        reply = editor.command("dlm.prompt", uri=uri, question="Who?", adapter="kitchen")
        assert reply["shares"] == [{"adapter": "kitchen", "version": 1, "weight": 1.0}]
        # Each is a run of its own.
        steps = editor.told("dlm/trainingProgress")
        runs = dict.fromkeys((step["run_id"], step["adapter"]) for step in steps)
        assert list(runs) == [(1, "kitchen"), (2, "harbour")]
        jobs = [s["job"] for s in editor.told("dlm/status") if s["job"]]
        assert {job["adapter"] for job in jobs if job["step"] is not None} >= set(NAMES)
    return place


@pytest.fixture(scope="module")
def named_window(trained: Place) -> Any:
    with Editor(trained.home, {"probes": {"afterTraining": False}}) as running:
        yield running


@pytest.fixture
def editor(named_window: Editor) -> Editor:
    named_window.forget()
    return named_window


@pytest.fixture
def place(trained: Place, tmp_path: Path) -> Place:
    return another(trained, tmp_path)


def shown(editor: Editor, state: str, count: int) -> list[Any]:
    """What is shown beside the document, once `count` of it is in `state`."""
    told = editor.results(lambda r: sum(i["state"] == state for i in r["items"]) == count)
    return [
        (item["question"], item["adapter"], item["modelVersion"])
        for item in told["items"]
        if item["state"] == state
    ]


def test_versions_and_runs_say_whose_they_are(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    versions = editor.command("dlm.versions", uri=uri)
    assert sorted((v["adapter"], v["version"], v["current"]) for v in versions) == [
        ("harbour", 1, True),
        ("kitchen", 1, True),
    ]
    runs = editor.command("dlm.runs", uri=uri)
    assert [(r["run"], r["adapter"], r["version"]) for r in runs] == [
        (1, "kitchen", 1),
        (2, "harbour", 1),
    ]
    # A run that was killed says so by its first line alone.
    for log in (place.store.root / "logs").glob("train-000002-*.jsonl"):
        log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    killed = editor.command("dlm.runs", uri=uri)[-1]
    assert (killed["run"], killed["adapter"], killed["version"]) == (2, "harbour", None)


def test_a_question_is_asked_of_who_is_chosen(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    asked = {"uri": uri, "question": "Who keeps the lamp?"}
    assert "harbour" in editor.refused("dlm.prompt", **asked)
    mixed = editor.command("dlm.prompt", **asked, mix="harbour=0.75,kitchen=0.25")
    assert mixed["version"] is None
    assert [(s["adapter"], s["weight"]) for s in mixed["shares"]] == [
        ("harbour", 0.75),
        ("kitchen", 0.25),
    ]
    for wrong, said in (("harbour=x", "'harbour=x'"), ("nobody=1", "nobody")):
        assert said in editor.refused("dlm.prompt", **asked, mix=wrong)
        assert said in editor.refused("dlm.export", uri=uri, target="gguf", mix=wrong)
    assert "nobody" in editor.refused("dlm.export", uri=uri, target="gguf", adapter="nobody")
    both = {"adapter": "harbour", "mix": "kitchen=1"}
    assert "leave out" in editor.refused("dlm.export", uri=uri, target="gguf", **both)


def test_answers_are_of_the_adapter_that_learns_the_section(editor: Editor, place: Place) -> None:
    """What is selected in prose without a name goes to the adapter that is declared first."""
    uri = editor.open(place.path)
    lines = place.text.splitlines()

    def at(words: str) -> dict[str, int]:
        return {"line": lines.index(words), "character": 0}

    lamp = editor.command("dlm.askSection", uri=uri, position=at("Who keeps the lamp?"))
    assert [(a["adapter"], a["version"]) for a in lamp["answers"]] == [("harbour", 1)]
    editor.command("dlm.askSection", uri=uri, position=at("What is the code?"))
    sea = at("The sea is calm.")
    end = {"line": sea["line"], "character": 7}
    editor.command("dlm.askSelection", uri=uri, range={"start": sea, "end": end})
    assert shown(editor, "ok", 3) == [
        ("Who keeps the lamp?", "harbour", 1),
        ("What is the code?", "kitchen", 1),
        ("The sea", "kitchen", 1),
    ]

    # An edit in one topic teaches that one: only its answers are out of date, and asked again.
    editor.forget()
    editor.save(uri, place.path, place.text.replace("In Norby.", "In Vik."))
    editor.results(lambda r: any(i["modelVersion"] == 2 and i["state"] == "ok" for i in r["items"]))
    assert shown(editor, "ok", 3) == [
        ("Who keeps the lamp?", "harbour", 2),
        ("What is the code?", "kitchen", 1),
        ("The sea", "kitchen", 1),
    ]

    editor.forget()
    asked = {"uri": uri, "version": 1}
    assert "kitchen, harbour" in editor.refused("dlm.rollback", **asked)
    assert editor.command("dlm.rollback", **asked, adapter="harbour") == {"version": 1}
    assert shown(editor, "stale", 1) == [("Who keeps the lamp?", "harbour", 2)]
    last = editor.status(lambda s: s["last"] and s["last"]["kind"] == "rollback" and not s["job"])
    assert (last["last"]["version"], last["last"]["adapter"]) == (1, "harbour")


def test_a_selection_goes_stale_with_its_adapter(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    line = place.text.splitlines().index("Who keeps the lamp?")
    selected = {"start": {"line": line, "character": 0}, "end": {"line": line, "character": 8}}
    editor.command("dlm.askSelection", uri=uri, range=selected)
    assert shown(editor, "ok", 1) == [("Who keep", "harbour", 1)]
    editor.forget()
    editor.save(uri, place.path, text := place.text.replace("Per does.", "Ola does."))
    editor.status(lambda s: s["last"] and s["last"]["kind"] == "train" and not s["job"])
    states = {item["state"] for told in editor.told("dlm/sectionResults") for item in told["items"]}
    assert states == {"ok"}
    editor.save(uri, place.path, text.replace("In Norby.", "In Vik."))
    assert shown(editor, "stale", 1) == [("Who keep", "harbour", 1)]
