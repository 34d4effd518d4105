"""What the author left out, beside `training:` or the base."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.server.features.cursor import HEAD

from dlm_engine.document import LiveDocument, Span
from dlm_engine.training.planning import training_rows
from dlm_server.features.planned import Known, planned_hint, within

KNOWN = Known(rows=12, hidden=576, precision="bf16", bound="after a save at most 72 or 60 s")


def written(training: str) -> str:
    return HEAD.removesuffix("---\n") + training + "---\n"


@pytest.mark.parametrize(
    ("text", "known", "line", "label"),
    [
        (HEAD, KNOWN, 3, "→ rank 16, rate 0.002, bf16, until learned"),
        (HEAD, replace(KNOWN, rows=33), 3, "→ rank 32, rate 0.002, bf16, until learned"),
        (HEAD, replace(KNOWN, hidden=2304), 3, "→ rank 16, rate 0.001, bf16, until learned"),
        (HEAD, replace(KNOWN, hidden=None, precision=None), 3, "→ rank 16, until learned"),
        (
            written("training:  # how\n  num_epochs: 3\n"),
            KNOWN,
            4,
            "→ rank 16, rate 0.002, bf16",
        ),
        (
            written("training:\n  lora_r: 8\n  learning_rate: 1e-3\n  precision: null\n"),
            KNOWN,
            4,
            "→ bf16, until learned",
        ),
    ],
)
def test_what_is_planned(text: str, known: Known, line: int, label: str) -> None:
    live = LiveDocument.open(text)
    hint = planned_hint(live, known)
    assert hint is not None
    assert hint.label == label
    assert hint.offset == live.line_start(line) + len(live.line_text(line).rstrip())


def test_every_choice_has_its_reason() -> None:
    hint = planned_hint(LiveDocument.open(HEAD), KNOWN)
    assert hint is not None
    assert hint.tooltip.splitlines() == [
        "lora_r 16: 12 rows to tell apart",
        "lora_alpha 32: twice the rank",
        "lora_dropout 0.0: every fact is seen a few times only; none can be missed",
        "learning_rate 0.002: learns in about ten steps at this width",
        "precision bf16: as in the last training here",
        "steps until every answer is known; after a save at most 72 or 60 s",
    ]


@pytest.mark.parametrize(
    "text",
    [
        written("training: {lora_r: 8, learning_rate: 1e-3, precision: fp32, num_epochs: 2}\n"),
        "no head\n",
    ],
)
def test_nothing_where_all_is_written_or_nothing_can_be(text: str) -> None:
    assert planned_hint(LiveDocument.open(text), KNOWN) is None


def test_nothing_for_a_document_that_trains_nothing() -> None:
    assert planned_hint(LiveDocument.open(HEAD), replace(KNOWN, rows=0)) is None


def test_it_is_made_only_where_it_is_looked_at() -> None:
    live = LiveDocument.open(HEAD + "\nText.\n")
    assert within(live, Span(0, len(HEAD)))
    assert not within(live, Span(len(HEAD), len(HEAD) + 3))
    assert not within(LiveDocument.open("no head\n"), Span(0, 3))


PAIR = "### Q\nWho keeps lamp {0}?\n### A\nAna {0}.\n"


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ("", 0),
        ("Some words.\n", 1),
        ("::instruction::\n" + "".join(PAIR.format(n) for n in range(40)), 40),
        ("::instruction::\n" + PAIR.format(1) * 2, 1),
        # 64 words at once, then 48 and the 16 before them.
        ("word " * 160, 3),
        # From twenty pieces on those are held out whose hash is low.
        ("".join(f"::prose::\nPiece {n}.\n" for n in range(40)), 31),
    ],
)
def test_rows_are_counted_as_training_makes_them(body: str, rows: int) -> None:
    live = LiveDocument.open(HEAD + "\n" + body)
    found = training_rows(live.document, 64, 42, lambda text: len(text.split()))
    assert found == rows
