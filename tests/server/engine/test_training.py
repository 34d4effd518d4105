"""The whole way with real parts: an editor, the server, its worker, a store, the tiny base."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import AFTER_DELAY, FOCUS_OUT, Editor
from tests.server.engine.places import LONG, Place, ended

from dlm_engine.store import rollback, write_atomic

pytestmark = [pytest.mark.slow]


def test_a_save_of_a_changed_document_trains_it_and_asks_its_probes(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.text.replace("4417", "9032"))
    status = editor.status(ended(uri, "probe"))
    assert status["last"]["version"] == 2
    assert place.numbers() == [1, 2]
    told = editor.results(lambda r: r["uri"] == uri and r["items"][0]["state"] != "running")
    [item] = told["items"]
    assert item["state"] == "failed"
    assert item["modelVersion"] == 2
    assert item["reference"] == "It is at Norby."
    assert item["question"] == "Where is the harbour?"
    assert place.text.splitlines()[item["range"]["start"]["line"]] == "Where is the harbour?"
    busy = [s for s in editor.told("dlm/status") if s["job"] and s["job"]["step"]]
    assert {s["engine"] for s in busy} == {"busy"}
    assert busy[0]["job"]["cause"] == "the document was saved"


def test_a_question_that_was_asked_is_asked_again_when_its_section_was_edited(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    editor.command("dlm.askSection", uri=uri, sectionId=place.section(), pair=0)
    editor.save(uri, place.path, place.text.replace("Norby", "Asby"))
    told = editor.results(lambda r: r["items"] and r["items"][0]["modelVersion"] == 2)
    (asked,) = [item for item in told["items"] if item["pair"] == 0]
    assert asked["sectionId"] == place.section()
    assert asked["state"] in ("ok", "passed", "failed", "changed")


def test_the_lenses_are_asked_again_when_a_job_starts_and_ends(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    editor.command("dlm.askSection", uri=uri, sectionId=place.section(), pair=0)
    editor.status(lambda s: s["job"] is None and s["last"] and s["last"]["kind"] == "prompt")
    # In line, running, over.
    assert editor.count("workspace/codeLens/refresh") >= 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"train": {"on": "never"}}, 1),
        ({"trusted": False}, 1),
        ({}, AFTER_DELAY),
        ({}, FOCUS_OUT),
    ],
)
def test_no_other_save_trains(settings: dict[str, Any], reason: int, place: Place) -> None:
    settings = {"train": {"settleMilliseconds": 0, **settings.pop("train", {})}, **settings}
    with Editor(place.home, settings) as editor:
        uri = editor.open(place.path)
        editor.save(uri, place.path, place.text.replace("4417", "9032"), reason)
        assert editor.command("dlm.versions", uri=uri)[-1]["version"] == 1
        assert editor.worker() is None
        if settings.get("trusted") is False:
            assert "not trusted" in editor.refused("dlm.train", uri=uri)
            assert "not trusted" in editor.refused("dlm.prompt", uri=uri, question="?")


def test_a_document_with_errors_is_not_trained_and_the_status_says_so(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.text.replace("base_model", "base_modle"))
    status = editor.status(lambda s: s["message"])
    assert "not trained: the document has" in status["message"]
    assert place.numbers() == [1]


def test_unchanged_content_trains_nothing_and_starts_nothing_twice(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    changed = place.text.replace("4417", "9032")
    editor.save(uri, place.path, changed)
    editor.status(ended(uri, "probe"))
    before = editor.count("dlm/status")
    editor.save(uri, place.path, changed + "\n\n")
    assert editor.command("dlm.train", uri=uri)["outcome"] == "unchanged"
    later = editor.told("dlm/status")[before:]
    assert {s["job"]["cause"] for s in later if s["job"]} <= {"asked for"}
    assert place.numbers() == [1, 2]


def test_of_many_saves_the_newest_wins(editor: Editor, place: Place, tiny_base: Path) -> None:
    uri = editor.open(place.path)
    slow = place.facts(tiny_base, "training:\n  num_epochs: 60\n")
    editor.save(uri, place.path, slow)
    editor.status(lambda s: s["job"] and s["job"]["step"])
    for name in ("Asby", "Bosby", "Corby"):
        editor.save(uri, place.path, place.text.replace("Norby", name))
        editor.wait(
            lambda m: (
                bool(editor.told("dlm/status")) and editor.told("dlm/status")[-1]["queued"] == 1
            )
        )
    editor.status(lambda s: ended(uri, "probe")(s) and s["last"]["version"] == 3)
    assert place.numbers() == [1, 2, 3]
    record = place.store.versions()[-1].run_record()
    assert record is not None
    assert record.section_ids == (place.section(),)
    assert "Corby" in place.path.read_text()


def trained(number: int) -> Callable[[Any], bool]:
    return lambda status: bool(status["last"] and status["last"]["version"] == number)


def test_of_the_versions_that_saves_made_the_newest_stay(place: Place) -> None:
    settings = {"train": {"settleMilliseconds": 0, "keepVersions": 2}}
    with Editor(place.home, {"probes": {"afterTraining": False}, **settings}) as editor:
        uri = editor.open(place.path)
        for number, name in enumerate(("Asby", "Bosby", "Corby"), 2):
            editor.save(uri, place.path, place.text.replace("Norby", name))
            editor.status(trained(number))
        # The first is of a command.
        assert [v["version"] for v in editor.command("dlm.versions", uri=uri)] == [1, 3, 4]
        assert editor.command("dlm.rollback", uri=uri, version=3) == {"version": 3}


def test_a_cancel_ends_training_within_a_step(
    editor: Editor, place: Place, tiny_base: Path
) -> None:
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.facts(tiny_base, LONG))
    editor.status(lambda s: s["job"] and (s["job"]["step"] or 0) >= 1)
    assert editor.command("dlm.cancel") == {"cancelled": 1}
    editor.status(ended(uri, "train", "cancelled"))
    assert place.numbers() == [1]
    assert editor.worker() is not None


def test_asking_a_section_shows_both_answers_which_go_stale_with_it(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    reply = editor.command("dlm.askSection", uri=uri, sectionId=place.section(), pair=1)
    [answer] = reply["answers"]
    shown = editor.results(lambda r: r["items"] and r["items"][0]["state"] == "ok")
    [item] = shown["items"]
    assert (item["adapted"], item["base"]) == (answer["adapted"], answer["base"])
    assert item["adapted"]
    running = [r["items"][0] for r in editor.told("dlm/sectionResults")]
    assert "running" in {r["state"] for r in running}
    changed = place.text.replace("Ana", "Bea").replace("base_model", "# a remark\nbase_model")
    editor.edit(uri, changed)
    stale = editor.results(lambda r: r["items"] and r["items"][0]["state"] == "stale")
    assert stale["items"][0]["range"]["start"]["line"] == item["range"]["start"]["line"] + 1
    editor.edit(uri, place.text)
    count = editor.count("dlm/sectionResults")
    editor.results(lambda r: r["items"][0]["state"] == "ok", after=count - 1)


def test_what_holds_the_store_is_named_while_training_waits(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    with place.store.lock("packing"):
        editor.save(uri, place.path, place.text.replace("4417", "9032"))
        status = editor.status(lambda s: s["job"] and s["job"]["phase"] == "waiting")
        assert f"process {os.getpid()}" in status["job"]["message"]
    editor.status(ended(uri, "probe"))
    assert place.numbers() == [1, 2]


def test_two_windows_on_one_store_take_turns(editor: Editor, place: Place) -> None:
    with Editor(place.home) as other:
        uri, too = editor.open(place.path), other.open(place.path)
        first = editor.send_command("dlm.train", uri=uri)
        second = other.send_command("dlm.train", uri=too)
        # In one rename: neither may come to read a file that is half written.
        write_atomic(place.path, place.text.replace("4417", "9032").encode())
        for window, request in ((editor, first), (other, second)):
            answer = window.answer(request)
            assert "error" not in answer, answer
            assert answer["result"]["outcome"] in ("trained", "unchanged")
        assert editor.command("dlm.versions", uri=uri) == other.command("dlm.versions", uri=too)
        for version in place.store.versions():
            version.verify()


def test_a_killed_worker_loses_nothing_and_is_started_again(
    editor: Editor, place: Place, tiny_base: Path
) -> None:
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.facts(tiny_base, LONG))
    editor.status(lambda s: s["job"] and (s["job"]["step"] or 0) >= 1)
    worker = editor.worker()
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    status = editor.status(lambda s: s["engine"] == "restarting")
    assert "signal 9" in status["message"]
    editor.status(ended(uri, "train", "failed"))
    current = place.store.current()
    assert current is not None
    current.verify()
    assert current.number == 1
    before = editor.count("dlm/status")
    editor.status(lambda s: s["engine"] == "idle", after=before - 1)
    assert editor.command("dlm.prompt", uri=uri, question="Where is the pier?")["version"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="waits for a process that is no child")
def test_no_worker_outlives_a_killed_server(place: Place, tiny_base: Path) -> None:
    with Editor(place.home) as editor:
        uri = editor.open(place.path)
        editor.save(uri, place.path, place.facts(tiny_base, LONG))
        editor.status(lambda s: s["job"] and (s["job"]["step"] or 0) >= 1)
        worker = editor.worker()
        assert worker is not None
        descriptor = os.pidfd_open(worker)
        try:
            editor.process.kill()
            ready, _, _ = select.select([descriptor], [], [], 3)
            assert ready, "the worker lives on"
        finally:
            os.close(descriptor)


def test_a_rollback_makes_the_next_save_train_again(editor: Editor, place: Place) -> None:
    uri = editor.open(place.path)
    changed = place.text.replace("4417", "9032")
    editor.save(uri, place.path, changed)
    editor.status(ended(uri, "probe"))
    assert editor.command("dlm.rollback", uri=uri, version=1) == {"version": 1}
    editor.status(ended(uri, "rollback"))
    editor.wait(lambda _: _remarked(editor, uri))
    assert [v["current"] for v in editor.command("dlm.versions", uri=uri)] == [True, False]
    editor.save(uri, place.path, changed)
    editor.status(
        lambda s: s["last"] and s["last"]["kind"] == "train" and s["last"]["version"] == 3
    )
    editor.wait(lambda _: not _remarked(editor, uri))
    assert "does not exist" in editor.refused("dlm.rollback", uri=uri, version=99)


def test_a_version_that_a_terminal_made_current_outdates_answers_and_what_was_learned(
    editor: Editor, place: Place
) -> None:
    uri = editor.open(place.path)
    changed = place.text.replace("4417", "9032")
    editor.save(uri, place.path, changed)
    editor.status(ended(uri, "probe"))
    editor.results(lambda r: r["items"] and r["items"][0]["modelVersion"] == 2)
    before = editor.count("dlm/sectionResults")
    editor.wait(lambda _: not _remarked(editor, uri))
    rollback(place.store, 1)
    # Nothing comes from the editor meanwhile.
    editor.results(lambda r: r["items"][0]["state"] == "stale", after=before)
    editor.wait(lambda _: _remarked(editor, uri))
    editor.wait(lambda m: m.get("method") == "dlm/storeChanged" and m["params"] == {"uri": uri})
    assert place.numbers() == [1, 2]
    editor.save(uri, place.path, changed)
    editor.status(trained(3))


def test_a_limit_of_saves_says_so_and_the_command_goes_on_without_one(place: Place) -> None:
    settings = {"train": {"settleMilliseconds": 0, "maxSteps": 3}}
    with Editor(place.home, {"probes": {"afterTraining": False}, **settings}) as editor:
        uri = editor.open(place.path)
        changed = place.text.replace("4417", "9032")
        editor.save(uri, place.path, changed)
        status = editor.status(trained(2))
        assert "after 3 steps" in status["last"]["message"]
        assert "press Train to go on" in status["last"]["message"]
        # The same again: it is not taken as learned.
        editor.save(uri, place.path, changed)
        editor.status(lambda s: s["last"] and "not trained further" in s["last"]["message"])
        editor.forget()
        reply = editor.command("dlm.train", uri=uri)
        assert (reply["outcome"], reply["steps"]) == ("trained", 12)
        assert editor.told("dlm/trainingProgress")[0]["step"] == 4
        editor.save(uri, place.path, changed)
        assert editor.command("dlm.train", uri=uri)["outcome"] == "unchanged"
        causes = [s["job"]["cause"] for s in editor.told("dlm/status") if s["job"]]
        assert set(causes) == {"asked for"}


def _remarked(editor: Editor, uri: str) -> bool:
    """Whether the last publish said that sections changed since the training."""
    told = [p for p in editor.told("textDocument/publishDiagnostics") if p["uri"] == uri]
    return any(d["code"] == "changed-since-trained" for d in told[-1]["diagnostics"])
