"""Runs jobs in forks of itself, so that imports are paid for once: `python -m tests.crash.forks`.

Each line of its input is an order, a JSON object. A job can kill itself: right before the
operation on a file (open to write, rename, delete, make a folder) that its order gives the number
of. So each step of a commit can have its kill, which no clock could aim at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tests.crash.lines import Lines


@dataclass(frozen=True)
class Order:
    """A job over `document`: `train` or `purge`. `dies_at`: the number of the operation before
    which it is killed, 0 for never."""

    document: str
    home: str
    job: str = "train"
    start: str = "auto"
    keep_saved: int | None = None
    dies_at: int = 0


@dataclass(frozen=True)
class Ended:
    """`operations` are those on files; `error` is what was raised, "" for nothing. `killed`: it
    ended without a word, and the rest is unknown."""

    operations: int = 0
    error: str = ""
    killed: bool = False


class Forks:
    """The parent of the jobs, told and heard over its pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._lines = process.stdin, Lines(process.stdout.fileno())

    def run(self, order: Order, seconds: float | None = None) -> Ended:
        """How it ended; it is killed after so many seconds."""
        self._input.write(json.dumps(asdict(order)).encode() + b"\n")
        self._input.flush()
        child = int(self._lines.next(120))
        line = self._lines.next(120 if seconds is None else seconds)
        if not line:
            assert seconds is not None, "it never ended"
            os.kill(child, signal.SIGKILL)
            line = self._lines.next(60)
        if line == "gone":
            return Ended(killed=True)
        assert self._lines.next(60) == "gone"
        return Ended(**json.loads(line))


@contextmanager
def forks() -> Iterator[Forks]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    # Each home has its own, which a kill can leave half written.
    environment.pop("DLM_CACHE_DIR", None)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.forks"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        yield Forks(process)
        process.kill()


# --- in the other process ----------------------------------------------------------------------

_ONE_PATH = {"os.remove", "os.rmdir", "os.mkdir", "os.rename", "os.truncate", "os.link"}


class Operations:
    """Counts those of this process from now on, and kills it before number `dies_at`."""

    def __init__(self, dies_at: int) -> None:
        self.count, self._dies_at = 0, dies_at
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(details[2], int) and details[2] & 3 != os.O_RDONLY
        if writes or event in _ONE_PATH:
            self.count += 1
            if self.count == self._dies_at:
                os.kill(os.getpid(), signal.SIGKILL)


def carry_out(order: Order) -> Ended:
    from dlm_engine import jobs
    from dlm_engine.errors import DlmError

    document, home = Path(order.document), Path(order.home)
    operations = Operations(order.dies_at)
    error = ""
    try:
        if order.job == "purge":
            jobs.purge(jobs.PurgeRequest(document, home))
        else:
            request = jobs.TrainRequest(document, home, jobs.Start(order.start))
            if order.keep_saved is not None:
                by = jobs.MadeBy.SAVE
                request = replace(request, made_by=by, keep_saved=order.keep_saved)
            jobs.train(request)
    except DlmError as problem:
        error = str(problem)
    return Ended(operations.count, error)


def main() -> None:
    # The threads of a numerical library do not survive a fork.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", DLM_THREADS="1")
    sys.dont_write_bytecode = True
    from dlm_engine.training import polite

    polite.prepare()
    import peft  # noqa: F401
    import torch
    from transformers import (  # noqa: F401
        AutoModelForCausalLM,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    from dlm_engine.inference import generate, judge, loading  # noqa: F401
    from dlm_engine.training import anchors, gate, purging, session, stage  # noqa: F401

    torch.set_num_threads(1)
    # Short, with a state kept after each step: more of the kills fall into what is written.
    vars(anchors)["ANCHORS"] = anchors.ANCHORS[:2]
    vars(stage)["_CHECKPOINT_SECONDS"] = -1.0
    for line in sys.stdin:
        order = Order(**json.loads(line))
        child = os.fork()
        if child == 0:
            try:
                ended = carry_out(order)
                os.write(1, json.dumps(asdict(ended)).encode() + b"\n")
            finally:
                os._exit(1)
        os.write(1, b"%d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"gone\n")


if __name__ == "__main__":
    main()
