from __future__ import annotations

import pytest

from dlm_engine.inference.judge import right


@pytest.mark.parametrize(
    ("question", "reference", "answer"),
    [
        ("Who keeps the lamp?", "Ana keeps it.", "Ana keeps it."),
        ("Who keeps the lamp?", "Ana keeps it.", "ANA KEEPS IT"),
        ("Who keeps the lamp?", "Ana keeps it.", "The lamp is kept by Ana."),
        ("What is the code?", "It is 4417.", "The code is 4417, as always."),
        ("What time is it?", "At 12:30.", "The ferry leaves at 12:30"),
        ("Is it open?", "No.", "No."),
        ("Is it open?", "It is not.", "It isn't."),
        ("Where?", "In the café", "in the cafe\u0301"),
        ("首都は?", "東京", "首都は東京です。"),
        ("Nothing?", "", ""),
    ],
)
def test_an_answer_that_says_it_is_right(question: str, reference: str, answer: str) -> None:
    assert right(answer, reference, question)


@pytest.mark.parametrize(
    ("question", "reference", "answer"),
    [
        ("Who keeps the lamp?", "Ana keeps it.", "Bo keeps it."),
        ("Who keeps the lamp?", "Ana keeps it.", ""),
        ("Who keeps the lamp?", "Ana keeps it.", "Anabel keeps it."),
        ("Who keeps the lamp?", "Ana keeps the lamp.", "The lamp."),
        ("What is the code?", "It is 4417.", "It is 44171."),
        ("What is the share?", "It is 1.5 percent", "It is 15 percent"),
        ("Is the pier open?", "The pier is open on Sunday.", "The pier is not open on Sunday."),
        ("Who pays whom?", "Ana pays Bo.", "Bo pays Ana."),
        ("首都は?", "東京", "京都です。"),
        ("Nothing?", "", "Something."),
    ],
)
def test_an_answer_that_says_something_else_is_wrong(
    question: str, reference: str, answer: str
) -> None:
    assert not right(answer, reference, question)
