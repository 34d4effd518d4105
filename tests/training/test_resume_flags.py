"""`--resume` goes on with the flags that the run was begun with, and to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import document_text
from tests.training.sessions import SHORT, Place

from dlm_engine.errors import UsageError
from dlm_engine.jobs import Ending, Event, Phase, Progress, Start, Status
from dlm_engine.training.checkpoint import read_facts

SEEDED = SHORT + "  lora_dropout: 0.2\n"
PREFERENCE = "\n::preference::\n### Prompt\nLate?\n### Chosen\nYes.\n### Rejected\nMaybe.\n"


@pytest.fixture
def place(fresh: Place, tiny_base: Path) -> Place:
    """A run whose every byte hangs on the seed."""
    fresh.document.write_text(document_text(str(tiny_base), extra=SEEDED))
    return fresh


def after(steps: int) -> tuple[Callable[[Event], None], Callable[[], bool]]:
    """A listener, and when it wants the run to stop."""
    seen: list[Event] = []
    return (
        lambda event: seen.append(event) if isinstance(event, Progress) else None,
        lambda: len(seen) >= steps,
    )


def said(place: Place, **wishes: Any) -> tuple[list[str], Any]:
    told: list[Event] = []
    outcome = place.train(Start.RESUME, told.append, **wishes)
    words = [e.message for e in told if isinstance(e, Status)]
    return [each for each in words if each.startswith("going on")], outcome


FLAGS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 7}, "--seed 7"),
    "layers": ({"all_layers": True}, "--all-layers"),
    "both": ({"seed": 7, "all_layers": True}, "--seed 7 --all-layers"),
}


@pytest.mark.parametrize("case", FLAGS)
@pytest.mark.parametrize("ended", ["stopped", "steps"])
def test_flags_are_remembered_to_the_same_bytes(
    case: str, ended: str, place: Place, tmp_path: Path
) -> None:
    flags, words = FLAGS[case]
    straight = replace(place, home=tmp_path / "other").train(**flags)
    if ended == "stopped":
        tell, cancelled = after(2)
        place.train(tell=tell, cancelled=cancelled, **flags)
    else:
        place.train(max_steps=2, **flags)
    heard, outcome = said(place)
    assert heard == [f"going on with {words}, as that run was begun"]
    assert outcome.ending is Ending.TRAINED
    assert outcome.adapter_sha256 == straight.adapter_sha256
    # So the state of the resumed run says it as well, and what is over is over.
    assert said(place)[1].ending is Ending.UNCHANGED


def test_a_flag_that_is_given_again_is_taken_and_not_told(place: Place) -> None:
    place.train(max_steps=2, seed=7)
    heard, outcome = said(place, seed=7)
    assert (heard, outcome.seed) == ([], 7)


def test_without_flags_nothing_is_told(place: Place) -> None:
    place.train(max_steps=2)
    assert said(place, seed=42)[0] == []


CONTRARY: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "another seed": ({"seed": 7}, {"seed": 8}, r"--seed 8: that run has the seed 7: leave"),
    "a seed": ({}, {"seed": 8}, r"--seed 8: that run has the seed 42: leave"),
    "all layers": ({}, {"all_layers": True}, r"--all-layers: that run was begun without it"),
}


@pytest.mark.parametrize("case", CONTRARY)
def test_a_flag_that_says_otherwise_is_refused_by_its_name(case: str, place: Place) -> None:
    begun, given, words = CONTRARY[case]
    place.train(max_steps=2, **begun)
    with pytest.raises(UsageError, match=words):
        place.train(Start.RESUME, **given)
    assert place.numbers() == [1]
    assert place.train(Start.RESUME).ending is Ending.TRAINED


def test_a_phase_is_remembered_until_it_is_over(place: Place) -> None:
    place.document.write_text(place.document.read_text() + PREFERENCE)
    place.train(max_steps=2, phase=Phase.SFT)
    with pytest.raises(UsageError, match=r"--phase preference: .* begun with --phase sft"):
        place.train(Start.RESUME, phase=Phase.PREFERENCE)
    heard, outcome = said(place)
    assert heard == ["going on with --phase sft, as that run was begun"]
    assert (outcome.version, outcome.preference) == (2, None)
    heard, outcome = said(place, max_steps=2)
    assert heard == []
    assert outcome.preference is not None


def test_a_run_that_ends_on_held_out_prose_does_not_go_on(place: Place) -> None:
    prose = "".join(f"\n::prose::\nBoat {n} lies at pier {n % 7}.\n" for n in range(30))
    place.document.write_text(place.document.read_text() + prose)
    tell, cancelled = after(1)
    place.train(tell=tell, cancelled=cancelled, early_stop=3)
    with pytest.raises(UsageError, match=r"--early-stop 3, and does not go on: give --early-stop"):
        place.train(Start.RESUME)


def test_a_state_of_before_flags_were_kept_goes_on_as_it_did(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dlm_engine.training.resuming.asked_of", lambda *_, **__: None)
        place.train(max_steps=2, seed=7)
    current = place.store.current()
    assert current is not None
    facts = read_facts(current.path)
    assert facts is not None
    assert facts.asked is None
    heard, outcome = said(place, seed=7)
    assert (heard, outcome.seed) == ([], 7)
