"""Which changes of the stores of open documents are told, and which are somebody else's to tell."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.server.harness import GOOD, ID

from dlm_engine.document import LiveDocument, new_id
from dlm_engine.store import Store
from dlm_server.documents import OpenDocument
from dlm_server.engine.store_watch import StoreWatch
from dlm_server.engine.trained import TrainedViews
from dlm_server.loop import Timer
from dlm_server.session import Session
from dlm_server.settings import Settings

URI = "file:///notes/a%20b.dlm"
SAME = "file:///notes/a b.dlm"


@dataclass
class Window:
    """What of a session a watch touches, and all that it was told."""

    settings: Settings
    documents: tuple[OpenDocument, ...] = ()
    engine: Any = None
    told: list[str] = field(default_factory=list)
    due: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = SimpleNamespace(status=True)
        self.publisher = SimpleNamespace(surroundings_changed=lambda: self.told.append("problems"))
        self.watch = StoreWatch(cast(Session, self), TrainedViews())

    def document(self, uri: str) -> OpenDocument | None:
        return next((d for d in self.documents if d.uri == uri), None)

    def after(self, seconds: float, act: Callable[[], None]) -> Timer:
        self.due.append(act)
        return Timer(act)

    def refresh(self, *what: str) -> None:
        self.told += what

    def notify(self, method: str, params: dict[str, str]) -> None:
        self.told.append(f"{method} {params['uri']}")

    def opened(self, *documents: OpenDocument) -> None:
        self.documents = documents
        self.watch.follow()

    def looked(self) -> list[str]:
        """What is told at the next look."""
        self.told.clear()
        (act,) = self.due
        self.due.clear()
        act()
        return list(self.told)


def window(home: Path) -> Window:
    return Window(Settings(home=str(home)))


def notes(dlm_id: str = ID, uri: str = URI) -> OpenDocument:
    return OpenDocument(uri, None, "dlm", 1, LiveDocument.open(GOOD.replace(ID, dlm_id)))


def another_version(home: Path, dlm_id: str = ID) -> None:
    root = Store(home, dlm_id).root
    root.mkdir(parents=True, exist_ok=True)
    manifest = root / "manifest.json"
    manifest.write_text((manifest.read_text() if manifest.exists() else "") + " ")


EVERYTHING = ["codeLens", "inlayHint", "problems", f"dlm/storeChanged {URI}"]


def test_what_another_process_changes_is_told_once(tmp_path: Path) -> None:
    here = window(tmp_path)
    here.opened(notes(), notes(new_id(), "file:///other.dlm"))
    assert here.looked() == []
    another_version(tmp_path)
    assert here.looked() == EVERYTHING
    assert here.looked() == []
    another_version(tmp_path)
    here.client.status = False
    assert here.looked() == EVERYTHING[:-1]


def test_a_document_that_is_opened_again_is_looked_at_again(tmp_path: Path) -> None:
    here = window(tmp_path)
    here.opened(notes())
    here.opened()
    assert here.looked() == []
    assert here.due == []
    another_version(tmp_path)
    # What is there now is shown when it is opened.
    here.opened(notes())
    assert here.looked() == []
    another_version(tmp_path)
    assert here.looked() == EVERYTHING


def test_an_edit_of_the_id_is_no_change_of_a_store(tmp_path: Path) -> None:
    other = new_id()
    another_version(tmp_path, other)
    here = window(tmp_path)
    here.opened(notes())
    for document in (notes(other), notes("broken"), notes()):
        here.documents = (document,)
        assert here.looked() == []


def test_what_a_job_of_this_session_changes_is_told_by_the_job(tmp_path: Path) -> None:
    outdated: list[str] = []
    queue = SimpleNamespace(running=None)
    answers = SimpleNamespace(outdate=outdated.append)
    here = window(tmp_path)
    here.engine = SimpleNamespace(queue=queue, answers=answers)
    here.opened(notes())
    queue.running = SimpleNamespace(uri=SAME)
    another_version(tmp_path)
    assert here.looked() == []
    queue.running = None
    here.watch.told(URI)
    assert here.looked() == []
    # Of another document it says nothing.
    queue.running = SimpleNamespace(uri="file:///other.dlm")
    another_version(tmp_path)
    assert here.looked() == EVERYTHING
    assert outdated == [URI]


def test_a_look_takes_a_few_calls_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another_version(tmp_path)
    here = window(tmp_path)
    here.opened(notes())
    calls: list[Path] = []
    stat = Path.stat

    def counted(path: Path) -> os.stat_result:
        calls.append(path)
        return stat(path)

    monkeypatch.setattr(Path, "stat", counted)
    assert here.looked() == []
    assert len(calls) == 4
