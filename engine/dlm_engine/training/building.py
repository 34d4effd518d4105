"""From what is given to a run that can step: base loaded, adapter aimed, packs over their trunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal

import torch

from dlm_engine.bases import cache_root
from dlm_engine.data.packs import Pack, packs_of
from dlm_engine.inference.resident import Resident
from dlm_engine.store import Version
from dlm_engine.training import determinism, further, polite, ranks, warmup
from dlm_engine.training.aim import Everyday, aim, aim_further
from dlm_engine.training.divided import divide
from dlm_engine.training.everyday import everyday_packs, surveyed
from dlm_engine.training.further import Addition
from dlm_engine.training.given import Given, pair_packs
from dlm_engine.training.network import Trainee, Wiring
from dlm_engine.training.preference_run import LaidPairs, PreferenceRun
from dlm_engine.training.settings import Settings
from dlm_engine.training.sft import Laid, Run

#: Tokens of pairs that a save still looks at, twice: about as long as four of its steps.
_JUDGED: Final = 2000


@dataclass(frozen=True)
class Built:
    """`held` are the packs that are held out for validation, `seconds` what was trained already."""

    run: Run
    held: list[Laid]
    seconds: float = 0.0


def build(
    given: Given, resident: Resident, say: Callable[[str], None], cancelled: Callable[[], bool]
) -> Built:
    """A whole run over the document's rows.

    Raises:
        WarmUpStopped: `cancelled` said so while embeddings were trained.
    """
    settings = given.settings
    tokens: tuple[int, ...] = ()
    if settings.embed_warmup:
        common = everyday_packs(given.chat, settings)
        tokens = warmup.own_tokens(given.split.train, common, given.chat)
        say(warmup.announced(tokens, settings))
    trainee = attach(given, settings, resident, tokens)
    everyday = everyday_of(given, trainee, resident, say)
    began = time.monotonic()
    if tokens:
        warmup.WarmUp(trainee, given.packs, everyday, settings).run(say, cancelled)
    seconds = time.monotonic() - began
    own = lay(trainee, given.packs)
    aim(trainee, own, everyday)
    packs = [Laid(*each) for each in own]
    run = Run(trainee, settings, packs, anchors_of(everyday))
    return Built(run, held_out(given, trainee), seconds)


def build_further(
    given: Given, resident: Resident, say: Callable[[str], None], earlier: Version, added: Addition
) -> Built:
    """A run that adds what is new to `earlier`."""
    settings = further.settle_further(given.settings, added)
    trainee = attach(given, settings, resident, further.earlier_tokens(earlier.path))
    everyday = everyday_of(given, trainee, resident, say)
    trainee.take_over(further.earlier_tensors(earlier.path))
    new, kept = (
        lay(trainee, packs_of(rows, settings.pack_tokens, settings.pack_rows))
        for rows in (added.new, added.kept)
    )
    aim_further(trainee, new, kept, everyday, added.rank)
    every = [Laid(*each) for each in (*new, *kept)]

    def laid(packs: Sequence[Pack]) -> list[Laid]:
        return [Laid(*each) for each in lay(trainee, packs)]

    run = further.FurtherRun(trainee, settings, every, added, laid)
    if given.wishes is not None and sum(pair.tokens for pair in given.pairs) <= _JUDGED:
        # It takes no step: it says what the pairs came to that the version had learned.
        pairs = lay_pairs(given, trainee, settings)
        run.judge = PreferenceRun(trainee, given.wishes, settings, pairs, every, [], "")
    return Built(run, held_out(given, trainee))


def build_preferences(
    given: Given,
    resident: Resident,
    say: Callable[[str], None],
    earlier: Version | None,
    shape: tuple[int, int] | None,
) -> Built:
    """A run that learns the preferences upon `earlier`, of this rank and alpha, or upon the base.

    A process that does not lead has the `shape` alone, and is given the adapter afterwards.
    """
    wishes = given.wishes
    assert wishes is not None
    settings, first = wishes.run, 0
    tokens: tuple[int, ...] = ()
    if shape is not None:
        first, alpha = shape
        settings = wishes.grown(first, alpha)
        tokens = further.earlier_tokens(earlier.path) if earlier is not None else ()
    elif settings.embed_warmup:
        say("no embedding warm-up: there is nothing but preferences to learn")
    trainee = attach(given, settings, resident, tokens)
    everyday = everyday_of(given, trainee, resident, say)
    upon = ""
    if earlier is not None:
        trainee.take_over(further.earlier_tensors(earlier.path))
        upon = adapter_sha256(earlier.path)
    laid = lay_pairs(given, trainee, settings)
    own = [(each.laid.pack, each.laid.trunk) for each in laid]
    kept = lay(trainee, given.packs)
    if settings.rank > first:
        aim(trainee, own, everyday, kept, first)
        trainee.train_columns_from(first)
    else:
        trainee.freeze_listening()
    replayed = [Laid(*each) for each in kept]
    run = PreferenceRun(trainee, wishes, settings, laid, replayed, anchors_of(everyday), upon)
    return Built(run, held_out(given, trainee))


def adapter_sha256(version: Path) -> str:
    return sha256((version / "adapter_model.safetensors").read_bytes()).hexdigest()


def attach(
    given: Given, settings: Settings, resident: Resident, tokens: tuple[int, ...] = ()
) -> Trainee:
    """The base with a fresh adapter as `settings` describe it, which has embeddings of its own
    for `tokens`: for now the base's."""
    divided = given.plan.parts > 1
    if divided:
        polite.hand_back()
    # One by one: a base whose files cannot be read in parts each has whole on the way.
    with ranks.in_turn() if divided else nullcontext():
        base = resident.base(
            given.weights,
            given.plan.precision,
            given.plan.attention,
            given.plan.device,
            "nf4" if given.plan.use_qlora else None,
            divide if divided else None,
        )
    wiring = Wiring(
        settings.kind,
        settings.rank,
        settings.alpha,
        settings.dropout,
        settings.target_modules,
        settings.layers,
        settings.seed,
        given.plan.gradient_checkpointing,
        tokens,
    )
    trainee = Trainee(base, wiring)
    resident.attached(trainee.model)
    return trainee


