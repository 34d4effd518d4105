"""`dlm purge`: what is said of each thing that was to be forgotten."""

from __future__ import annotations

import pytest

from dlm_engine.cli.commands.purge import _verdict
from dlm_engine.jobs import Margin, Proof
from dlm_engine.store import LearnedRow

ASKED = LearnedRow(
    kind="chat", key="k", section_id="s", question="Where is the pier?", text="In Norby."
)


@pytest.mark.parametrize(
    ("answer", "known", "base_knows", "said"),
    [
        ("In Oslo.", False, False, "forgotten: 'Where is the pier?', answered 'In Oslo.'"),
        ("In Norby.", True, False, "still known: 'Where is the pier?', answered 'In Norby.'"),
        ("In Norby.", True, True, "known to the base itself: 'Where is the pier?', answered"),
        ("so " * 99, False, False, "…'"),
    ],
)
def test_what_was_asked_and_answered_is_one_line(
    answer: str, known: bool, base_knows: bool, said: str
) -> None:
    line = _verdict(Proof(ASKED, answer, known, base_knows))
    assert said in line
    assert len(line) < 160


PREFERRED = LearnedRow(
    kind="preference", key="k", section_id="s", question="Late?", text="Yes.", instead="Maybe."
)


@pytest.mark.parametrize(
    ("margin", "known", "base_knows", "said"),
    [
        (Margin(2.31, 0.1, -0.2), False, False, "forgotten: 'Late?', 'Yes.' over 'Maybe.' by "),
        (Margin(2.31, 0.1, -0.2), False, False, "by +0.10 nats a token (before: +2.31, the base"),
        (Margin(None, 0.1, -0.2), False, False, "by +0.10 nats a token (the base alone: -0.20)"),
        (Margin(2.31, 2.2, -0.2), True, False, "still preferred: 'Late?'"),
        (Margin(2.31, 2.2, 2.0), True, True, "preferred by the base itself: 'Late?'"),
    ],
)
def test_what_was_measured_of_a_preference_is_one_line(
    margin: Margin, known: bool, base_knows: bool, said: str
) -> None:
    assert said in _verdict(Proof(PREFERRED, "", known, base_knows, margin))


@pytest.mark.parametrize(
    ("margin", "kept"),
    [
        (Margin(9.9, 0.95, 0.48), False),
        (Margin(9.9, 6.0, 0.48), True),
        (Margin(1.2, 0.4, -0.6), False),
        (Margin(None, 0.4, -0.6), False),
        (Margin(None, 0.6, -0.6), True),
    ],
)
def test_a_preference_is_kept_by_more_than_half_of_what_training_added(
    margin: Margin, kept: bool
) -> None:
    assert margin.kept is kept
