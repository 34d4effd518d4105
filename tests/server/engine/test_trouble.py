"""What goes wrong while a document trains, with real parts: the editor is told in words, nothing
is lost, and the next save works again."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.editor import AFTER_DELAY, Editor
from tests.server.engine.places import PROBE, Place, ended
from tests.tiny import document_text

from dlm_engine.document import parse

pytestmark = [pytest.mark.slow]

MIDDLING = "training:\n  num_epochs: 60\n"


def stepped(status: Any) -> bool:
    return bool(status["job"] and status["job"]["step"])


def over(status: Any) -> bool:
    return bool(status["job"] is None and status["queued"] == 0 and status["last"])


def works_again(editor: Editor, place: Place, uri: str, version: int) -> None:
    """A save of a changed document trains it and every version is whole."""
    before = editor.count("dlm/status")
    editor.save(uri, place.path, place.text.replace("4417", "5128"))
    status = editor.status(lambda s: over(s) and s["last"]["kind"] == "probe", after=before)
    assert (status["last"]["ending"], status["last"]["version"]) == ("done", version)
    for each in place.store.versions():
        each.verify()


# --- a full disk ---------------------------------------------------------------------------


@pytest.fixture
def limit(editor: Editor, place: Place) -> Iterator[Callable[[int], None]]:
    """Sets the largest file that the worker may write: from there on the disk is full."""
    if sys.platform != "linux":
        pytest.skip("needs prlimit")
    import resource

    editor.command("dlm.prompt", uri=place.path.as_uri(), question="Who?")
    worker = editor.worker()
    assert worker is not None

    def set_limit(size: int) -> None:
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    yield set_limit
    set_limit(resource.RLIM_INFINITY)


@pytest.mark.parametrize(
    ("size", "ending"),
    [(0, "unavailable"), (5000, "failed")],
    ids=["before it begins", "in the adapter"],
)
def test_a_disk_that_is_full(
    size: int, ending: str, editor: Editor, place: Place, limit: Callable[[int], None]
) -> None:
    uri = editor.open(place.path)
    changed = place.text.replace("4417", "9032")
    limit(size)
    editor.save(uri, place.path, changed)
    status = editor.status(ended(uri, "train", ending))
    assert "the disk is full" in status["last"]["message"]
    assert "earlier versions are untouched" in status["last"]["message"]
    assert place.numbers() == [1]
    limit(-1)
    # The same text: what was not learned is not taken for learned.
    editor.save(uri, place.path, changed)
    editor.status(ended(uri, "probe"))
    works_again(editor, place, uri, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(path: Path, leaving: int) -> None:
    """Take the space there is; the engine may have taken the last of it."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while (free := shutil.disk_usage(path.parent).free) > leaving:
            file.write(bytes(min(2**20, free - leaving)))


def test_a_disk_that_fills_up(small_disk: Path, tiny_base: Path) -> None:
    place = Place(small_disk / "facts.dlm", small_disk / "home", document_text(str(tiny_base)))
    place.path.write_text(place.text)
    ballast = small_disk / "ballast"
    with Editor(place.home, {"probes": {"afterTraining": False}}) as editor:
        uri = editor.open(place.path)
        assert editor.command("dlm.train", uri=uri)["version"] == 1
        editor.forget()
        fill(ballast, leaving=2**20)
        editor.save(uri, place.path, place.text.replace("4417", "9032"))
        status = editor.status(ended(uri, "train", "unavailable"))
        assert "free and 64" in status["last"]["message"]
        ballast.unlink()
        assert place.numbers() == [1]
        editor.save(uri, place.path, place.text.replace("4417", "9032"))
        editor.status(lambda s: over(s) and s["last"]["version"] == 2)


def test_what_cannot_be_written_after_the_commit_undoes_nothing(
    editor: Editor, place: Place, tiny_base: Path
) -> None:
    uri = editor.open(place.path)
    lock = place.store.root / "dlm.lock"
    editor.save(uri, place.path, place.facts(tiny_base, MIDDLING))
    editor.status(stepped)
    lock.unlink()
    lock.mkdir()
    status = editor.status(ended(uri, "train"))
    assert status["last"]["version"] == 2
    lock.rmdir()
    works_again(editor, place, uri, 3)


# --- a store that cannot be read -----------------------------------------------------------


def of_the_future(manifest: dict[str, Any]) -> str:
    return json.dumps({**manifest, "schema_version": 2})


def of_another(manifest: dict[str, Any]) -> str:
    return json.dumps({**manifest, "dlm_id": "01HZ4X7TGZM3J1A2B3C4D5E6F8"})


STORES: list[tuple[Callable[[dict[str, Any]], str], str]] = [
    (of_the_future, "was written by a newer dlm (schema_version 2): update dlm"),
    (of_another, "belongs to another document"),
    (lambda manifest: "{", "is damaged"),
]


