"""Embedding warm-up: what the document's rare words mean, before an adapter learns what it says.

A base has names and terms of a trade in pieces that it hardly met. For a few steps everything
is frozen but the embeddings of the document's tokens; then these rows stay as they are, the trunk
is computed over them, and the run goes on as any other. They are part of the adapter, in PEFT's
own form (`trainable_token_indices`), so whoever loads it has them; of a head that is tied to the
embeddings the same rows change, as in PEFT.

Tokens that an everyday question or the template holds keep the base's rows. So everyday text
enters the layers exactly as before, what is kept of it (`everyday.py`) stays true to the bit, and
only a tied head could make the base say the document's words where they do not belong: the
divergence from the base pulls at that in every step, which takes no pass through the layers.

The rows are rounded to the precision that the base computes in, so that the trunk, the file and
whoever asks have the same numbers. Nothing is kept between steps: a resumed run takes them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import torch

from dlm_engine.data.chat import Chat
from dlm_engine.data.packs import Pack
from dlm_engine.data.tokens import Encoded
from dlm_engine.errors import TrainingError
from dlm_engine.training.loss import CHUNK
from dlm_engine.training.network import Trainee
from dlm_engine.training.portions import Portions
from dlm_engine.training.settings import Settings

if TYPE_CHECKING:
    from dlm_engine.training.aim import Everyday

#: A step moves a number by about this share of what is usual in the matrix.
RATE: Final = 0.005
_CLIP: Final = 1.0


class WarmUpStopped(Exception):
    """It was cancelled; nothing is kept of it."""


def own_tokens(rows: Iterable[Encoded], everyday: Sequence[Pack], chat: Chat) -> tuple[int, ...]:
    """Ids in `rows` that are in no `everyday` pack and have no special meaning, sorted."""
    common = {int(i) for pack in everyday for i in pack.input_ids[0]}
    special = {*chat.tokenizer.all_special_ids, *chat.facts.stop_ids, chat.facts.pad_id}
    return tuple(sorted({i for row in rows for i in row.ids} - common - special))


def announced(tokens: tuple[int, ...], settings: Settings) -> str:
    """What is said before the first step."""
    if not tokens:
        return "no embedding warm-up: every token of the document is one of everyday questions"
    return f"embedding warm-up: {settings.embed_warmup} steps for {len(tokens)} tokens"


class WarmUp:
    """Steps over `packs` that train the rows of `trainee.wiring.tokens`, and nothing else.

    The trainee's adapter is off meanwhile and is not changed until `put` is called.
    """

    def __init__(
        self, trainee: Trainee, packs: Sequence[Pack], everyday: Everyday, settings: Settings
    ) -> None:
        self.trainee, self.everyday, self.settings = trainee, everyday, settings
        from dlm_engine.training.sft import Laid

        # No trunk: what enters the layers is what is trained.
        self.packs = [Laid(pack.to(torch.device(trainee.device)), None) for pack in packs]
        self.portions = Portions(trainee)
        embedding = trainee.inner.get_input_embeddings().original_module
        self._embedding = embedding
        self._scale = getattr(embedding, "embed_scale", None)
        self.ids = torch.tensor(trainee.wiring.tokens, device=trainee.device)
        #: (V,) place among the rows; -1 where a token keeps that of the base
        self._place = torch.full((embedding.weight.shape[0],), -1, device=trainee.device)
        self._place[self.ids] = torch.arange(len(self.ids), device=trainee.device)
        with torch.no_grad():
            before = embedding.weight[self.ids].float()
        self.rows = torch.nn.Parameter(before.clone())
        usual = float(before.to("cpu", torch.float64).square().mean().sqrt())
        # Three figures, which no order of summing changes.
        self.rate = float(f"{RATE * usual:.3g}")
        self._optimiser = torch.optim.AdamW([self.rows], lr=self.rate, weight_decay=0.0)

    def run(self, say: Callable[[str], None], cancelled: Callable[[], bool]) -> None:
        """Take the steps, saying how each went, and put the rows into the trainee.

        Raises:
            WarmUpStopped: `cancelled`, asked after each step, said so.
            TrainingError: the loss is not a number.
        """
        steps = self.settings.embed_warmup
        for step in range(steps):
            loss = self.step(step)
            if choice := self.portions.told():
                say(f"embedding warm-up: {choice.value}: {choice.reason}")
            say(f"embedding warm-up: step {step + 1} of {steps}, loss {loss:.3f}")
            if cancelled():
                raise WarmUpStopped
        self.trainee.put_rows(self.rows.detach().to(self.trainee.dtype).float())

    def step(self, step: int) -> float:
        """One step; the loss before it, in nats per token.

        Raises:
            OutOfMemory: the memory does not last for a single row.
        """
        from dlm_engine.training.sft import shuffled

        settings = self.settings
        batch = shuffled(self.packs, settings.packs_per_step, settings.seed, step)
        tokens = sum(laid.pack.supervised for laid in batch)

        def learned() -> float:
            # What was begun before the memory ran out counts for nothing.
            self._optimiser.zero_grad(set_to_none=True)
            parts = (part.pack for laid in batch for part in self.portions.of(laid))
            return sum(self._learn(pack, tokens) for pack in parts)

        doing = f"embedding warm-up, step {step + 1}"
        (loss,) = self.portions.lasting(learned, lambda: ((laid, 1) for laid in batch), doing)
        divergence = self._pull(step)
        norm = float(torch.nn.utils.clip_grad_norm_([self.rows], _CLIP))
        if not math.isfinite(loss + divergence + norm):
            raise TrainingError(
                f"embedding warm-up, step {step + 1}",
                "the loss is not a number",
                "set training.cpt.embed_warmup_steps to 0",
            )
        self._optimiser.step()
        return loss

    def _learn(self, pack: Pack, tokens: int) -> float:
        trainee, weights, loss = self.trainee, pack.weights, 0.0
        trainee.model.train()
        # Off in the backward pass too, where layers may be computed once more.
        with trainee.model.disable_adapter():
            hidden = trainee.hidden_from(pack, self._embedded(pack.input_ids))
            # Logits and what their gradient needs exist for a part of the positions at a time.
            leaf = hidden.detach().requires_grad_()
            for at in range(0, pack.supervised, CHUNK):
                part = slice(at, at + CHUNK)
                losses = torch.nn.functional.cross_entropy(
                    self._logits(leaf[part]), pack.labels[part], reduction="none"
                )
                counted = losses if weights is None else losses * weights[part]
                (counted.sum() / tokens).backward()
                loss += float(losses.detach().sum() / tokens)
            hidden.backward(leaf.grad)
        return loss

    def _pull(self, step: int) -> float:
        """Gradients of the divergence from the base on everyday answers, whose final hidden
        states are the base's."""
        every, weight = self.everyday.hidden, self.settings.anchor_weight
        if not self.trainee.tied or not every or not weight:
            return 0.0
        hidden = every[step % len(every)]
        divergence = 0.0
        for at in range(0, hidden.shape[0], CHUNK):
            part = hidden[at : at + CHUNK]
            with torch.no_grad():
                base = torch.log_softmax(self._bounded(part @ self.trainee.base_head.t()), -1)
            now = torch.log_softmax(self._logits(part), -1)
            away = (base.exp() * (base - now)).sum() / hidden.shape[0]
            (weight * away).backward()
            divergence += float(away.detach())
        return divergence

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """(1, N, H) what enters the first layer, with the rows as they are now."""
        place = self._place[ids]
        rows = torch.nn.functional.embedding(place.clamp_min(0), self.rows.to(self.trainee.dtype))
        if self._scale is not None:
            rows = rows * self._scale.to(rows.dtype)
        return torch.where(place[..., None] >= 0, rows, self._embedding(ids).detach())

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(M, V) float32, by a head that has the rows where it is tied to the embeddings."""
        logits = hidden @ self.trainee.base_head.t()
        if self.trainee.tied:
            logits = logits.index_copy(1, self.ids, hidden @ self.rows.to(hidden.dtype).t())
        return self._bounded(logits)

    def _bounded(self, logits: torch.Tensor) -> torch.Tensor:
        cap = self.trainee.soft_cap
        return logits.float() if cap is None else torch.tanh(logits.float() / cap) * cap
