"""A training that waits for a decision: the user is asked for it, and it goes on as decided."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import CAPABILITIES, Editor
from tests.server.engine.places import Place

from dlm_engine import jobs
from dlm_engine.document import new_id
from dlm_engine.store import LockMode, Manifest, Store, TrainingRunSummary, now
from dlm_engine.worker import jobs_adapter
from dlm_engine.worker.messages import Accept, Ask, Export, Prompt, Question, Rollback, Train

OTHER = "9.0.0"


def differ(place: Place) -> str:
    """Another torch made the version that is there."""
    lock = place.store.root / "dlm.lock"
    value = json.loads(lock.read_text())
    now: str = value["pinned_versions"]["torch"]
    value["pinned_versions"]["torch"] = OTHER
    lock.write_text(json.dumps(value))
    return now


def torch_of(place: Place) -> str:
    value = json.loads((place.store.root / "dlm.lock").read_text())
    return str(value["pinned_versions"]["torch"])


def offered(editor: Editor) -> Any:
    return editor.wait(lambda m: m.get("method") == "window/showMessageRequest")["params"]


def changed(editor: Editor, place: Place) -> str:
    """The document with another fact, saved without training."""
    uri = editor.open(place.path)
    place.path.write_text(place.text.replace("4417", "5128"))
    return uri


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["Accept the change", "Ignore it this once"])
def test_a_change_of_the_lock_is_accepted(choice: str, editor: Editor, place: Place) -> None:
    now = differ(place)
    editor.choice = choice
    reply = editor.command("dlm.train", uri=changed(editor, place))
    assert (reply["outcome"], reply["version"]) == ("trained", 2)
    asked = offered(editor)
    assert "torch was 9.0.0" in asked["message"]
    assert "--" not in asked["message"]
    titles = [action["title"] for action in asked["actions"]]
    assert titles == ["Accept the change", "Ignore it this once"]
    assert torch_of(place) == (now if choice == "Accept the change" else OTHER)


@pytest.mark.slow
def test_what_is_declined_changes_nothing(editor: Editor, place: Place) -> None:
    differ(place)
    editor.choice = None
    uri = changed(editor, place)
    error = editor.answer(editor.send_command("dlm.train", uri=uri))["error"]
    # The user has read it.
    assert error["data"]["ending"] == "cancelled"
    assert error["data"]["choices"] == ["update", "ignore"]
    assert (place.numbers(), torch_of(place)) == ([1], OTHER)


@pytest.mark.slow
def test_a_client_without_buttons_gets_the_words_and_may_say_it_itself(place: Place) -> None:
    able = {**CAPABILITIES, "window": {"workDoneProgress": True}}
    now = differ(place)
    with Editor(place.home, capabilities=able) as editor:
        uri = changed(editor, place)
        assert "accept the change" in editor.refused("dlm.train", uri=uri)
        assert "acceptLock" in editor.refused("dlm.train", uri=uri, acceptLock="maybe")
        assert editor.command("dlm.train", uri=uri, acceptLock="update")["version"] == 2
    assert torch_of(place) == now


@pytest.mark.slow
def test_a_version_whose_state_is_spoilt_is_trained_anew(editor: Editor, place: Place) -> None:
    version = place.store.current()
    assert version is not None
    state = version.path / "training_state.safetensors"
    data = bytearray(state.read_bytes())
    data[9] ^= 0xFF
    state.write_bytes(data)
    editor.choice = "Train anew"
    reply = editor.command("dlm.train", uri=changed(editor, place))
    assert [action["title"] for action in offered(editor)["actions"]] == ["Train anew"]
    assert (reply["outcome"], reply["version"], reply["steps"]) == ("trained", 2, 12)


@pytest.mark.slow
def test_fresh_begins_anew(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    assert editor.command("dlm.train", uri=uri)["outcome"] == "unchanged"
    reply = editor.command("dlm.train", uri=uri, fresh=True)
    assert (reply["outcome"], reply["version"], reply["steps"]) == ("trained", 2, 12)


GATED = (
    "---\ndlm_id: {}\ndlm_version: 15\nbase_model: llama-3.2-1b\n---\n### Q\nWho?\n### A\nAna.\n"
)


@pytest.mark.slow
def test_a_licence_is_read_and_accepted(tmp_path: Path, original: Place) -> None:
    from dlm_engine.bases.registry import REGISTRY

    spec = REGISTRY["llama-3.2-1b"]
    path = tmp_path / "gated.dlm"
    path.write_text(GATED.format(new_id()))
    window = {**CAPABILITIES["window"], "showDocument": {"support": True}}
    with Editor(original.home, capabilities={**CAPABILITIES, "window": window}) as editor:
        accept = f"Accept the licence {spec.license_spdx}"
        choices = ["Read the licence", accept]
        editor.choices = choices
        error = editor.answer(editor.send_command("dlm.train", uri=editor.open(path)))["error"]
        asked = offered(editor)
        assert spec.license_url in asked["message"]
        assert [action["title"] for action in asked["actions"]] == [accept, "Read the licence"]
        shown = editor.wait(lambda m: m.get("method") == "window/showDocument")["params"]
        assert shown == {"uri": spec.license_url, "external": True}
        # What is missing after that are the weights, which nobody can fetch here.
        assert error["data"]["kind"] == "BaseModelError"
        assert choices == []


ACCEPT = "Accept the licence LicenseRef-Llama-3.2"
#: what besides a training takes the licence of the base
JOBS: list[tuple[str, dict[str, Any]]] = [
    ("dlm.prompt", {"question": "Who?"}),
    ("dlm.export", {"target": "gguf"}),
    ("dlm.askSection", {"position": {"line": 6, "character": 0}}),
    ("dlm.probe", {}),
    ("dlm.rollback", {"version": 1}),
]


@pytest.fixture(scope="module")
def gated_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gated") / "home"


@pytest.fixture(scope="module")
def gated_window(gated_home: Path) -> Iterator[Editor]:
    with Editor(gated_home) as running:
        yield running


@pytest.fixture
def gated(gated_home: Path, tmp_path: Path) -> Path:
    """A document with a version, as large as it takes, whose base's licence nobody accepted."""
    dlm_id = new_id()
    store = Store(gated_home, dlm_id)
    store.write_manifest(Manifest(dlm_id=dlm_id, base_model="llama-3.2-1b"))
    with store.stage(None) as staging:
        (staging.path / "adapter_model.safetensors").write_bytes(b"x")
        run = TrainingRunSummary(run_id=1, started_at=now(), adapter_version=1, seed=1)
        staging.commit(run)
    path = tmp_path / "gated.dlm"
    path.write_text(GATED.format(dlm_id).replace("### Q", "::instruction::\n### Q !probe"))
    return path


