"""What a training job is asked, what it says while it runs, and how it ends.

Plain types without torch, so that any front may name them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple

from dlm_engine.store import LockMode, MadeBy
from dlm_engine.training.ranks import Place
from dlm_engine.training.sinks import NOWHERE, Dashboards

#: Versions made by saves that stay where nobody says how many.
KEPT_SAVES: Final = 10


class Start(StrEnum):
    """Where training starts.

    auto: anew, unless the current version already is of this document. fresh: anew in any
    case. resume: where a run stopped. further: where a run over the same document stopped, else
    from the current version, to learn what is new in it; anew where that cannot be done.
    """

    AUTO = "auto"
    FRESH = "fresh"
    RESUME = "resume"
    FURTHER = "further"


class Phase(StrEnum):
    """What is trained: questions, answers and prose; then which of two answers is wanted; both."""

    SFT = "sft"
    PREFERENCE = "preference"
    ALL = "all"


class Injected(NamedTuple):
    """A question with its answer that a run learns beside the document, which lacks it."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """`max_steps` (of each phase) and `time_limit` (seconds of training) end the run early;
    it can be resumed.

    `early_stop` ends it for good once held-out prose got no better for so many steps.
    `all_layers`: adapt every layer, not the last third only; a run `further` does so where
    the version it goes on from does.

    A run that is `made_by` a save leaves the newest `keep_saved` versions of saves, 0 for all.
    `injected` is learned beside the document; a run without it makes a version that never saw it.
    `place` is that of this process, where several were given the same request to share its steps,
    and `shard` whether they divide the base too; None: where it does not fit otherwise.
    """

    path: Path
    home: Path
    start: Start = Start.AUTO
    seed: int | None = None
    max_steps: int | None = None
    time_limit: float | None = None
    early_stop: int | None = None
    all_layers: bool = False
    lock_mode: LockMode = LockMode.DEFAULT
    accept_licence: bool = False
    dashboards: Dashboards = NOWHERE
    made_by: MadeBy = MadeBy.COMMAND
    keep_saved: int = KEPT_SAVES
    phase: Phase = Phase.ALL
    injected: tuple[Injected, ...] = ()
    place: Place | None = None
    shard: bool | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Something that takes a moment, or that the author should know."""

    message: str


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing that was decided, and why."""

    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """After a step. `loss` and `divergence` in nats per token (the loss of the preference phase
    in its own measure), times in seconds. `learned` of `rows` are known, or preferred."""

    step: int
    cap: int
    loss: float
    divergence: float
    learned: int
    rows: int
    rate: float
    elapsed: float
    tokens_per_second: float
    gradient_norm: float = 0.0
    phase: Phase = Phase.SFT


@dataclass(frozen=True, slots=True)
class PhaseBegan:
    """What the run does from here on: `sft` and `preference` take steps, `save` commits."""

    name: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured of the adapter as it is after `step`; None for what was not."""

    step: int
    validation_loss: float | None
    learned: int | None = None
    rows: int | None = None
    divergence: float | None = None


class Ending(StrEnum):
    """trained: a new version. unchanged: the current one already is what this would make.
    empty: the document has nothing to learn. cancelled: stopped; `--resume` goes on."""

    TRAINED = "trained"
    UNCHANGED = "unchanged"
    EMPTY = "empty"
    CANCELLED = "cancelled"


class EndedBy(StrEnum):
    """What ended the steps of a phase: everything was learned, the plan had no more steps, or one
    of the limits that a run can be given."""

    LEARNED = "learned"
    CAP = "cap"
    MAX_STEPS = "max-steps"
    TIME_LIMIT = "time-limit"
    EARLY_STOP = "early-stop"


@dataclass(frozen=True, slots=True)
class Preferred:
    """How much likelier the chosen answers are than the rejected, in nats per token (the mean over
    `pairs`), and of which share of the pairs they are likelier, before the phase and after."""

    method: str
    pairs: int
    margin_before: float
    margin_after: float
    accuracy_before: float
    accuracy_after: float

    def __str__(self) -> str:
        right, before = (
            round(share * self.pairs) for share in (self.accuracy_after, self.accuracy_before)
        )
        return (
            f"{right} of {self.pairs} wanted answers are likelier than the unwanted ones "
            f"(before: {before}), by {self.margin_after:+.2f} nats a token "
            f"(before: {self.margin_before:+.2f})"
        )


@dataclass(frozen=True, slots=True)
class Losses:
    """Nats per supervised token of prose and of answers apart; None where there is none."""

    prose: float | None = None
    answers: float | None = None

    def __str__(self) -> str:
        parts = {"prose": self.prose, "answers": self.answers}
        return ", ".join(f"{name} {loss:.3f}" for name, loss in parts.items() if loss is not None)


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """`learned` of `rows` answers are known word for word (of windows of prose, where the document
    asks nothing); losses in nats per token, None if unmeasured. `steps` and `seconds` are of all
    phases that ran, everything else of the last. `content` is the digest of the document as it
    was read. `finished`: it ended by itself, and --resume would find nothing to do.

    `kept` is how many of the answers that the version before knew, and that the document still
    gives, are known now (None: there was none), `lost` the questions of the others and `lost_keys`
    the keys of their rows.

    `finished`: it ended by itself, and `--resume` has nothing to go on with.

    `trained` and `held_out` are of the adapter as it ended, over every row that was trained and
    every one that was held out, where `loss` is that of the last step.

    `adapter` is the named adapter it is of. For a document with named adapters the whole has
    theirs in `parts`, no version of its own, the sums of what can be summed, and in `gate` what
    chooses between them: a gate that was trained, or equal weights for want of examples.
    """

    ending: Ending
    version: int | None = None
    path: Path | None = None
    adapter_sha256: str | None = None
    steps: int = 0
    learned: int = 0
    rows: int = 0
    loss: float | None = None
    validation_loss: float | None = None
    divergence: float | None = None
    seconds: float = 0.0
    seed: int | None = None
    determinism: str | None = None
    kept: int | None = None
    lost: tuple[str, ...] = ()
    content: str | None = None
    preference: Preferred | None = None
    adapter: str | None = None
    parts: tuple[TrainOutcome, ...] = ()
    gate: Literal["trained", "uniform"] | None = None
    trained: Losses = Losses()
    held_out: Losses = Losses()
    finished: bool = False
    lost_keys: tuple[str, ...] = ()
    ended_by: EndedBy | None = None


@dataclass(frozen=True, slots=True)
class PhaseEnded:
    """A phase that takes steps has made a version; `outcome` is of this phase alone."""

    name: str
    outcome: TrainOutcome


Event = Status | Choice | Progress | PhaseBegan | PhaseEnded | Evaluation
Listener = Callable[[Event], None]