@pytest.mark.parametrize(("spoil", "problem"), STORES, ids=["future", "foreign", "damaged"])
def test_a_save_into_a_store_that_cannot_be_read_is_told(
    spoil: Callable[[dict[str, Any]], str], problem: str, editor: Editor, place: Place
) -> None:
    manifest = place.store.root / "manifest.json"
    whole = manifest.read_text()
    spoilt = spoil(json.loads(whole))
    manifest.write_text(spoilt)
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.text.replace("4417", "9032"))
    status = editor.status(ended(uri, "train", "unavailable"))
    assert problem in status["last"]["message"]
    for command in ("dlm.versions", "dlm.train", "dlm.probe", "dlm.runs"):
        assert problem in editor.refused(command, uri=uri)
    assert manifest.read_text() == spoilt
    manifest.write_text(whole)
    works_again(editor, place, uri, 2)


def test_a_file_in_the_place_of_the_store(editor: Editor, place: Place) -> None:
    root = place.store.root
    aside = root.with_name("aside")
    root.rename(aside)
    root.write_text("mine")
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.text.replace("4417", "9032"))
    status = editor.status(ended(uri, "train", "unavailable"))
    assert "is not a folder" in status["last"]["message"]
    assert root.read_text() == "mine"
    root.unlink()
    aside.rename(root)
    works_again(editor, place, uri, 2)


def test_an_editor_that_shows_no_status_gets_a_message(place: Place) -> None:
    (place.store.root / "manifest.json").write_text("{")
    with Editor(place.home, shows=()) as editor:
        uri = editor.open(place.path)
        editor.save(uri, place.path, place.text.replace("4417", "9032"))
        told = editor.wait(lambda m: m.get("method") == "window/showMessage")["params"]
    assert told["type"] == 1
    assert told["message"].startswith("not trained: ")
    assert "is damaged" in told["message"]


def test_a_home_that_cannot_be(place: Place) -> None:
    with Editor(Path("~nobody_of_that_name/x")) as editor:
        uri = editor.open(place.path)
        document = {"uri": uri}
        lenses = editor.ask("textDocument/codeLens", textDocument=document)
        assert lenses[0]["command"]["title"] == "Train"
        for command in ("dlm.train", "dlm.probe", "dlm.versions"):
            said = editor.refused(command, uri=uri)
            assert "cannot be used as the home" in said
        editor.settings["home"] = str(place.home)
        editor.tell("workspace/didChangeConfiguration", settings=None)
        assert editor.command("dlm.rollback", uri=uri, version=1) == {"version": 1}


# --- a document that changes while it trains ------------------------------------------------


def test_what_was_trained_is_what_the_file_said_then(
    editor: Editor, place: Place, tiny_base: Path
) -> None:
    """An editor's automatic save trains nothing, but what waits reads the file it wrote."""
    uri = editor.open(place.path)
    by_hand, by_itself = (place.text.replace("4417", number) for number in ("9032", "1111"))
    editor.save(uri, place.path, place.facts(tiny_base, MIDDLING))
    editor.status(stepped)
    editor.save(uri, place.path, by_hand)
    editor.status(lambda s: s["queued"] == 1)
    editor.save(uri, place.path, by_itself, AFTER_DELAY)
    editor.status(lambda s: ended(uri, "probe")(s) and s["last"]["version"] == 3)
    assert trained_sections(place) == sections(by_itself)
    editor.save(uri, place.path, by_hand)
    editor.status(lambda s: ended(uri, "probe")(s) and s["last"]["version"] == 4)
    assert trained_sections(place) == sections(by_hand)


def test_a_file_that_is_rewritten_while_it_trains(
    editor: Editor, place: Place, tiny_base: Path
) -> None:
    uri = editor.open(place.path)
    slow = place.facts(tiny_base, MIDDLING) + PROBE
    editor.save(uri, place.path, slow)
    editor.status(stepped)
    place.path.write_text(place.text.replace("Ana", "Bea"))
    editor.status(ended(uri, "probe"))
    assert trained_sections(place) == sections(slow)
    lock = json.loads((place.store.root / "dlm.lock").read_text())
    assert lock["dlm_sha256"] == hashlib.sha256(slow.encode()).hexdigest()


def test_a_file_that_goes_while_it_trains(editor: Editor, place: Place, tiny_base: Path) -> None:
    uri = editor.open(place.path)
    editor.save(uri, place.path, place.facts(tiny_base, MIDDLING))
    editor.status(stepped)
    place.path.unlink()
    status = editor.status(ended(uri, "train"))
    assert status["last"]["version"] == 2
    assert "does not exist" in editor.refused("dlm.train", uri=uri)
    works_again(editor, place, uri, 3)


def trained_sections(place: Place) -> set[str]:
    current = place.store.current()
    record = current.run_record() if current else None
    assert record is not None
    return set(record.section_ids)


def sections(text: str) -> set[str]:
    return {section.id for section in parse(text)[0].sections}