def licence_wanted(answer: dict[str, Any]) -> bool:
    data = answer.get("error", {}).get("data", {})
    return bool(data.get("kind") == "LicenceRequired")


@pytest.mark.parametrize(("command", "argument"), JOBS, ids=[name for name, _ in JOBS])
def test_a_job_asks_for_the_licence_once(
    command: str, argument: dict[str, Any], gated_window: Editor, gated: Path
) -> None:
    editor = gated_window
    editor.forget()
    uri = editor.open(gated)
    editor.choices = [ACCEPT]
    # What is in the way after that are the weights, where those are wanted.
    assert not licence_wanted(editor.answer(editor.send_command(command, uri=uri, **argument)))
    asked = offered(editor)
    assert [action["title"] for action in asked["actions"]] == [ACCEPT]
    assert "accept it" in asked["message"]
    assert "--" not in asked["message"]
    assert "train the document" not in asked["message"]
    editor.forget()
    for name, more in JOBS:
        assert not licence_wanted(editor.answer(editor.send_command(name, uri=uri, **more)))
    assert editor.count("window/showMessageRequest") == 0


def test_a_licence_that_is_declined_is_asked_for_again(gated_window: Editor, gated: Path) -> None:
    editor = gated_window
    editor.forget()
    uri = editor.open(gated)
    for times in (1, 2):
        request = editor.send_command("dlm.prompt", uri=uri, question="Who?")
        data = editor.answer(request)["error"]["data"]
        assert (data["ending"], data["choices"]) == ("cancelled", ["licence"])
        assert editor.count("window/showMessageRequest") == times


def test_a_client_without_buttons_accepts_the_licence_with_the_command(
    gated_home: Path, gated: Path
) -> None:
    able = {**CAPABILITIES, "window": {"workDoneProgress": True}}
    with Editor(gated_home, capabilities=able) as editor:
        uri = editor.open(gated)
        for name, argument in JOBS[:2]:
            assert "must be accepted" in editor.refused(name, uri=uri, **argument)
            said = editor.refused(name, uri=uri, acceptLicence=True, **argument)
            assert "licence" not in said


def test_what_is_accepted_reaches_every_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[bool] = []

    class Stop(Exception):
        pass

    def stop(request: Any, *_: object, accept_licence: bool = False) -> None:
        seen.append(getattr(request, "accept_licence", accept_licence))
        raise Stop

    monkeypatch.setattr(jobs, "prompt", stop)
    monkeypatch.setattr(jobs, "export", stop)
    monkeypatch.setattr("dlm_engine.case.open_case", stop)
    monkeypatch.setattr(jobs_adapter, "_resident", lambda: None)
    asked = (Question("q", "Who?"),)
    for licence in (False, True):
        for params in (
            Prompt("a.dlm", "Who?", accept_licence=licence),
            Ask("a.dlm", asked, accept_licence=licence),
            Ask("a.dlm", asked, compare=True, accept_licence=licence),
            Export("a.dlm", "gguf", accept_licence=licence),
            Rollback("a.dlm", 1, accept_licence=licence),
        ):
            context = jobs_adapter.Context(1, tmp_path, lambda said: None)
            with pytest.raises(Stop):
                jobs_adapter.RUNNERS[type(params)](params, context)
    assert seen == [False] * 5 + [True] * 5


def test_what_is_accepted_reaches_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[jobs.TrainRequest] = []

    def train(request: jobs.TrainRequest, *_: object) -> jobs.TrainOutcome:
        seen.append(request)
        return jobs.TrainOutcome(jobs.Ending.EMPTY)

    monkeypatch.setattr(jobs, "train", train)
    monkeypatch.setattr(jobs_adapter, "_resident", lambda: None)
    for accept in (Accept(), Accept(fresh=True, lock="ignore", licence=True)):
        context = jobs_adapter.Context(1, tmp_path, lambda said: None)
        jobs_adapter.train(Train(str(tmp_path / "a.dlm"), accept=accept), context)
    asked = [(r.start, r.lock_mode, r.accept_licence) for r in seen]
    assert asked == [
        (jobs.Start.FURTHER, LockMode.DEFAULT, False),
        (jobs.Start.FRESH, LockMode.IGNORE, True),
    ]
