"""Runs of several processes, forked from one that has paid for the imports: `python -m` this.

Each line of its input is an order, a JSON object. Each process of a run writes what became of it
into a file of its own, and when all are gone their parent says so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from tests.crash.lines import Lines

if TYPE_CHECKING:
    from dlm_engine.training.network import Trainee


@dataclass(frozen=True)
class Order:
    """A run over `documents` (the last one for all further processes) in `home`, which other
    processes than the first have as `elsewhere` if that is given, as other machines would.

    `dies`: a process and the how manieth of its packs it dies in. `keeps`: a state after each step.
    `scarce`: a process in which no more than two rows go through at once. `stops`: the step after
    which it is to stop. `shard`: whether the base is divided.
    """

    documents: tuple[str, ...]
    home: str
    world: int
    elsewhere: str | None = None
    seed: int | None = None
    start: str = "auto"
    max_steps: int | None = None
    early_stop: int | None = None
    time_limit: float | None = None
    dies: tuple[int, int] | None = None
    keeps: bool = False
    scarce: int | None = None
    stops: int | None = None
    shard: bool | None = None
    all_layers: bool = False
    checkpointing: bool = False


@dataclass(frozen=True)
class Told:
    """What one process told. `wrote`: paths under the home that it created or changed. `kept`:
    bytes of the base that it kept, `largest` those that it gathers at once, `grew` those by which
    its memory was larger than at the start when it was largest (Linux)."""

    losses: tuple[float, ...] = ()
    divergences: tuple[float, ...] = ()
    choices: tuple[str, ...] = ()
    ending: str = ""
    steps: int = 0
    learned: int = 0
    held_out: float | None = None
    path: str = ""
    margin: float | None = None
    error: str = ""
    wrote: tuple[str, ...] = ()
    kept: int = 0
    largest: int = 0
    grew: int = 0


class Crowd:
    """The parent of the processes, told and heard over its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._lines = process.stdin, Lines(process.stdout.fileno())

    def run(self, order: Order) -> list[Told | None]:
        """What each process told, None for one that was killed."""
        self._input.write(json.dumps(asdict(order)).encode() + b"\n")
        self._input.flush()
        folder = Path(self._lines.next(240))
        assert folder.name, "they never ended"
        files = [folder / str(rank) for rank in range(order.world)]
        told = [Told(**json.loads(f.read_text())) if f.exists() else None for f in files]
        shutil.rmtree(folder)
        return told


@contextmanager
def crowd() -> Iterator[Crowd]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    # Each home has its own.
    environment.pop("DLM_CACHE_DIR", None)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.crowd"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        yield Crowd(process)
        process.kill()


# --- in the other processes --------------------------------------------------------------------


@dataclass
class Writing:
    """Paths under `home` that this process writes from now on."""

    home: str
    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(details[2], int) and details[2] & 3 != os.O_RDONLY
        changes = {"os.remove", "os.rmdir", "os.mkdir", "os.rename", "os.truncate", "os.link"}
        if (writes or event in changes) and str(details[0]).startswith(self.home):
            self.paths.append(str(details[0]).removeprefix(self.home))


def carry_out(order: Order, rank: int) -> Told:
    from dlm_engine import jobs
    from dlm_engine.errors import DlmError
    from dlm_engine.training import building, stage
    from dlm_engine.training.network import Trainee, Wiring

    if order.keeps:
        vars(stage)["_CHECKPOINT_SECONDS"] = -1.0
    steps: list[jobs.Progress] = []
    choices: list[str] = []

    def tell(event: jobs.Event) -> None:
        if isinstance(event, jobs.Progress):
            steps.append(event)
        if isinstance(event, jobs.Choice):
            choices.append(event.name)

    if order.checkpointing:
        vars(building)["Wiring"] = lambda *wishes: replace(Wiring(*wishes), checkpointing=True)
    seen = 0
    trained: Trainee | None = None
    whole = Trainee.hidden

    def hidden(self: Trainee, pack: Any, trunk: Any) -> Any:
        nonlocal seen, trained
        import torch

        trained = self
        if self.model.training and torch.is_grad_enabled():
            seen += 1
            if order.dies and tuple(order.dies) == (rank, seen):
                os.kill(os.getpid(), signal.SIGKILL)
            if order.scarce == rank and len(pack.rows) > 2:
                raise MemoryError
        return whole(self, pack, trunk)

    Trainee.hidden = hidden  # type: ignore[method-assign]
    document = order.documents[min(rank, len(order.documents) - 1)]
    home = order.elsewhere if rank and order.elsewhere else order.home
    request = jobs.TrainRequest(
        Path(document),
        Path(home),
        jobs.Start(order.start),
        order.seed,
        max_steps=order.max_steps,
        early_stop=order.early_stop,
        time_limit=order.time_limit,
        all_layers=order.all_layers,
        shard=order.shard,
        place=jobs.Place(rank, order.world, rank, order.world) if order.world > 1 else None,
    )
    writing = Writing(home)
    before = memory("VmRSS")
    outcome, error = None, ""
    try:
        outcome = jobs.train(request, tell, lambda: len(steps) == order.stops)
    except DlmError as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Told(
        tuple(step.loss for step in steps),
        tuple(step.divergence for step in steps),
        tuple(choices),
        str(outcome.ending) if outcome else "",
        outcome.steps if outcome else 0,
        outcome.learned if outcome else 0,
        outcome.validation_loss if outcome else None,
        str(outcome.path or "") if outcome else "",
        outcome.preference.margin_after if outcome and outcome.preference else None,
        error,
        tuple(writing.paths),
        kept_of_base(trained) if trained else 0,
        trained.divided.largest if trained and trained.divided else 0,
        memory("VmHWM") - before,
    )


def memory(name: str) -> int:
    """Of this process, in bytes, as the kernel names it; 0 where it does not."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
    return 0


def kept_of_base(trained: Trainee) -> int:
    """Bytes of memory behind the weights of the base, and behind its parts."""
    named = trained.model.named_parameters()
    storages = (weight.untyped_storage() for name, weight in named if "lora_" not in name)
    found = {each.data_ptr(): each.nbytes() for each in storages}
    parts = trained.divided.nbytes if trained.divided else 0
    return int(sum(found.values()) + parts)


def main() -> None:
    # The threads of a numerical library do not survive a fork.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", DLM_THREADS="1")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    sys.dont_write_bytecode = True
    from dlm_engine.training import polite

    polite.prepare()
    import peft  # noqa: F401
    import torch
    import torch.distributed
    from transformers import (  # noqa: F401
        AutoModelForCausalLM,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    from dlm_engine.training import anchors, following, session, stage  # noqa: F401

    torch.set_num_threads(1)
    vars(anchors)["ANCHORS"] = anchors.ANCHORS[:4]
    for line in sys.stdin:
        order = Order(**json.loads(line))
        folder = Path(mkdtemp(prefix="dlm-crowd-"))
        os.environ["DLM_MEETING"] = str(folder / "meeting")
        children = []
        for rank in range(order.world):
            child = os.fork()
            if child == 0:
                try:
                    told = carry_out(order, rank)
                    (folder / str(rank)).write_text(json.dumps(asdict(told)))
                except BaseException:
                    sys.excepthook(*sys.exc_info())
                finally:
                    os._exit(1)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        os.write(1, f"{folder}\n".encode())


if __name__ == "__main__":
    main()
