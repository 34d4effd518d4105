"""What is asked of a model and what comes back. Plain types without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from dlm_engine.errors import UsageError


class MixMethod(StrEnum):
    """linear: the exact sum. svd: the same at the least rank that keeps it within 0.05 %."""

    LINEAR = "linear"
    SVD = "svd"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    `temperature` 0 takes the likeliest, always the same; above it `seed` fixes the draw.
    None for `top_p`, `top_k` and `seed` means no limit and a fresh draw. `repetition_penalty`
    divides the scores of the tokens that are there already, the prompt's too; 1 changes nothing.
    """

    temperature: float = 0.0
    top_p: float | None = None
    max_tokens: int = 256
    seed: int | None = None
    top_k: int | None = None
    repetition_penalty: float = 1.0


class GateUse(StrEnum):
    AUTO = "auto"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Mix:
    """Named adapters, each with its weight, to be summed."""

    shares: tuple[tuple[str, float], ...]
    method: MixMethod = MixMethod.LINEAR

    @classmethod
    def read(cls, text: str, method: MixMethod = MixMethod.LINEAR) -> Mix:
        """The mix that `a=0.7,b=0.3` (or `a:0.7,b:0.3`) stands for.

        Raises:
            UsageError: it is not of that form, names one twice, or has no usable weight.
        """
        shares: dict[str, float] = {}
        for part in text.split(","):
            name, _, number = part.replace(":", "=").partition("=")
            try:
                weight = float(number)
            except ValueError:
                weight = math.nan
            if not name.strip() or not math.isfinite(weight) or weight < 0:
                raise UsageError(
                    f"--adapter-mix {text[:80]!r}",
                    f"{part.strip()!r} is not a name with a weight of 0 or more",
                    "write it as a=0.7,b=0.3",
                )
            if name.strip() in shares:
                problem = f"names {name.strip()} twice"
                raise UsageError(f"--adapter-mix {text[:80]!r}", problem, "name each once")
            shares[name.strip()] = weight
        if not any(shares.values()):
            raise UsageError(
                f"--adapter-mix {text[:80]!r}", "has only weights of 0", "ask the base with --base"
            )
        return cls(tuple(shares.items()), method)


@dataclass(frozen=True, slots=True)
class Share:
    """What a version of a named adapter has to do with an answer."""

    adapter: str
    version: int
    weight: float


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Ask the document's model. `version` None is the current one; "base" asks without adapter.

    `earlier` are the questions and answers before this one in the same conversation, oldest
    first; the oldest are left out where they do not fit. `adapter` names one of several, `mix`
    sums them; without either the document's gate weighs them (OFF: not), or its only one answers.
    `system` replaces the document's system prompt; `sampling.temperature` None stands for the
    document's own default.
    """

    path: Path
    home: Path
    question: str
    version: int | Literal["base"] | None = None
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 256
    seed: int | None = None
    accept_licence: bool = False
    earlier: tuple[tuple[str, str], ...] = ()
    adapter: str | None = None
    mix: Mix | None = None
    gate: GateUse | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Answering:
    """Who would answer: `version` of the one adapter, None for the bare base; `shares` of those
    with a name, which the gate weighs anew for each question where it is `gated`."""

    base_model: str
    version: int | None
    shares: tuple[Share, ...] = ()
    gated: bool = False


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """`version` is that of the one adapter that answered; `shares` are of those with a name,
    weighed by the `gate` where that is "trained" or "uniform".

    `stopped`: "end" when the model ended its answer, "length" at `max_tokens`, "cancelled"
    when it was told to. `left_out` earlier turns no longer fitted.
    """

    answer: str
    version: int | None
    base_model: str
    prompt_tokens: int
    answer_tokens: int
    stopped: Literal["end", "length", "cancelled"]
    temperature: float
    seconds: float
    notes: tuple[str, ...] = ()
    left_out: int = 0
    shares: tuple[Share, ...] = ()
    gate: Literal["trained", "uniform"] | None = None
