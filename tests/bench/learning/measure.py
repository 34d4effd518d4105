"""What a trained document knows, and what its base forgot: asked for real, word for word.

`train_file` runs `dlm train` as a person would, in a process of its own, and times it from
start to finish. `score` asks the adapter that is on disk, loaded by plain PEFT; `text_loss`
reads texts with it, whole, as no trainer cut them, and `margins` both answers of preferences.
Whoever trained the adapter, these measure it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.learning.facts import Fact, Lesson, document_of
from tests.bench.learning.general import FRAGILE, QUESTIONS, right

from dlm_engine.bases import Weights

if TYPE_CHECKING:
    from dlm_engine.data.pairs import PreferenceRow

#: Answers word for word end within this many tokens; a right one in other words starts so.
MAX_TOKENS = 24

Ask = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True, slots=True)
class Trained:
    """One `dlm train`: `seconds` of wall time, start-up included, and its result as JSON says."""

    document: Path
    seconds: float
    result: dict[str, object]

    @property
    def adapter(self) -> Path:
        return Path(str(self.result["path"]))

    @property
    def steps(self) -> int:
        return int(str(self.result["steps"]))


@dataclass(frozen=True, slots=True)
class Score:
    """Of `facts` facts: said word for word, and right when asked in other words; of 40 (and of 5
    that rounding can turn) general questions: still right."""

    exact: int
    reworded: int
    general: int
    fragile: int
    lost: tuple[str, ...]
    facts: int = 12

    def __str__(self) -> str:
        of = self.facts
        return (
            f"{self.exact:2}/{of} word for word  {self.reworded:2}/{of} in other words  "
            f"{self.general}/40 general  {self.fragile}/{len(FRAGILE)} fragile"
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What one training came to, by whomever: `margins` are of the lesson's preferences, `nats`
    of its texts, per token."""

    seconds: float
    steps: int
    score: Score
    margins: tuple[float, ...] = ()
    nats: float | None = None

    @property
    def preferred(self) -> int:
        """Of how many preferences the wanted answer is the likelier one."""
        return sum(margin > 0 for margin in self.margins)

    @property
    def margin(self) -> float:
        return sum(self.margins) / max(1, len(self.margins))

    @property
    def right(self) -> int:
        """Facts asked twice, general questions and preferences."""
        return self.score.exact + self.score.reworded + self.score.general + self.preferred


def train_world(world: str, folder: Path, *options: str, training: str = "") -> Trained:
    """Write the world's document, with `training` set, into `folder` and train it with the
    command line."""
    folder.mkdir(parents=True, exist_ok=True)
    document = folder / f"{world}.dlm"
    document.write_text(document_of(world, training), encoding="utf-8")
    return train_file(document, *options)


def train_file(document: Path, *options: str) -> Trained:
    """Train a document with the command line."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dlm_engine", "train", str(document), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Trained(document, time.monotonic() - began, json.loads(done.stdout))


def find(
    seconds: float, steps: int, lesson: Lesson, weights: Weights, adapter: Path | None
) -> Found:
    """Measure the adapter in `adapter`, or the base alone, on all that `lesson` teaches."""
    return Found(
        seconds,
        steps,
        score(lesson.facts, asker(weights, adapter)),
        margins(weights, adapter, lesson.pairs),
        text_loss(weights, adapter, lesson.texts) if lesson.texts else None,
    )


def text_loss(weights: Weights, adapter: Path | None, texts: Sequence[str]) -> float:
    """Nats per token of `texts`, each read from its beginning, in float32."""
    from dlm_engine.data import Chat

    model = _model(weights, adapter)
    tokenizer = Chat.of(weights, None).tokenizer
    total, tokens = 0.0, 0
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        total += _loss(model, ids, 1) * (len(ids) - 1)
        tokens += len(ids) - 1
    return total / tokens


def margins(
    weights: Weights, adapter: Path | None, pairs: Sequence[PreferenceRow]
) -> tuple[float, ...]:
    """By how many nats a token each wanted answer is likelier than the other, in float32."""
    from dlm_engine.data import Chat

    if not pairs:
        return ()
    model, chat = _model(weights, adapter), Chat.of(weights, None)

    def loss(prompt: str, answer: str) -> float:
        asked = chat.prompt_ids(prompt)
        return _loss(model, [*asked, *chat.answer_ids(prompt, answer)], len(asked))

    return tuple(loss(p.prompt, p.rejected) - loss(p.prompt, p.chosen) for p in pairs)


def _loss(model: Any, ids: Sequence[int], known: int) -> float:
    """Mean nats of the tokens behind the first `known`."""
    import torch

    given = torch.tensor([ids])
    labels = given.clone()
    labels[:, :known] = -100
    with torch.no_grad():
        return float(model(input_ids=given, labels=labels).loss)


def asker(weights: Weights, adapter: Path | None) -> Ask:
    """Asks the base in float32, with the adapter in `adapter` on it, greedily."""
    return ask_with(_model(weights, adapter), weights)


def _model(weights: Weights, adapter: Path | None) -> Any:
    from dlm_engine.inference.generate import attach
    from dlm_engine.inference.loading import load_base

    model = load_base(weights, "fp32", "sdpa", "cpu")
    return model if adapter is None else attach(model, adapter)


def ask_with(model: Any, weights: Weights) -> Ask:
    """Asks `model`, which is the base of `weights` or has an adapter on it, greedily."""
    from dlm_engine.data import Chat
    from dlm_engine.inference.generate import answers

    chat = Chat.of(weights, None)
    return lambda questions: answers(model, chat, questions, MAX_TOKENS, batch=64)


def score(facts: Sequence[Fact], ask: Ask) -> Score:
    """Ask everything there is to ask about `facts` and beyond them."""
    general = QUESTIONS + FRAGILE
    said = ask(
        [*(f.question for f in facts), *(f.reworded for f in facts), *(q for q, _ in general)]
    )
    exact = sum(a == f.answer for a, f in zip(said, facts, strict=False))
    reworded = sum(f.key in a.lower() for a, f in zip(said[len(facts) :], facts, strict=False))
    rest = said[2 * len(facts) :]
    kept = [right(a, keys) for a, (_, keys) in zip(rest, general, strict=True)]
    lost = tuple(q for (q, _), ok in zip(general, kept, strict=True) if not ok)
    return Score(exact, reworded, sum(kept[:40]), sum(kept[40:]), lost, len(facts))
