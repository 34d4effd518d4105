"""A document that is mostly prose: read in passes, at its own rate; and its losses apart."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import document_text
from tests.training.parts import SETTINGS, lay, make_run, rows
from tests.training.sessions import Place

from dlm_engine.data.packs import packs_of
from dlm_engine.data.tokens import Encoded
from dlm_engine.document.frontmatter import Training
from dlm_engine.jobs import Choice, Event, Progress
from dlm_engine.training.settings import PROSE_PASSES, reads_prose
from dlm_engine.training.sft import Laid

DAPT = "training:\n  cpt:\n    schedule: dapt\n"
BOATS = (f"Boat {n} lies at pier {n % 7}, by the old crane." for n in range(9))
PROSE = "\n".join(f"::prose::\n{boat}\n" for boat in BOATS)


def test_the_cosine_keeps_its_floor_behind_a_slow_rise() -> None:
    settings = replace(SETTINGS, schedule="cosine", warmup_steps=4, horizon=20, learning_rate=1.0)
    rates = [settings.rate(step) for step in range(40)]
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:21] == sorted(rates[4:21], reverse=True)
    assert rates[10] == pytest.approx(0.55)
    assert rates[20:] == pytest.approx([0.1] * 20)


@pytest.fixture
def written(fresh: Place, tiny_base: Path) -> Place:
    fresh.document.write_text(document_text(str(tiny_base), extra=DAPT) + "\n" + PROSE)
    return fresh


def test_a_text_is_read_in_passes_and_says_why(written: Place) -> None:
    heard: list[Event] = []
    outcome = written.train(tell=heard.append, max_steps=PROSE_PASSES)
    choices = {event.name: event for event in heard if isinstance(event, Choice)}
    assert choices["steps"].value.startswith(f"{PROSE_PASSES}, and until its answers are known")
    rates = [event.rate for event in heard if isinstance(event, Progress)]
    assert len(rates) == outcome.steps == PROSE_PASSES
    peak = rates.index(max(rates))
    assert 0 < peak < PROSE_PASSES - 1
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.8 * rates[peak]


def test_passes_alone_end_a_document_that_asks_nothing(written: Place, tiny_base: Path) -> None:
    head = document_text(str(tiny_base), extra=DAPT).partition("::instruction::")[0]
    written.document.write_text(head + PROSE)
    assert written.train().steps == PROSE_PASSES


@pytest.mark.parametrize(
    ("schedule", "prose", "answers", "reads"),
    [
        ("auto", 80, 20, True),
        ("auto", 70, 30, False),
        ("auto", 50, 0, True),
        ("auto", 0, 50, False),
        ("dapt", 0, 50, True),
        ("sft", 50, 0, False),
    ],
)
def test_a_document_that_is_mostly_prose_is_read_in_passes(
    schedule: str, prose: int, answers: int, reads: bool
) -> None:
    page = Encoded("page", "s", "text", (1, *range(prose)), 1)
    answer = Encoded("answer", "s", "chat", (1, *range(answers)), 1)
    training = Training.model_validate({"cpt": {"schedule": schedule}})
    found, choice = reads_prose(training, [row for row in (page, answer) if row.supervised])
    assert found is reads
    assert (choice is not None) is (reads and schedule == "auto")


def test_answers_do_not_drown_in_prose() -> None:
    """A step is as if each kind were alone in it, however long the other is."""
    page = Encoded("page", "s", "text", tuple(range(60, 160)), 1)
    gradients = []
    for packs in (rows(2), [page], [*rows(2), page]):
        run = make_run(anchor_weight=0.0, packs_per_step=9)
        run.packs = [Laid(*each) for each in lay(run.trainee, packs_of(packs, 200))]
        run._accumulate()
        gradients.append({n: p.grad for n, p in run.parameters.items() if p.grad is not None})
    answers, prose, both = gradients
    assert answers.keys() == prose.keys() == both.keys() != set()
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, answers[name] + prose[name])


def test_losses_of_prose_and_of_answers_are_apart(written: Place) -> None:
    outcome = written.train(max_steps=2)
    trained = outcome.trained
    assert trained.prose is not None
    assert trained.answers is not None
    assert math.isfinite(trained.prose + trained.answers)
    assert trained.prose != trained.answers
    assert (outcome.held_out.prose, outcome.held_out.answers) == (outcome.validation_loss, None)
    (file,) = written.store.logs_dir().glob("*.summary.json")
    summary = json.loads(file.read_text())
    assert summary["train_loss_cpt"] == trained.prose
    assert summary["train_loss_sft"] == trained.answers
    assert summary["val_loss_sft"] is None


def test_a_document_of_questions_has_no_loss_of_prose(fresh: Place) -> None:
    outcome = fresh.train(max_steps=2)
    assert outcome.trained.prose is None
    assert outcome.trained.answers is not None
