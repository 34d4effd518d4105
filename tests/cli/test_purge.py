"""`dlm purge`: what is said of each thing that was to be forgotten."""

from __future__ import annotations

import pytest

from dlm_engine.cli.commands.purge import _verdict
from dlm_engine.jobs import Proof
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
