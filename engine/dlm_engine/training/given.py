"""What a run is made of: rows as tokens, plan and settings, and the identity of it all.

Made before anything is loaded or written, from document, base and machine alone. Two runs with
equal fingerprints make equal bytes, which is what resuming and "nothing new" rest on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlm_engine.bases import REGISTRY, Weights, config
from dlm_engine.case import Case
from dlm_engine.data import Chat, Row, Split, encode_rows, split_rows
from dlm_engine.data.encoding import Encoding
from dlm_engine.data.packs import Pack, packs_of
from dlm_engine.data.pairs import Pair, PreferenceRow, encode_pair, pair_packs_of
from dlm_engine.data.token_cache import TokenCache
from dlm_engine.errors import TrainingError
from dlm_engine.hardware import (
    Company,
    Hardware,
    Plan,
    detect,
    plan,
    shape_of,
    trained_layers,
)
from dlm_engine.training import anchors, ranks
from dlm_engine.training import settings as settling
from dlm_engine.training.planning import planned_rank
from dlm_engine.training.preference_settings import PreferenceSettings, settle_preferences
from dlm_engine.training.settings import Settings

#: Raise when a change of the algorithm makes other bytes from the same inputs.
RECIPE = 5
#: Likewise, of the preference phase.
PREFERENCE_RECIPE = 2


@dataclass(frozen=True)
class Given:
    """`questions`: what each row asks, by its key; "" for prose. `packs` are of `split.train`.

    `pairs` and `wishes` are of the preference phase; no pairs and None where there is none.
    """

    case: Case
    weights: Weights
    chat: Chat
    hardware: Hardware
    plan: Plan
    settings: Settings
    encoding: Encoding
    split: Split
    packs: tuple[Pack, ...]
    pairs: tuple[Pair, ...]
    wishes: PreferenceSettings | None
    early_stop: int | None

    @property
    def questions(self) -> Mapping[str, str]:
        return self.encoding.questions

    def basis(self) -> str:
        """Of everything that the adapter's bytes are a function of, but the rows."""
        training = self.case.frontmatter.training
        return _digest(
            {
                **({"layers": "all"} if self.settings.layers is None else {}),
                "recipe": RECIPE,
                "training": training.model_dump(mode="json"),
                "wrote": sorted(training.model_fields_set),
                "seed": self.settings.seed,
                "system": self.chat.system_prompt,
                "base": self.weights.sha256,
                "precision": self.plan.precision,
                "attention": self.plan.attention,
            }
        )

    def fingerprint(self) -> str:
        """Of everything that the bytes of what this makes are a function of."""
        if self.wishes is None:
            return self.rows_fingerprint()
        sides = [(p.key, p.chosen.ids, p.rejected.ids, p.chosen.start) for p in self.pairs]
        return _digest(
            {
                "recipe": PREFERENCE_RECIPE,
                "rows": self.rows_fingerprint(),
                "settings": self.wishes.facts(),
                "pairs": sides,
            }
        )

    def rows_fingerprint(self) -> str:
        """Likewise of the adapter that knows the rows, before any preference."""
        facts = self.settings.facts()
        whole: dict[str, object] = {
            "recipe": RECIPE,
            "settings": facts,
            "rows": [
                (row.key, row.ids, row.start, *([row.weight] if row.weight != 1.0 else []))
                for row in self.split.train
            ],
            "anchors": anchors.ANCHORS,
            "base": self.weights.sha256,
            "precision": self.plan.precision,
            "attention": self.plan.attention,
            "checkpointing": self.plan.gradient_checkpointing,
        }
        if self.early_stop is not None:
            whole["early_stop"] = self.early_stop
        if self.settings.dropout:
            whole["dropout"] = "of each pack"
        return _digest(whole)


def given_by(
    case: Case,
    weights: Weights,
    chat: Chat,
    rows: Sequence[Row],
    cache: TokenCache,
    seed: int | None,
    preferences: Sequence[PreferenceRow] = (),
    early_stop: int | None = None,
    all_layers: bool = False,
    shard: bool | None = None,
) -> Given:
    """Plan and settings for `rows` and `preferences` of `case`; `seed`, `early_stop`, `all_layers`
    and `shard` are what the command line asked for.

    Raises:
        TrainingError: a preference is longer than the sequence and says nothing when cut.
        HardwareRefusal: the document asks for what this machine cannot do.
        BaseModelError: the base has no usable chat template.
    """
    training = case.frontmatter.training
    hardware = detect()
    model = config(weights)
    shape = shape_of(model)
    length = settling.sequence_length(training, case.spec)
    encoding = encode_rows(rows, chat, length, weights.sha256, cache)
    chance = seed if seed is not None else training.seed
    split = split_rows(encoding.windows, chance, encoding.files)
    pairs = tuple(_pair(row, chat, length) for row in preferences)
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    # The two answers of a preference go through together.
    longest = max((len(row.ids) for row in split.train), default=0)
    longest = max(longest, *(pair.tokens for pair in pairs), 0)
    model_type = str(model.get("model_type", ""))
    rank = training.lora_r if "lora_r" in training.model_fields_set else None
    planned = plan(
        hardware,
        shape,
        training,
        longest,
        rank=rank or planned_rank(len(split.train or pairs)),
        layers=trained_layers(shape, model_type, all_layers=all_layers),
        alternatives={key: spec.params for key, spec in REGISTRY.items()},
        company=Company(ranks.world(), ranks.local_world(), shard),
        document=sum(len(row.ids) for row in split.train) + sum(pair.tokens for pair in pairs),
    )
    packs = packs_of(split.train, planned.pack_tokens, planned.micro_batch)
    settings = settling.settle(
        training,
        case.spec,
        shape,
        planned,
        split.train or sides,
        model_type=model_type,
        packs=max(1, len(packs)),
        seed=seed,
        all_layers=all_layers,
    )
    wishes = None
    if pairs:
        wishes = settle_preferences(
            training,
            settings,
            pairs,
            packs=len(pair_packs(settings, pairs)),
            rows=len(split.train),
        )
    return Given(
        case,
        weights,
        chat,
        hardware,
        planned,
        settings,
        encoding,
        split,
        tuple(packs),
        pairs,
        wishes,
        early_stop,
    )


def pair_packs(settings: Settings, pairs: Sequence[Pair]) -> list[tuple[Pack, tuple[Pair, ...]]]:
    return pair_packs_of(pairs, settings.pack_tokens, settings.pack_rows)


def _pair(row: PreferenceRow, chat: Chat, length: int) -> Pair:
    pair = encode_pair(row, chat, length)
    if pair is None:
        raise TrainingError(
            f"preference {row.prompt[:60]!r}",
            f"its two answers are the same within {length} tokens",
            "shorten it, or raise training.sequence_len",
        )
    return pair


def _digest(facts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
