"""The training loop: packs in, a trained adapter out, one optimiser step at a time.

Each step takes the next packs and the next anchors, adds up the loss per supervised
token of the whole step (of its answers and of its prose, never a mean over packs), clips,
steps, and looks whether every row is known. The order of packs, the dropout and the learning
rate are functions of seed and step number, so a run that is stopped after any step and
resumed goes on as if it had not been. Several processes (`ranks.py`) divide the packs and
anchors of a step between them and take the same steps: what is dropped depends on the pack,
not on who computes it.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

import torch

from dlm_engine.data.packs import Pack
from dlm_engine.data.tokens import Encoded
from dlm_engine.errors import TrainingError
from dlm_engine.training import ranks
from dlm_engine.training.checkpoint import State, copies, restore
from dlm_engine.training.loss import head_divergence, head_loss
from dlm_engine.training.model import Choice, Losses, Preferred
from dlm_engine.training.network import Trainee
from dlm_engine.training.optimisers import make_optimiser
from dlm_engine.training.portions import Portions
from dlm_engine.training.settings import LEARNED, LEARNED_PROSE, Settings

Each = TypeVar("Each")

_CLIP = 1.0
#: A gradient this many times out of range in a row is not bad luck.
_MAX_BAD_STEPS = 3


@dataclass(frozen=True)
class Laid:
    """A pack with what the trunk makes of it, and for anchors what the base ends with."""

    pack: Pack
    trunk: torch.Tensor | None
    base_hidden: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class StepReport:
    """`loss` in nats per supervised token, `divergence` likewise on the anchors.

    `learned` of `rows` have reached the goal of the phase. `choice`: what was decided in it.
    """

    step: int
    loss: float
    divergence: float
    learned: int
    rows: int
    rate: float
    gradient_norm: float
    tokens: int
    seconds: float
    choice: Choice | None = None


@dataclass
class Knowledge:
    """Which of the `watched` rows the adapter knows, as of the last time each was looked at."""

    watched: frozenset[str]
    known: dict[str, bool] = field(default_factory=dict)
    #: by this process, since all were told
    _noted: dict[str, bool] = field(default_factory=dict)

    def note(self, pack: Pack, losses: torch.Tensor) -> None:
        """`losses`: (M,) nats of each supervised token of `pack`."""
        likely = losses.detach().to("cpu") <= -math.log(LEARNED)
        top = losses.detach().to("cpu") <= -math.log(0.5)
        owners = pack.row_of.to("cpu")
        for number, row in enumerate(pack.rows):
            if row.key not in self.watched:
                continue
            mine = owners == number
            if row.kind == "chat":
                self._noted[row.key] = bool(likely[mine].all())
            else:
                self._noted[row.key] = float(top[mine].float().mean()) >= LEARNED_PROSE

    def share(self) -> None:
        """Know what was noted, in this process and in the others."""
        self.known |= ranks.merged(self._noted)
        self._noted = {}

    @property
    def count(self) -> int:
        return sum(self.known.values())


def goal(rows: Iterable[Encoded]) -> frozenset[str]:
    """Keys of the rows that have to be known for training to be done.

    Where a document asks questions, its answers decide, and prose is trained along: to
    recite a heading takes four times the steps of a fact.
    """
    every = list(rows)
    chats = frozenset(row.key for row in every if row.kind == "chat")
    return chats or frozenset(row.key for row in every)


class Run:
    """One run over fixed packs. `steps` advances it; parameters and optimiser stay readable."""

    def __init__(
        self,
        trainee: Trainee,
        settings: Settings,
        packs: Sequence[Laid],
        anchors: Sequence[Laid],
    ) -> None:
        self.trainee = trainee
        self.settings = settings
        self.packs = packs
        self.anchors = anchors
        self.parameters = trainee.parameters()
        self.optimiser = make_optimiser(
            settings.optimizer, self.parameters.values(), settings.learning_rate
        )
        self.portions = Portions(trainee)
        self.step = 0
        #: steps that made no update
        self.skipped = 0
        self.knowledge = Knowledge(goal(row for laid in packs for row in laid.pack.rows))
        self.finished = False
        #: of every row, as of the last look at all of them
        self.losses = Losses()
        #: whether it stands between two steps
        self.settled = False
        #: the step after which every row was last looked at
        self._looked: int | None = None

    @property
    def rows(self) -> int:
        """How many rows have to be known."""
        return len(self.knowledge.watched)

    @property
    def progress(self) -> tuple[int, int]:
        """How many have reached the goal, and how many there are."""
        return self.knowledge.count, self.rows

    @property
    def sample(self) -> Laid:
        """One of the packs that are trained."""
        return self.packs[0]

    def begin(self) -> None:
        """What is done once, before the first step of a run that is not resumed."""

    def measured(self) -> Preferred | None:
        """How the document's preferences fared, of a phase that learns them."""
        return None

    def state(self, fingerprint: str) -> State:
        """A copy of where the run stands; `fingerprint` is of its inputs."""
        state = State(
            self.step,
            fingerprint,
            self.finished,
            dict(self.knowledge.known),
            *copies(self.parameters, self.optimiser),
            skipped=self.skipped,
        )
        return state.without_tensors() if self.finished else state

    def resume(self, state: State) -> None:
        """Go on from `state`; `TrainingError` when it is of another adapter."""
        restore(state, self.parameters, self.optimiser)
        self.step, self.skipped = state.step, state.skipped
        self.finished = state.finished
        self.knowledge.known = dict(state.known)

    def end_at(self, step: int, *, finished: bool) -> None:
        """Say that the adapter is again as it was after `step`, and takes no more of them."""
        self.step, self.finished, self._looked = step, finished, None

    def steps(
        self, until: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> Iterator[StepReport]:
        """Train until learned, at the cap or after step `until`, reporting after every step.

        Raises:
            TrainingError: the loss or its gradient stayed out of range.
        """
        bad = 0
        last = self.settings.cap if until is None else min(until, self.settings.cap)
        while self.step < last and not self.finished:
            began = clock()
            loss, divergence, tokens = self._accumulated()
            norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP))
            rate = self.settings.rate(self.step)
            self.settled = False
            if math.isfinite(loss) and math.isfinite(norm):
                bad = 0
                for group in self.optimiser.param_groups:
                    group["lr"] = rate
                with self.trainee.magnitudes_following():
                    self.optimiser.step()
            else:
                bad += 1
                self.skipped += 1
                if bad >= _MAX_BAD_STEPS:
                    raise TrainingError(
                        f"step {self.step + 1}",
                        f"the loss was not a number {bad} steps in a row",
                        "lower training.learning_rate",
                    )
            self.optimiser.zero_grad(set_to_none=True)
            self.step += 1
            may_end = self.settings.stop_when_learned and self.step >= self.settings.least
            learned = may_end and self._knows_everything()
            self.finished = learned or self.step >= self.settings.cap
            self.settled = True
            yield StepReport(
                self.step,
                loss,
                divergence,
                *self.progress,
                rate,
                norm,
                tokens,
                clock() - began,
                self.portions.told(),
            )

    def _accumulated(self) -> tuple[float, float, int]:
        """`_accumulate` in all processes, with as many rows at a time as the memory lasts for.

        Raises:
            OutOfMemory: it does not last for a single row.
        """
        done = self.portions.lasting(self._accumulate, self._at_once, f"step {self.step + 1}")
        ranks.add_gradients(self.parameters.values())
        self._share()
        losses, divergences, tokens = zip(*done, strict=True)
        return sum(losses), sum(divergences), sum(tokens)

    def _at_once(self) -> list[tuple[Laid, int]]:
        """What goes through in this step, each with how many of its rows stay together."""
        return [(laid, 1) for laid in (*self._batch(self.step), *self._anchors_now())]

    def _share(self) -> None:
        """Have all processes know what each saw in this step."""
        self.knowledge.share()

    def _accumulate(self) -> tuple[float, float, int]:
        """Gradients of this process's share of the step's packs and anchors; of that share the
        loss, divergence and supervised tokens, which add up to those of the step."""
        self.trainee.model.train()
        loss, tokens = self._replay(1.0, 0)
        return loss, self._pull(len(self._batch(self.step))), tokens

    def own_share(self, works: Sequence[Each], before: int) -> Iterator[Each]:
        """Those of `works` that are for this process; the step has `before` others before them.

        Whatever is dropped until the next one comes is a function of seed, step and work. With a
        divided base who has fewer than another goes through one more.
        """
        for number, work in enumerate(works, before):
            if ranks.takes(number):
                with torch.random.fork_rng(devices=self._cuda_devices()):
                    torch.manual_seed(_derived(self.settings.seed, f"dropout {number}", self.step))
                    yield work
        if self.trainee.divided and ranks.short(len(works), before):
            self.trainee.keep_up(self.sample.pack, self.sample.trunk)

    def _replay(self, weight: float, before: int) -> tuple[float, int]:
        """Gradients of this step's packs, times `weight`; (loss, supervised tokens).

        Answers and prose are each divided by the tokens of their kind: a page has fifty times
        those of an answer, which else takes six times the steps and recites the page by then.
        """
        batch = self._batch(self.step)
        of_kind: Counter[str] = Counter()
        for laid in batch:
            of_kind[laid.pack.kind] += laid.pack.supervised
        tokens = of_kind.total()
        loss, own = 0.0, 0
        for whole in self.own_share(batch, before):
            own += whole.pack.supervised
            for laid in self.portions.of(whole):
                losses = self._token_losses(laid)
                counts = laid.pack.weights
                # Over plain tokens, so that a weight also counts where a step has no other.
                total = (losses if counts is None else losses * counts).sum()
                total = total / of_kind[whole.pack.kind]
                (weight * total).backward()
                loss += float(losses.detach().sum() / tokens)
        return loss, own

    def _token_losses(self, laid: Laid) -> torch.Tensor:
        """(M,) nats of the supervised tokens of a pack of this step; their rows are noted."""
        hidden = self.trainee.hidden(laid.pack, laid.trunk)
        losses = head_loss(hidden, self.trainee.head, laid.pack.labels, self.trainee.soft_cap)
        self.knowledge.note(laid.pack, losses)
        return losses

    def _pull(self, before: int) -> float:
        """Gradients of this step's anchors; their divergence from the base."""
        trainee = self.trainee
        divergence = 0.0
        anchors = self._anchors_now()
        count = sum(laid.pack.supervised for laid in anchors) / max(1, len(anchors))
        for whole in self.own_share(anchors, before):
            for laid in self.portions.of(whole):
                hidden = trainee.hidden(laid.pack, laid.trunk)
                assert laid.base_hidden is not None
                away = head_divergence(
                    hidden, laid.base_hidden, trainee.head, trainee.soft_cap, trainee.base_head
                )
                mean = away.sum() / count
                (self.settings.anchor_weight * mean).backward()
                divergence += float(mean.detach())
        return divergence

    def _batch(self, step: int) -> list[Laid]:
        return shuffled(self.packs, self.settings.packs_per_step, self.settings.seed, step)

    def _anchors_now(self) -> list[Laid]:
        if not self.anchors or not self.settings.anchor_weight:
            return []
        first = _derived(self.settings.seed, "anchors", 0)
        return [self.anchors[(first + self.step) % len(self.anchors)]]

    def _knows_everything(self) -> bool:
        """Whether every row is known; looks at all of them before saying so.

        What a step notes is of before its update, which can undo what it saw.
        """
        known = self.knowledge.known
        if len(known) < self.rows or not all(known.values()):
            return False
        self.look()
        return all(self.knowledge.known.values())

    @torch.no_grad()
    def look(self) -> Knowledge:
        """Which rows the adapter knows as it is now."""
        if self._looked == self.step:
            return self.knowledge
        self._looked = self.step
        self.losses = mode_losses(self.portions, self.packs, self.knowledge.note)
        self.knowledge.share()
        return self.knowledge

    def _cuda_devices(self) -> list[torch.device]:
        return [self.trainee.device] if self.trainee.device.type == "cuda" else []


