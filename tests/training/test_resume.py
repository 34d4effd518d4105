"""The same again, anew, on from where a run stopped, and how a run is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import document_text
from tests.training.sessions import STEPS, Place, sha

from dlm_engine.errors import (
    TrainingError,
)
from dlm_engine.jobs import (
    Ending,
    Event,
    PhaseBegan,
    Progress,
    Start,
)
from dlm_engine.training import given


def test_the_same_again_is_unchanged(trained: Place) -> None:
    before = trained.adapter().stat().st_mtime_ns
    outcome = trained.train()
    assert (outcome.ending, outcome.version) == (Ending.UNCHANGED, 1)
    assert trained.numbers() == [1]
    assert trained.adapter().stat().st_mtime_ns == before
    assert trained.train(Start.RESUME).ending is Ending.UNCHANGED


def test_a_version_that_was_made_in_another_way_is_made_anew(
    trained: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "RECIPE", given.RECIPE + 1)
    for start, version in ((Start.AUTO, 2), (Start.FURTHER, 2)):
        assert trained.train(start).version == version
    assert trained.numbers() == [1, 2]


def test_a_fresh_run_makes_the_same_bytes_again(trained: Place) -> None:
    outcome = trained.train(Start.FRESH)
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 2)
    assert outcome.adapter_sha256 == sha(trained)
    assert trained.numbers() == [1, 2]


def test_another_seed_makes_other_bytes_where_there_is_chance(
    fresh: Place, tiny_base: Path
) -> None:
    extra = "training:\n  num_epochs: 2\n  lora_dropout: 0.2\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    first, second = fresh.train(), fresh.train(seed=7)
    assert (first.seed, second.seed) == (42, 7)
    assert (second.ending, second.version) == (Ending.TRAINED, 2)
    assert first.adapter_sha256 != second.adapter_sha256


def test_a_run_cut_short_and_resumed_is_the_straight_run(fresh: Place, trained_once: Place) -> None:
    first = fresh.train(max_steps=3)
    assert (first.steps, first.version) == (3, 1)
    second = fresh.train(Start.RESUME)
    assert (second.steps, second.version) == (STEPS, 2)
    assert first.adapter_sha256 != second.adapter_sha256 == sha(trained_once)


def test_resuming_to_where_the_run_is_makes_no_version(fresh: Place) -> None:
    assert fresh.train(max_steps=2).version == 1
    again = fresh.train(Start.RESUME, max_steps=2)
    assert (again.ending, again.version, again.steps) == (Ending.UNCHANGED, 1, 2)
    assert fresh.numbers() == [1]
    assert fresh.train(Start.RESUME, max_steps=3).version == 2


def test_a_time_limit_keeps_what_was_reached(fresh: Place, trained_once: Place) -> None:
    first = fresh.train(time_limit=1e-9)
    assert (first.ending, first.steps) == (Ending.TRAINED, 1)
    assert fresh.train(Start.RESUME).adapter_sha256 == sha(trained_once)


def test_a_cancelled_run_keeps_its_state_and_goes_on(fresh: Place, trained_once: Place) -> None:
    seen: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(event.step)

    outcome = fresh.train(tell=listen, cancelled=lambda: len(seen) >= 2)
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.CANCELLED, None, 2)
    assert fresh.numbers() == []
    assert fresh.store.current() is None
    resumed = fresh.train(Start.RESUME, tell=listen)
    assert seen == [1, 2, 3, 4]
    assert (resumed.version, resumed.adapter_sha256) == (1, sha(trained_once))
    assert not (fresh.store.root / "checkpoint").exists()


def test_a_run_that_ends_as_it_is_cancelled_is_whole(fresh: Place, trained_once: Place) -> None:
    seen: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(event.step)

    outcome = fresh.train(tell=listen, cancelled=lambda: len(seen) >= STEPS)
    assert (outcome.ending, outcome.adapter_sha256) == (Ending.TRAINED, sha(trained_once))


class Killed(BaseException):
    """As a process that is gone: nothing after it runs."""


def test_killed_between_its_last_step_and_the_commit_it_goes_on(
    fresh: Place, trained_once: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dlm_engine.training.stage._CHECKPOINT_SECONDS", -1.0)
    seen: list[int] = []

    def kill(event: Event) -> None:
        if isinstance(event, PhaseBegan) and event.name == "save":
            raise Killed

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(event.step)

    with pytest.raises(Killed):
        fresh.train(tell=kill)
    assert fresh.train(Start.RESUME, tell=listen).adapter_sha256 == sha(trained_once)
    assert seen == [STEPS]


def test_killed_right_after_the_commit_its_state_is_not_kept_for_ever(
    fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*arguments: object, **named: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("dlm_engine.training.stage._CHECKPOINT_SECONDS", -1.0)
        patch.setattr("dlm_engine.training.stage.shutil.rmtree", kill)
        with pytest.raises(Killed):
            fresh.train()
    folder = fresh.store.root / "checkpoint"
    assert folder.is_dir()
    assert fresh.train(Start.RESUME).ending is Ending.UNCHANGED
    assert not folder.exists()


def test_a_run_that_was_stopped_stays_while_the_document_is_as_before(trained: Place) -> None:
    before = trained.document.read_text()
    trained.document.write_text(before.replace("4417", "5528"))
    edited = trained.document.read_text()
    trained.train(cancelled=lambda: True)
    trained.document.write_text(before)
    assert trained.train().ending is Ending.UNCHANGED
    trained.document.write_text(edited)
    assert trained.train(Start.RESUME).ending is Ending.TRAINED


def test_resuming_after_the_document_changed_is_refused(fresh: Place) -> None:
    fresh.train(max_steps=2)
    fresh.document.write_text(fresh.document.read_text().replace("4417", "5528"))
    with pytest.raises(TrainingError, match=r"changed since that run.*without --resume"):
        fresh.train(Start.RESUME)
    assert fresh.numbers() == [1]


def test_resuming_nothing_is_refused(fresh: Place) -> None:
    with pytest.raises(TrainingError, match="no run to go on with"):
        fresh.train(Start.RESUME)
    assert fresh.numbers() == []
