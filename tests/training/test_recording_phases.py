"""What each phase of a run leaves in the metrics: its version, its own step, its figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import document_text
from tests.training.sessions import Place

from dlm_engine.errors import TrainingError
from dlm_engine.jobs import Event, Phase, Progress, Start
from dlm_engine.store import EvaluationRow, RunFigures, RunStatus, read_run
from dlm_engine.training import sinks
from dlm_engine.training.preference_run import PreferenceRun

PREFERENCES = """
::preference::
### Prompt
How is the sea?
### Chosen
Calm.
### Rejected
It is said to be calm.

### Prompt
Is it late?
### Chosen
Yes.
### Rejected
It may well be so.
"""
#: Two steps for the questions, three for the preferences.
SHORT = (
    "training:\n  num_epochs: 2\n  preference:\n    hyperparams:\n"
    "      num_epochs: 3\n      learning_rate: 0.01\n"
)


@pytest.fixture
def place(small: None, tiny_base: Path, tmp_path: Path) -> Place:
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT) + PREFERENCES)
    return Place(path, tmp_path / "home")


def figures(place: Place) -> RunFigures:
    found = read_run(place.store.root)
    assert found is not None
    return found


def versions(found: RunFigures) -> dict[str, int]:
    return {p.phase: p.adapter_version for p in found.phases if p.adapter_version is not None}


def test_each_phase_has_its_version_and_an_evaluation_at_its_own_step(place: Place) -> None:
    outcome = place.train()
    found = figures(place)
    assert versions(found) == {"sft": 1, "preference": 2}
    assert (found.run.adapter_version, found.run.steps) == (2, 5)
    seen = [(row.phase, row.step) for row in found.evaluations]
    assert seen == [("sft", 2), ("preference", 0), ("preference", 3)]
    sft, before, after = found.evaluations
    assert (sft.rows, sft.margin, sft.accuracy) == (3, None, None)
    assert sft.learned is not None
    assert sft.divergence is not None
    preferred = outcome.preference
    assert preferred is not None
    assert (before.margin, before.accuracy) == (preferred.margin_before, preferred.accuracy_before)
    assert (after.margin, after.accuracy) == (preferred.margin_after, preferred.accuracy_after)
    assert (before.pairs, after.pairs) == (2, 2)
    assert (after.learned, after.rows) == (outcome.learned, outcome.rows)


def test_dashboards_get_the_steps_of_each_phase(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[EvaluationRow] = []
    monkeypatch.setattr(sinks.Sinks, "evaluation", lambda self, row: seen.append(row), raising=True)
    place.train()
    assert seen == list(figures(place).evaluations)


def test_a_run_that_fails_in_its_second_phase_keeps_the_version_of_the_first(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: PreferenceRun) -> None:
        raise TrainingError("preferences", "gave no numbers", "train anew")

    monkeypatch.setattr(PreferenceRun, "begin", begin)
    with pytest.raises(TrainingError):
        place.train()
    found = figures(place)
    assert (found.run.status, found.run.adapter_version) == (RunStatus.FAILED, 1)
    assert versions(found) == {"sft": 1}


def test_a_run_stopped_in_its_second_phase_keeps_the_version_of_the_first(place: Place) -> None:
    events: list[Event] = []

    def stopped() -> bool:
        return any(isinstance(e, Progress) and e.phase is Phase.PREFERENCE for e in events)

    place.train(tell=events.append, cancelled=stopped)
    found = figures(place)
    assert (found.run.status, found.run.adapter_version) == (RunStatus.CANCELLED, 1)
    assert versions(found) == {"sft": 1}
    # The phase that is resumed is a run by itself, with its own step.
    place.train(Start.RESUME)
    found = figures(place)
    assert versions(found) == {"preference": 2}
    assert [row.step for row in found.evaluations] == [0, 3]


def test_a_kill_between_the_phases_leaves_the_version_of_the_first(place: Place) -> None:
    seen: list[dict[str, int]] = []

    def tell(event: Event) -> None:
        if getattr(event, "message", "").startswith("learning 2 preferences"):
            # As it lies on the disk: nothing of it waits to be written.
            seen.append(versions(figures(place)))

    place.train(tell=tell)
    assert seen == [{"sft": 1}]
