"""What the worker is asked and what it says: the one schema of both ends of the pipe.

Plain frozen types. `read` turns what came through the pipe into one of them or says in one
line what is wrong, so neither end ever acts on half a message.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from dlm_engine.inference.model import Share

if TYPE_CHECKING:
    from pydantic import TypeAdapter

#: Raised with every change that an older end would not understand.
PROTOCOL: Final = 3

#: Exit status of a worker that had no memory left: it is not started again by itself.
EXIT_OUT_OF_MEMORY: Final = 12

OUT_OF_MEMORY: Final = "out-of-memory"

Side = Literal["base", "adapted"]
Choice = Literal["fresh", "update", "ignore", "licence"]


class Ending(StrEnum):
    """The four ways a job ends: `failed` ran and failed, `unavailable` could not run."""

    DONE = "done"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """What a job is at. `waiting` is for another process that holds the store."""

    WAITING = "waiting"
    PREPARING = "preparing"
    TRAINING = "training"
    ANSWERING = "answering"
    EXPORTING = "exporting"


# --- requests ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Initialize:
    """`parent`: the process to die with. `memory_limit` in bytes, None for 90 % of the machine."""

    parent: int
    home: str
    protocol: int = PROTOCOL
    idle_seconds: float = 900.0
    memory_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Accept:
    """What a training may do that it refuses otherwise: begin `fresh`, without what the version
    before knew; `lock`, what differs from `dlm.lock` made its new state or left aside this once;
    and accept the base's `licence`, which is remembered."""

    fresh: bool = False
    lock: Literal["update", "ignore"] | None = None
    licence: bool = False


NOTHING: Final = Accept()


@dataclass(frozen=True, slots=True)
class Train:
    """Train the document at `path` as it is on the disk.

    `max_steps` and `max_seconds` bound the training; `wait_seconds` the wait for a store
    that somebody else holds. After a training that is `made_by` a save the newest `keep_saved`
    versions of saves stay, 0 for all.
    """

    path: str
    max_steps: int | None = None
    max_seconds: float | None = None
    wait_seconds: float = 60.0
    made_by: Literal["command", "save"] = "command"
    keep_saved: int = 0
    accept: Accept = NOTHING


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question, streamed. `version` None is the current one, `adapter` one of several, `mix`
    the sum of some, as in "a=0.7,b=0.3". `accept_licence` is the base's, accepted this once."""

    path: str
    question: str
    version: int | Literal["base"] | None = None
    max_tokens: int = 256
    adapter: str | None = None
    mix: str | None = None
    accept_licence: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a document; `reference` is the answer that the document gives, `adapter`
    the named one that learns it."""

    key: str
    question: str
    reference: str | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Several questions at once, of the adapted model and, with `compare`, of the bare base."""

    path: str
    questions: tuple[Question, ...]
    compare: bool = False
    max_tokens: int = 256
    accept_licence: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """`adapter`, `mix` and `accept_licence` as in `Prompt`."""

    path: str
    target: str
    quant: str | None = None
    version: int | None = None
    wait_seconds: float = 60.0
    adapter: str | None = None
    mix: str | None = None
    accept_licence: bool = False


@dataclass(frozen=True, slots=True)
class Rollback:
    """Make `version` the current one."""

    path: str
    version: int
    wait_seconds: float = 10.0
    adapter: str | None = None
    accept_licence: bool = False


# --- what is said meanwhile ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Progress:
    """Where job `id` is. `message` is for people; `loss` in nats per token; `adapter` is the
    named one that is being trained. `stage` says of what a training's step is."""

    id: int
    phase: Phase
    message: str = ""
    step: int | None = None
    steps: int | None = None
    known: int | None = None
    rows: int | None = None
    loss: float | None = None
    seconds_left: float | None = None
    adapter: str | None = None
    stage: Literal["sft", "preference"] = "sft"


@dataclass(frozen=True, slots=True)
class Text:
    """More of the answer to the question `key` of job `id`."""

    id: int
    key: str
    side: Side
    text: str


@dataclass(frozen=True, slots=True)
class Exiting:
    """The worker ends by itself: "idle", "shutdown" or "out-of-memory"."""

    reason: str


# --- answers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Initialized:
    pid: int
    version: str
    protocol: int = PROTOCOL


@dataclass(frozen=True, slots=True)
class Trouble:
    """A `DlmError` in its three parts; `kind` is its class, or "out-of-memory", or "bug".

    `choices` are the fields of `Accept` with which a training would go on, `lock` by its values
    (any other job with the licence alone); `licence` and `url` are those of the base, where that is
    one of them.
    """

    kind: str
    subject: str
    problem: str
    remedy: str = ""
    choices: tuple[Choice, ...] = ()
    licence: str | None = None
    url: str | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.subject, self.problem, self.remedy) if part)


@dataclass(frozen=True, slots=True)
class Answer:
    """`right` compares the adapted answer with the reference, None where there is none;
    `version` (of `adapter`, where it has a name) is what answered."""

    key: str
    adapted: str | None = None
    base: str | None = None
    right: bool | None = None
    version: int | None = None
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a job ended and what it gave; fields that a job has nothing for stay as they are.

    `outcome` is "trained", "unchanged" or "empty"; `version` the one trained, asked or exported,
    None where several named adapters were; `content` the digest of the document that a training
    read; `lost` the questions that the version before knew and this one does not. `shares` says
    what each named adapter had to do with it. `limited`: a limit ended the training, and another
    one goes on from there.
    """

    ending: Ending
    trouble: Trouble | None = None
    outcome: str | None = None
    version: int | None = None
    content: str | None = None
    steps: int = 0
    known: int = 0
    rows: int = 0
    loss: float | None = None
    seconds: float = 0.0
    text: str = ""
    answers: tuple[Answer, ...] = ()
    folder: str | None = None
    files: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    limited: bool = False


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """`memory` is the resident set in bytes; `heavy` whether the libraries are loaded."""

    job: int | None
    waiting: int
    memory: int
    heavy: bool


T = TypeVar("T")


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def read(kind: type[T], value: object) -> T:
    """`value` as a `kind`; `ValueError` with one line when it is none. Unknown keys are ignored."""
    from pydantic import TypeAdapter, ValidationError

    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    try:
        found: T = _ADAPTERS[kind].validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{kind.__name__}.{where}: {first['msg']}") from None
    return found


def plain(message: Any) -> dict[str, Any]:
    """A message as JSON takes it."""
    return asdict(message)
