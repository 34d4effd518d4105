"""From `training.preference` to what its phase does, every automatic choice with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal

from dlm_engine.data.pairs import Pair
from dlm_engine.document.frontmatter import Training
from dlm_engine.training.model import Choice
from dlm_engine.training.settings import STEP_TOKENS, Settings

#: A pair counts as preferred when its chosen answer is this much likelier than the rejected
#: one, in nats per token, and at least as likely as either was before.
PREFERRED: Final = 0.5
#: Weight of the loss on the document's own rows, and of the pull to the base, beside the pairs'.
REPLAY_WEIGHT: Final = 1.0
#: Weight of the chosen answers' own loss, per token, beside DPO's. Alone DPO is content when both
#: answers get unlikelier, the rejected one faster, and the model then says something third
#: (Pang et al. 2024, "Iterative Reasoning Preference Optimization").
CHOSEN_WEIGHT: Final = 1.0
#: The learning rate, as a share of the questions'.
RATE: Final = 0.5
_CAP: Final = 40
_WARMUP: Final = 2
#: New directions for the first preference, for each further one, and at most.
_COLUMNS: Final = 8
_COLUMNS_EACH: Final = 1
_MOST_COLUMNS: Final = 32
#: Choices that say nothing where there are only preferences.
_OF_ROWS: Final = ("learning_rate", "batch", "steps")


@dataclass(frozen=True, slots=True)
class PreferenceSettings:
    """All that fixes the preference phase besides its pairs and the adapter it begins with.

    `run` has the rank of an adapter that knows nothing else; see `grown`.
    """

    method: Literal["dpo", "orpo"]
    loss_type: Literal["sigmoid", "hinge", "ipo"]
    reference: Literal["base", "pre_adapter"]
    #: None for what the pairs need, which only the reference shows (`PreferenceRun.beta`)
    beta: float | None
    alpha: float
    run: Settings
    #: packs of pairs a step
    packs_per_step: int
    #: new directions beside those of the earlier adapter; 0 where there is none, or its rank is
    #: fixed
    columns: int

    @property
    def objective(self) -> str:
        """What the loss is, in words."""
        if self.method == "orpo":
            return f"orpo, alpha {self.alpha:g}"
        beta = "from the pairs" if self.beta is None else f"{self.beta:g}"
        return f"dpo {self.loss_type}, beta {beta}, compared with {self.reference}"

    def facts(self) -> dict[str, object]:
        """Everything that the bytes depend on."""
        return {**asdict(self), "run": self.run.facts()}

    def grown(self, rank: int, alpha: int) -> Settings:
        """The settings upon an adapter of this rank and alpha, whose scale stays as it is."""
        columns = self.columns
        while alpha * columns % rank:
            columns += 1
        return replace(self.run, rank=rank + columns, alpha=alpha * (rank + columns) // rank)


def settle_preferences(
    training: Training, settings: Settings, pairs: Sequence[Pair], *, packs: int, rows: int
) -> PreferenceSettings:
    """Decide everything the phase needs.

    `settings` are the document's, `packs` how many `pairs` make, `rows` how many others there
    are to learn.
    """
    wishes = training.preference
    numbers = wishes.hyperparams
    notes = [] if rows else [c for c in settings.choices if c.name not in _OF_ROWS]

    def chosen(name: str, value: object, reason: str) -> None:
        notes.append(Choice(f"preference.{name}", str(value), reason))

    rate = numbers.learning_rate
    if "learning_rate" not in numbers.model_fields_set:
        rate = RATE * settings.learning_rate
        chosen("learning_rate", f"{rate:g}", "half of the questions': two answers pull at once")
    per_step = packs
    tokens = sum(pair.tokens for pair in pairs)
    if tokens > 2 * STEP_TOKENS:
        per_step = max(1, min(packs, STEP_TOKENS * packs // tokens))
    if (training.micro_batch_size, training.grad_accum) != ("auto", "auto"):
        per_step = min(packs, settings.packs_per_step)
    per_epoch = math.ceil(packs / per_step)
    stop = "num_epochs" not in numbers.model_fields_set
    cap = _CAP * per_epoch if stop else numbers.num_epochs * per_epoch
    if stop:
        chosen(
            "steps",
            f"until preferred, at most {cap}",
            f"every chosen answer {PREFERRED} nats a token likelier than the rejected one, "
            "and as likely as either was",
        )
    beta = (
        None
        if wishes.loss_type == "ipo" and "beta" not in numbers.model_fields_set
        else numbers.beta
    )
    if wishes.method == "dpo":
        if beta is None:
            chosen(
                "beta", "from the pairs", "ipo goes as far as beta says; the hardest pair decides"
            )
        chosen("replay", "the chosen answers", "dpo alone may make both answers unlikelier")
    columns = 0
    if rows and "lora_r" not in training.model_fields_set and training.adapter != "dora":
        columns = min(_MOST_COLUMNS, _COLUMNS + _COLUMNS_EACH * (len(pairs) - 1))
        chosen("columns", columns, f"{len(pairs)} preferences; what was learned before stays")
    run = replace(
        settings,
        learning_rate=rate,
        schedule="constant",
        warmup_steps=min(_WARMUP, cap),
        horizon=cap,
        cap=cap,
        least=0,
        stop_when_learned=stop,
        choices=tuple(notes),
    )
    return PreferenceSettings(
        wishes.method,
        wishes.loss_type,
        wishes.reference,
        beta,
        numbers.alpha,
        run,
        per_step,
        columns,
    )
