"""`dlm train --watch`: what it trains, what it survives, and how it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dlm_engine.cli import watching
from dlm_engine.cli.entry import main
from dlm_engine.document import content_digest, read_document
from dlm_engine.errors import StoreLocked
from dlm_engine.jobs import Ending, MadeBy, TrainOutcome, TrainRequest

TEXT = """\
---
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 15
base_model: smollm2-135m
---

::instruction::
### Q
Who?
### A
Amira.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(TEXT)
    return path


def replaced(path: Path, text: str) -> None:
    """Save as editors do: another file takes the place of this one."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    os.replace(beside, path)


def test_a_real_save_is_seen_and_one_that_teaches_nothing_new_is_not(path: Path) -> None:
    found = watching.contents(path)
    first = next(found)

    def save_twice() -> None:
        replaced(path, TEXT + "\n\n")
        replaced(path, TEXT.replace("Amira", "Bo"))

    saving = threading.Thread(target=save_twice)
    saving.start()
    second = next(found)
    saving.join()
    assert second != first
    assert second == content_digest(read_document(path)[0])
    replaced(path, "---\nbroken")
    assert next(found) not in (first, second)
    path.unlink()
    assert next(found) == ""


def test_a_change_of_a_source_is_seen(path: Path) -> None:
    source = path.parent / "notes" / "deep" / "a.md"
    source.parent.mkdir(parents=True)
    source.write_text("one")
    path.write_text(TEXT.replace("---\n\n", "training:\n  sources: [{path: notes}]\n---\n\n"))
    found = watching.contents(path)
    seen = [next(found)]
    changes: list[Callable[[], object]] = [
        lambda: source.write_text("another"),
        lambda: source.with_name("b.md").write_text("new"),
        source.unlink,
    ]
    for change in changes:
        change()
        seen.append(next(found))
    assert len(set(seen)) == 4


class Writing(threading.Event):
    """Between two looks of the watch, whoever writes is a step further; keeps how long they are."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        super().__init__()
        self.steps, self.waits = list(steps), list[float | None]()

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        if self.steps:
            self.steps.pop(0)()
        return self.is_set()


def test_what_is_still_being_written_is_waited_for(path: Path) -> None:
    source = path.parent / "notes" / "a.md"
    source.parent.mkdir()
    source.write_text("half")
    path.write_text(TEXT.replace("---\n\n", "training:\n  sources: [{path: notes}]\n---\n\n"))

    def append() -> None:
        with source.open("a") as file:
            file.write(" and more")

    def edit() -> None:
        replaced(path, path.read_text().replace("Amira", "Bo"))

    writing = Writing(append, append, edit)
    found = watching.contents(path, ended=writing)
    next(found)
    # As when a training ends in the midst of a checkout.
    append()
    whole = next(found)
    assert source.read_text() == "half" + 3 * " and more"
    assert whole == next(watching.contents(path))
    # A source is looked at each second, and the document is told of at once.
    assert writing.waits == [1.0, 1.0, 1.0, 0.3]


def test_what_is_due_waits_for_the_writing_and_comes_without_it(path: Path) -> None:
    writing = Writing(lambda: replaced(path, TEXT.replace("Amira", "Bo")))
    found = watching.contents(path, lambda: True, writing)
    first = next(found)
    assert next(found) == first
    assert writing.waits == []
    replaced(path, TEXT.replace("Amira", "B"))
    assert next(found) == content_digest(read_document(path)[0])
    assert writing.waits == [0.3, 0.3]


def test_what_is_written_and_taken_back_is_no_change(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_changes", lambda path, ended: iter([None]))
    writing = Writing(lambda: replaced(path, TEXT))
    found = watching.contents(path, ended=writing)
    next(found)
    replaced(path, TEXT.replace("Amira", "Bo"))
    assert list(found) == []
    assert writing.steps == []


def test_the_end_is_not_waited_for(path: Path) -> None:
    writing = Writing()
    writing.steps = [writing.set]
    found = watching.contents(path, ended=writing)
    next(found)
    replaced(path, TEXT.replace("Amira", "Bo"))
    assert list(found) == []


def test_a_folder_that_others_write_into_all_the_time_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*folders: Path, **options: object) -> Iterator[set[tuple[int, str]]]:
        yield {(2, str(path.with_name("app.log")))}

    monkeypatch.setattr("watchfiles.watch", busy)
    assert len(list(watching.contents(path, lambda: True))) == 2


Job = Callable[..., TrainOutcome]


@pytest.fixture
def run(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[object]], int]:
    """Run the command with these outcomes of the job, one for each change of the file."""

    def start(outcomes: list[object]) -> int:
        rest = iter(outcomes)

        def job(*arguments: object) -> TrainOutcome:
            outcome = next(rest)
            if isinstance(outcome, BaseException):
                raise outcome
            assert isinstance(outcome, TrainOutcome)
            return outcome

        def changes(path: Path, ended: object) -> Iterator[None]:
            for number in range(len(outcomes) - 1):
                path.write_text(TEXT.replace("Amira", f"Bo {number}"))
                yield None
            raise KeyboardInterrupt

        monkeypatch.setattr("dlm_engine.cli.commands.train.train", job)
        monkeypatch.setattr(watching, "_changes", changes)
        return main(["train", str(path), "--watch"])

    return start


TRAINED = TrainOutcome(Ending.TRAINED, version=3, steps=5, learned=1, rows=1, seconds=1.0)


def test_it_trains_once_for_every_change_and_ctrl_c_ends_it_well(
    run: Callable[[list[object]], int], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([TRAINED, TRAINED]) == 0
    said = capsys.readouterr().err
    assert said.count("version 3: 1 of 1 known") == 2
    assert said.count("waiting for") == 2
    assert f"{path} has changed" in said
    assert said.endswith("no longer watching\n")


def test_what_cannot_be_trained_is_said_and_waited_out(
    run: Callable[[list[object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    held = StoreLocked("/s", "is in use by process 7", "wait")
    assert run([held, TRAINED]) == 0
    said = capsys.readouterr().err
    assert "error: /s: is in use by process 7: wait" in said
    assert "version 3" in said


def test_a_training_that_is_stopped_ends_the_watch(
    run: Callable[[list[object]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([TrainOutcome(Ending.CANCELLED, steps=1), TRAINED]) == 0
    assert "waiting for" not in capsys.readouterr().err


@pytest.mark.parametrize(("keep", "kept"), [((), 10), (("--keep", "3"), 3), (("--keep", "0"), 0)])
def test_how_many_of_its_versions_stay(
    keep: tuple[str, ...], kept: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TrainRequest] = []

    def job(request: TrainRequest, *arguments: object) -> TrainOutcome:
        asked.append(request)
        return TrainOutcome(Ending.CANCELLED)

    monkeypatch.setattr("dlm_engine.cli.commands.train.train", job)
    assert main(["train", str(path), "--watch", *keep]) == 0
    assert (asked[0].made_by, asked[0].keep_saved) == (MadeBy.SAVE, kept)


def test_keep_without_watch_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(path), "--keep", "3"]) == 2
    assert "--keep: goes with --watch" in capsys.readouterr().err


@pytest.mark.parametrize("other", ["--json", "--fresh", "--resume", "--phase=sft"])
def test_what_makes_no_sense_with_it_is_refused(
    other: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(path), "--watch", other]) == 2
    name = other.partition("=")[0]
    assert f"--watch and {name} exclude each other" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_not_waited_for(
    run: Callable[[list[object]], int], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path.unlink()
    assert run([TRAINED]) == 1
    said = capsys.readouterr().err
    assert "does not exist" in said
    assert "waiting for" not in said