def class_of(given: Given, run: Run, resident: Resident) -> Literal["strong", "best-effort"]:
    """The class of determinism that is earned here; computed once for a base that stays."""
    settings = given.settings
    return resident.keep(
        "determinism",
        (settings.layers, settings.target_modules, settings.kind),
        lambda: determinism.earn(run.trainee, run.sample.pack),
    )


def lay(trainee: Trainee, packs: Sequence[Pack]) -> list[tuple[Pack, torch.Tensor | None]]:
    """Packs where the trainee computes, each with what the trunk makes of it."""
    placed = [pack.to(torch.device(trainee.device)) for pack in packs]
    return [(pack, trainee.trunk(pack)) for pack in placed]


def lay_pairs(given: Given, trainee: Trainee, settings: Settings) -> list[LaidPairs]:
    grouped = pair_packs(settings, given.pairs)
    own = lay(trainee, [pack for pack, _ in grouped])
    return [LaidPairs(Laid(*o), pairs) for o, (_, pairs) in zip(own, grouped, strict=True)]


def held_out(given: Given, trainee: Trainee) -> list[Laid]:
    packs = packs_of(given.split.validation, given.settings.pack_tokens)
    return [Laid(*each) for each in lay(trainee, packs)]


def anchors_of(everyday: Everyday) -> list[Laid]:
    """The everyday packs with what the base ends with, to be pulled back to."""
    return [
        Laid(pack, trunk, hidden)
        for (pack, trunk), hidden in zip(everyday.packs, everyday.hidden, strict=True)
    ]


def everyday_of(
    given: Given, trainee: Trainee, resident: Resident, say: Callable[[str], None]
) -> Everyday:
    """What the base does with everyday questions; computed once for a base that stays."""
    settings = given.settings
    if trainee.divided:
        # A part of it, of another size in each process: kept in one and not in another, they
        # would not make the same passes.
        return _survey(given, trainee, say)
    return resident.keep(
        "everyday",
        (
            given.chat.system_prompt,
            settings.sequence_len,
            settings.pack_tokens,
            settings.anchors_per_step,
            settings.target_modules,
            settings.layers,
        ),
        lambda: _survey(given, trainee, say),
    )


def _survey(given: Given, trainee: Trainee, say: Callable[[str], None]) -> Everyday:
    conditions = {
        **determinism.computing(given.plan),
        "processor": given.hardware.device_name,
        "base": given.weights.sha256,
        "four_bit": given.plan.use_qlora,
        "modules": given.settings.target_modules,
        "layers below": trainee.cut,
        "versions": determinism.pinned_versions(four_bit=given.plan.use_qlora),
    }
    return surveyed(
        cache_root(given.case.home) / "everyday",
        conditions,
        trainee,
        everyday_packs(given.chat, given.settings),
        lambda packs: lay(trainee, packs),
        lambda: say("looking at what the base does with everyday questions"),
    )
