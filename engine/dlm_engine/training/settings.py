"""From what the author wrote to what will run, every automatic choice with its reason.

What stands in the frontmatter is honoured to the letter; what does not is planned from
the base and the amount of text, to teach and then to stop. Nothing here looks at the
clock, at free memory or at how busy the machine is: equal inputs plan equally.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from dlm_engine.bases import BaseSpec
from dlm_engine.data.tokens import Encoded
from dlm_engine.document.frontmatter import Training
from dlm_engine.hardware import ModelShape, Plan, trained_layers
from dlm_engine.training.model import Choice
from dlm_engine.training.planning import plan_adapter, plan_rate

#: A row counts as learned when each token of its answer is this likely: then greedy
#: decoding says it word for word, with room left for a quantised export.
LEARNED: Final = 0.6
#: The share of a prose window's tokens that must be the likeliest for it to count as known.
LEARNED_PROSE: Final = 0.8
#: Anchor questions per step, of those in `anchors.py`, taken in turn.
ANCHORS_PER_STEP: Final = 12
#: Weight of the divergence from the base on them, in nats per token, against the loss.
ANCHOR_WEIGHT: Final = 2.0
#: Packs whose tokens together stay below this are all taken in every step.
STEP_TOKENS: Final = 1600
_HORIZON: Final = 24
#: Above this share of prose, in supervised tokens, a document is read as prose.
PROSE_SHARE: Final = 0.7
#: Passes over a document that is read as prose, and the share of them that the rate rises.
PROSE_PASSES: Final = 6
_PROSE_WARMUP: Final = 0.2
_CAP_FACTOR: Final = 3
_WARMUP_STEPS: Final = 3
_FLOOR: Final = 0.1


@dataclass(frozen=True, slots=True)
class Settings:
    """All that fixes a run besides its rows, base and machine."""

    kind: Literal["lora", "qlora", "dora"]
    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    #: trained layers, counted from the end; None for all
    layers: int | None
    learning_rate: float
    schedule: Literal["cosine", "linear", "constant"]
    warmup_steps: int
    #: steps over which the learning rate falls
    horizon: int
    #: steps after which training ends whether or not everything is learned
    cap: int
    #: end before `cap` once every row is learned
    stop_when_learned: bool
    seed: int
    sequence_len: int
    pack_tokens: int
    #: most rows in a pack; None where only tokens count
    pack_rows: int | None
    packs_per_step: int
    anchors_per_step: int
    anchor_weight: float
    #: the adapter may get more rank than it began with
    grows: bool
    choices: tuple[Choice, ...]
    #: steps before which it does not end, learned or not
    least: int = 0
    optimizer: str = "adamw_torch"
    #: steps before the first that train embeddings
    embed_warmup: int = 0

    def facts(self) -> dict[str, object]:
        """Everything that the bytes depend on; what is as it always was goes without saying."""
        facts = asdict(self)
        del facts["choices"]
        usual = {"least": 0, "optimizer": "adamw_torch", "embed_warmup": 0}
        return {name: value for name, value in facts.items() if usual.get(name, ...) != value}

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, 2, …: warm-up, then the schedule, then its floor."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        along = min(1.0, step / self.horizon)
        if self.schedule == "constant":
            return self.learning_rate * warm
        falling = 1 - along if self.schedule == "linear" else (1 + math.cos(math.pi * along)) / 2
        return self.learning_rate * warm * (_FLOOR + (1 - _FLOOR) * falling)


def sequence_length(training: Training, spec: BaseSpec) -> int:
    """The longest row in tokens: what the author wrote, as far as the base can look back."""
    return min(training.sequence_len, spec.effective_context)


def settle(
    training: Training,
    spec: BaseSpec,
    shape: ModelShape,
    plan: Plan,
    rows: Sequence[Encoded],
    *,
    model_type: str,
    packs: int,
    seed: int | None,
    all_layers: bool = False,
) -> Settings:
    """Decide everything a run needs.

    `rows` are the training rows, `packs` how many packs they make, `seed` and `all_layers`
    what the command line asked for.
    """
    wrote = training.model_fields_set
    notes: list[Choice] = []

    def chosen(name: str, value: object, reason: str) -> None:
        notes.append(Choice(name, str(value), reason))

    def authored(name: str) -> bool:
        return name in wrote

    adapter = plan_adapter(training, len(rows))
    notes += adapter.choices
    modules = spec.target_modules
    if training.target_modules != "auto":
        modules = tuple(training.target_modules)
    else:
        chosen("target_modules", " ".join(modules), "all linear layers learn in fewest steps")
    layers = trained_layers(shape, model_type, all_layers=all_layers)
    if layers is not None:
        chosen(
            "layers",
            f"last {layers} of {shape.layers}",
            "the layers below are computed once and kept, so a step costs a third",
        )
    rate, note = plan_rate(training, shape.hidden)
    notes += [note] if note else []
    packs_per_step = packs
    if not _fits_one_step(rows):
        per_pack = max(1, sum(len(r.ids) for r in rows) // packs)
        packs_per_step = max(1, min(packs, STEP_TOKENS // per_pack))
    if plan.grad_accum is not None:
        packs_per_step = plan.grad_accum
    steps_per_epoch = max(1, math.ceil(packs / packs_per_step))
    chosen(
        "batch",
        f"{min(packs_per_step, packs)} of {packs} packs a step",
        "every row in every step" if packs_per_step >= packs else "a step stays short",
    )
    stop = not authored("num_epochs")
    dapt, note = reads_prose(training, rows)
    notes += [note] if note else []
    passes = training.num_epochs if not stop else PROSE_PASSES if dapt else _HORIZON
    horizon = passes * steps_per_epoch
    cap, least = horizon, 0
    if stop and dapt:
        least = horizon
        asks = any(row.kind == "chat" for row in rows)
        cap = max(horizon, _HORIZON * steps_per_epoch) if asks else horizon
        further = f", and until its answers are known, at most {cap}" if asks else ""
        chosen("steps", f"{horizon}{further}", f"{passes} passes: more recite the text")
        # Answers are learned by then, or still have a rate to learn with.
        horizon = 2 * horizon if asks else horizon
    elif stop:
        cap = _CAP_FACTOR * horizon
        chosen("steps", f"until learned, at most {cap}", f"every answer token at p >= {LEARNED}")
    schedule = training.lr_scheduler
    if not authored("lr_scheduler"):
        schedule = "cosine" if dapt else "linear"
    warmup = round(training.warmup_ratio * horizon)
    if not authored("warmup_ratio"):
        slowly = round(_PROSE_WARMUP * horizon) if dapt else 0
        warmup = min(max(_WARMUP_STEPS, slowly), horizon)
    return Settings(
        kind=training.adapter,
        rank=adapter.rank,
        alpha=adapter.alpha,
        dropout=adapter.dropout,
        target_modules=modules,
        layers=layers,
        learning_rate=rate,
        schedule=schedule,
        warmup_steps=warmup,
        horizon=horizon,
        cap=cap,
        stop_when_learned=stop,
        seed=training.seed if seed is None else seed,
        sequence_len=sequence_length(training, spec),
        pack_tokens=plan.pack_tokens,
        pack_rows=plan.micro_batch,
        packs_per_step=packs_per_step,
        anchors_per_step=ANCHORS_PER_STEP,
        anchor_weight=ANCHOR_WEIGHT,
        grows=stop and not authored("lora_r") and training.adapter != "dora",
        choices=tuple(notes),
        least=least,
        optimizer=training.optimizer,
        embed_warmup=training.cpt.embed_warmup_steps,
    )


def reads_prose(training: Training, rows: Sequence[Encoded]) -> tuple[bool, Choice | None]:
    """Whether `rows` are read in a few passes, as prose is, rather than until they are known; the
    choice, if the author made none."""
    if training.cpt.schedule != "auto":
        return training.cpt.schedule == "dapt", None
    tokens = {"text": 0, "chat": 0}
    for row in rows:
        tokens[row.kind] += row.supervised
    share = tokens["text"] / max(1, sum(tokens.values()))
    if share <= PROSE_SHARE:
        return False, None
    return True, Choice("schedule", "dapt", f"{share:.0%} of what is learned is prose")


def _fits_one_step(rows: Sequence[Encoded]) -> bool:
    return sum(len(row.ids) for row in rows) <= 2 * STEP_TOKENS
