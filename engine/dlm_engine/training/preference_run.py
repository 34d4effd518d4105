"""The preference phase: an adapter that knows the document learns which answers are wanted.

As a run further does (`further.py`), it adds rows to A, which look where the preferences'
words stand out against everyday text and against the document's other rows, and trains the new
columns of B only: what was learned before is kept bit for bit, and every step still takes
the document's rows and the everyday questions along. Where the rank is fixed, the columns
there are are trained instead.

What the reference thinks of the pairs is computed once, before the first step, by the packs
that training uses, so the gain of a policy that equals its reference is exactly zero; it
stays in the run's state, and a resumed run computes none of it again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import torch

from dlm_engine.data.pairs import Pair
from dlm_engine.errors import TrainingError
from dlm_engine.training import preference, ranks
from dlm_engine.training.checkpoint import PreferenceFacts, State
from dlm_engine.training.loss import head_loss
from dlm_engine.training.model import Preferred
from dlm_engine.training.network import Trainee
from dlm_engine.training.preference import Thought
from dlm_engine.training.preference_settings import (
    CHOSEN_WEIGHT,
    PREFERRED,
    REPLAY_WEIGHT,
    PreferenceSettings,
)
from dlm_engine.training.settings import Settings
from dlm_engine.training.sft import Laid, Run, shuffled


@dataclass(frozen=True)
class LaidPairs:
    """A pack of pairs with what the trunk makes of it."""

    laid: Laid
    pairs: tuple[Pair, ...]


#: How far, in nats a token, IPO is to go beyond what the hardest pair needs, as a square's end is
#: only approached; and at least.
_BEYOND: Final = 1.0
_LEAST_GAIN: Final = 2.0

#: log-probabilities of a pair's chosen and rejected answer, by the pair's key
Thoughts = dict[str, tuple[float, float]]


class PreferenceRun(Run):
    """A run over `pairs`; `packs` and `anchors` are trained along, as in `Run`.

    `upon` is the SHA-256 of the adapter that the trainee begins with, "" for none.
    """

    def __init__(
        self,
        trainee: Trainee,
        wishes: PreferenceSettings,
        settings: Settings,
        pairs: Sequence[LaidPairs],
        packs: Sequence[Laid],
        anchors: Sequence[Laid],
        upon: str,
    ) -> None:
        super().__init__(trainee, settings, packs, anchors)
        self.wishes = wishes
        self.pairs = pairs
        self.upon = upon
        self._lengths = {
            pair.key: (pair.chosen.supervised, pair.rejected.supervised)
            for each in pairs
            for pair in each.pairs
        }
        self.before: Thoughts = {}
        self.reference: Thoughts = {}
        #: keys of the rows that were known before: they are known at the end, or it goes on
        self.owed: frozenset[str] = frozenset()
        #: of each pair, as of the last time it was looked at
        self.now: Thoughts = {}
        #: by this process, since all were told
        self._seen: Thoughts = {}

    @property
    def progress(self) -> tuple[int, int]:
        return sum(map(self._preferred, self.now)), len(self.before)

    @property
    def sample(self) -> Laid:
        return self.pairs[0].laid

    def begin(self) -> None:
        """Ask policy and reference for their opinion; done once in a run's life.

        Raises:
            TrainingError: the adapter to begin with gives no numbers.
        """
        self.before = self._opinions()
        self.reference = self.before
        if self.wishes.method == "dpo" and self.wishes.reference == "base":
            with self.trainee.base_alone():
                self.reference = self._opinions()
        every = (*self.before.values(), *self.reference.values())
        if not all(math.isfinite(value) for pair in every for value in pair):
            raise TrainingError(
                "preferences",
                "the adapter to begin with gives numbers that are not finite",
                "train anew with --fresh",
            )
        self.now = dict(self.before)
        self.owed = frozenset(key for key, well in self.look().known.items() if well)

    def judge(self) -> None:
        """Measure from here on, and learn nothing: another run takes the steps."""
        self.before = self._opinions()

    def state(self, fingerprint: str) -> State:
        facts = PreferenceFacts(
            upon=self.upon,
            before=self.before,
            reference=self.reference,
            now=self.now,
            owed=tuple(sorted(self.owed)),
        )
        return replace(super().state(fingerprint), preference=facts)

    def resume(self, state: State) -> None:
        super().resume(state)
        assert state.preference is not None
        self.before = dict(state.preference.before)
        self.reference = dict(state.preference.reference)
        self.now = dict(state.preference.now)
        self.owed = frozenset(state.preference.owed)

    def measured(self) -> Preferred:
        """Margins before the phase and as of now."""
        now = self._opinions()
        count = len(now)
        before, after = ([self._margin(t, key) for key in now] for t in (self.before, now))
        return Preferred(
            method=self.wishes.method,
            pairs=count,
            margin_before=sum(before) / count,
            margin_after=sum(after) / count,
            accuracy_before=sum(margin > 0 for margin in before) / count,
            accuracy_after=sum(margin > 0 for margin in after) / count,
        )

    @property
    def beta(self) -> float:
        """DPO's beta: the author's, or for IPO what lets the hardest pair be preferred.

        IPO wants every pair to gain 1/(2·beta) nats a token and no more, so a pair whose rejected
        answer is further ahead than that would never be.
        """
        if self.wishes.beta is not None:
            return self.wishes.beta
        hardest = max(-self._margin(self.reference, key) for key in self.reference)
        return 1 / (2 * max(_LEAST_GAIN, hardest + PREFERRED + _BEYOND))

    def _accumulate(self) -> tuple[float, float, int]:
        """As `Run._accumulate`; the loss is the pairs' mean, tokens are those of both sides."""
        batch = self._pairs_now()
        count = sum(len(each.pairs) for each in batch)
        loss, tokens = 0.0, 0
        self.trainee.model.train()
        for whole in self.own_share(batch, 0):
            for each in self._parts(whole):
                thought = self._thought(each)
                total = self._losses(each, thought).sum() / count
                total.backward()
                loss += float(total.detach())
                tokens += each.laid.pack.supervised
                self._note(each, thought, self._seen)
        self._replay(REPLAY_WEIGHT, len(batch))
        divergence = self._pull(len(batch) + len(self._batch(self.step)))
        return loss, divergence, tokens

    def _share(self) -> None:
        super()._share()
        self.now |= _thoughts(ranks.merged(self._seen))
        self._seen = {}

    def _pairs_now(self) -> list[LaidPairs]:
        return shuffled(self.pairs, self.wishes.packs_per_step, self.settings.seed, self.step)

    def _at_once(self) -> list[tuple[Laid, int]]:
        return [*((each.laid, 2) for each in self._pairs_now()), *super()._at_once()]

    def _parts(self, whole: LaidPairs) -> Iterator[LaidPairs]:
        """`whole` as far as the memory lasts; a pair's two answers stay together."""
        pairs = iter(whole.pairs)
        for part in self.portions.of(whole.laid, 2):
            yield LaidPairs(part, tuple(islice(pairs, len(part.pack.rows) // 2)))

    def _thought(self, each: LaidPairs) -> Thought:
        pack = each.laid.pack
        hidden = self.trainee.hidden(pack, each.laid.trunk)
        losses = head_loss(hidden, self.trainee.head, pack.labels, self.trainee.soft_cap)
        return Thought.of(losses, [row.supervised for row in pack.rows])

    def _losses(self, each: LaidPairs, policy: Thought) -> torch.Tensor:
        if self.wishes.method == "orpo":
            return preference.orpo(policy, self.wishes.alpha)
        known = torch.tensor(
            [self.reference[pair.key] for pair in each.pairs],
            dtype=policy.chosen.dtype,
            device=policy.chosen.device,
        )
        reference = replace(policy, chosen=known[:, 0], rejected=known[:, 1])
        loss = {
            "sigmoid": preference.sigmoid,
            "hinge": preference.hinge,
            "ipo": preference.ipo,
        }[self.wishes.loss_type](policy, reference, self.beta)
        if self.wishes.loss_type == "ipo":
            # Its slope is 1/beta where a pair has gained nothing, ten times that of the rows and
            # the everyday questions that are trained along: they would go unheard.
            loss = self.beta * loss
        return loss - CHOSEN_WEIGHT * policy.mean_chosen

    def _note(self, each: LaidPairs, thought: Thought, found: Thoughts) -> None:
        sums = zip(thought.chosen.tolist(), thought.rejected.tolist(), strict=True)
        found |= dict(zip((pair.key for pair in each.pairs), sums, strict=True))

    def _knows_everything(self) -> bool:
        """Whether every pair is preferred, and no row of the document was lost on the way."""
        if not all(map(self._preferred, self.now)):
            return False
        few = self.settings.packs_per_step < len(self.packs)
        if few or self.wishes.packs_per_step < len(self.pairs):
            self.now = self._opinions()
            self.look()
        kept = all(self.knowledge.known[key] for key in self.owed)
        return kept and all(map(self._preferred, self.now))

    def _preferred(self, key: str) -> bool:
        """Likelier than the other by the margin, and at least as likely as either was before."""
        chosen, rejected = self._means(self.now, key)
        return chosen - rejected >= PREFERRED and chosen >= max(self._means(self.before, key))

    @torch.no_grad()
    def _opinions(self) -> Thoughts:
        self.trainee.model.eval()

        def own() -> Thoughts:
            found: Thoughts = {}
            for each in (part for whole in ranks.mine(self.pairs) for part in self._parts(whole)):
                self._note(each, self._thought(each), found)
            if self.trainee.divided and ranks.short(len(self.pairs)):
                self.trainee.keep_up(self.sample.pack, self.sample.trunk)
            return found

        def packs() -> Iterator[tuple[Laid, int]]:
            return ((each.laid, 2) for each in self.pairs)

        every = self.portions.lasting(own, packs, "comparing the preferences")
        return _thoughts({key: sums for found in every for key, sums in found.items()})

    def _means(self, thoughts: Thoughts, key: str) -> tuple[float, float]:
        """Nats per token of the chosen and the rejected answer."""
        (chosen, rejected), lengths = thoughts[key], self._lengths[key]
        return chosen / lengths[0], rejected / lengths[1]

    def _margin(self, thoughts: Thoughts, key: str) -> float:
        chosen, rejected = self._means(thoughts, key)
        return chosen - rejected


def _thoughts(found: Thoughts) -> Thoughts:
    """Of other processes they come as lists."""
    return {key: (sums[0], sums[1]) for key, sums in found.items()}