def mean_loss(portions: Portions, laid: Sequence[Laid]) -> float | None:
    """Nats per supervised token over `laid`, None for no packs."""
    sums = _sums(portions, laid)
    tokens = sum(count for _, count in sums.values())
    return sum(total for total, _ in sums.values()) / tokens if tokens else None


def mode_losses(
    portions: Portions,
    laid: Sequence[Laid],
    note: Callable[[Pack, torch.Tensor], None] | None = None,
) -> Losses:
    """Likewise of prose and of answers apart; `note` gets the losses of each pack's tokens."""
    means = {kind: total / count for kind, (total, count) in _sums(portions, laid, note).items()}
    return Losses(means.get("text"), means.get("chat"))


@torch.no_grad()
def _sums(
    portions: Portions,
    laid: Sequence[Laid],
    note: Callable[[Pack, torch.Tensor], None] | None = None,
) -> dict[str, tuple[float, int]]:
    """Sum of the losses and number of supervised tokens, by kind; a pack is of one kind."""
    trainee = portions.trainee
    trainee.model.eval()

    def own() -> dict[str, tuple[float, int]]:
        sums: dict[str, tuple[float, int]] = {}
        for each in (part for whole in ranks.mine(laid) for part in portions.of(whole)):
            hidden = trainee.hidden(each.pack, each.trunk)
            losses = head_loss(hidden, trainee.head, each.pack.labels, trainee.soft_cap)
            if note is not None:
                note(each.pack, losses)
            total, tokens = sums.get(each.pack.kind, (0.0, 0))
            sums[each.pack.kind] = (
                total + float(losses.sum()),
                tokens + each.pack.supervised,
            )
        if trainee.divided and ranks.short(len(laid)):
            trainee.keep_up(laid[0].pack, laid[0].trunk)
        return sums

    every = portions.lasting(own, lambda: ((each, 1) for each in laid), "looking at the rows")
    whole: dict[str, tuple[float, int]] = {}
    for kind, (total, tokens) in ((k, s) for sums in every for k, s in sums.items()):
        before, count = whole.get(kind, (0.0, 0))
        whole[kind] = (before + total, count + tokens)
    return whole


def shuffled(items: Sequence[Each], each: int, seed: int, step: int) -> list[Each]:
    """The `each` items of a step: every epoch is a permutation drawn from seed and epoch number."""
    if each >= len(items):
        return list(items)
    per_epoch = math.ceil(len(items) / each)
    epoch, place = divmod(step, per_epoch)
    generator = torch.Generator().manual_seed(_derived(seed, "order", epoch))
    order = torch.randperm(len(items), generator=generator).tolist()
    return [items[i] for i in order[place * each : (place + 1) * each]]


def _derived(seed: int, purpose: str, number: int) -> int:
    digest = sha256(f"{seed}\0{purpose}\0{number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
