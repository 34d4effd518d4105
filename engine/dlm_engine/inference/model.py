"""What is asked of a model and what comes back. Plain types without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    `temperature` 0 takes the likeliest, always the same; above it `seed` fixes the draw.
    None for `top_p` and `seed` means no limit and a fresh draw.
    """

    temperature: float = 0.0
    top_p: float | None = None
    max_tokens: int = 256
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """Ask the document's model. `version` None is the current one; "base" asks without adapter.

    `earlier` are the questions and answers before this one in the same conversation, oldest
    first; the oldest are left out where they do not fit. `system` replaces the document's
    system prompt; `sampling.temperature` None stands for the document's own default.
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


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """`stopped`: "end" when the model ended its answer, "length" at `max_tokens`, "cancelled"
    when it was told to. `left_out` earlier turns no longer fitted."""

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
