"""The part of a plan that is plain arithmetic, each choice with its reason.

Without torch, so that an editor can show what a document's author left out before anything
was trained. `settings` decides the rest, which takes the base, the machine and the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dlm_engine.data.rows import ChatRow, rows_of
from dlm_engine.data.split import split_rows
from dlm_engine.data.tokens import Encoded, windows
from dlm_engine.document.frontmatter import Training
from dlm_engine.document.model import Document
from dlm_engine.training.model import Choice


@dataclass(frozen=True, slots=True)
class AdapterPlan:
    """`choices` are those the author left to us."""

    rank: int
    alpha: int
    dropout: float
    choices: tuple[Choice, ...]


def plan_adapter(training: Training, rows: int) -> AdapterPlan:
    """The size of the adapter for so many training rows."""
    wrote = training.model_fields_set
    choices: list[Choice] = []
    rank, alpha, dropout = training.lora_r, training.lora_alpha, training.lora_dropout
    if "lora_r" not in wrote:
        rank = planned_rank(rows)
        choices.append(Choice("lora_r", str(rank), f"{rows} rows to tell apart"))
    if "lora_alpha" not in wrote:
        alpha = 2 * rank
        choices.append(Choice("lora_alpha", str(alpha), "twice the rank"))
    if "lora_dropout" not in wrote:
        dropout = 0.0
        reason = "every fact is seen a few times only; none can be missed"
        choices.append(Choice("lora_dropout", str(dropout), reason))
    return AdapterPlan(rank, alpha, dropout, tuple(choices))


def plan_rate(training: Training, hidden: int) -> tuple[float, Choice | None]:
    """The learning rate on a base that is `hidden` wide; the choice, if the author made none."""
    if "learning_rate" in training.model_fields_set:
        return training.learning_rate, None
    rate = planned_rate(hidden)
    return rate, Choice("learning_rate", f"{rate:g}", "learns in about ten steps at this width")


def planned_rank(rows: int) -> int:
    """16 directions hold a dozen facts apart; more rows get more, up to 64."""
    return next(rank for rank in (16, 32, 64) if rows <= 2 * rank or rank == 64)


def planned_rate(hidden: int) -> float:
    """2e-3 at 576 wide, where it was measured, falling with the square root of the width."""
    return float(f"{2e-3 * math.sqrt(576 / max(576, hidden)):.2g}")


def training_rows(document: Document, length: int, seed: int, tokens: Callable[[str], int]) -> int:
    """How many rows of at most `length` tokens a document trains, by how many tokens texts have."""
    encoded: list[Encoded] = []
    for row in rows_of(document):
        if isinstance(row, ChatRow):
            prompt = max(1, tokens(row.question))
            encoded += windows(
                row.key, row, "chat", [0] * (prompt + tokens(row.answer)), prompt, length
            )
        else:
            encoded += windows(row.key, row, "text", [0] * max(1, tokens(row.text)), 1, length)
    return len(split_rows(encoded, seed).train)
