"""One trainer, timed in a process of its own: `python -m tests.bench.trainers NAME`.

Owns what is compared: the same twelve facts, the same base, rank and threads. Writes one
JSON object: supervised tokens per second of whole passes over the rows, the first pass
left out. A process each, because the libraries keep threads and memory to themselves,
and what one leaves behind would be the other's handicap.

A dlm run is also timed beside a neighbour, a process that wants a core for itself all
the time and gets it in every other step: so both figures come from the same minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.learning.facts import WORLDS, document_of

if TYPE_CHECKING:
    from dlm_engine.jobs import Progress

WORLD = "harbour"
BASE = "smollm2-135m"
RANK = 16
#: Steps of dlm, each a pass over the rows: one to warm up, the others timed.
STEPS = 9
#: TRL's passes of two steps each: one to warm up, the others timed.
PASSES = 3
_WANTS_A_CORE = "while True: pass"


@dataclass(frozen=True, slots=True)
class Speed:
    """Supervised tokens per second and per second of processor time, all threads together.

    Medians over `passes` passes over the rows. On a busy machine trust the second.
    """

    rate: float
    processor: float
    passes: int


@dataclass(frozen=True, slots=True)
class Beside:
    """Median seconds of a step alone and beside a neighbour; the neighbour's share of a core."""

    alone: float
    beside: float
    neighbour: float


def dlm() -> Speed:
    """A training run as `dlm train` makes it, with the anchors' work in every step."""
    rates: list[float] = []
    seconds: list[float] = []
    processor: list[float] = []

    def note(step: Progress) -> None:
        rates.append(step.tokens_per_second)
        seconds.append(step.elapsed)
        processor.append(time.process_time())

    _train(note)
    used = [after - before for before, after in pairwise(processor)]
    took = [after - before for before, after in pairwise(seconds)]
    cores = median(used) / median(took)
    rate = median(rates[1:])
    return Speed(rate, rate / cores, len(used))


def dlm_without_anchors() -> Speed:
    """The same, not held to what the base says about everyday questions."""
    from dlm_engine.training import settings

    vars(settings)["ANCHOR_WEIGHT"] = 0.0
    return dlm()


def dlm_beside() -> Beside:
    """dlm with a neighbour that is stopped and let go in turn."""
    return _beside(0)


def dlm_beside_standing_back() -> Beside:
    """The same, dlm at a lower priority than its neighbour."""
    return _beside(5)


def _beside(niceness: int) -> Beside:
    import psutil

    alone: list[float] = []
    beside: list[float] = []
    shares: list[float] = []
    with subprocess.Popen([sys.executable, "-c", _WANTS_A_CORE]) as neighbour:
        neighbour.send_signal(signal.SIGSTOP)
        # Only now: a child is as nice as its parent.
        os.nice(niceness)
        watched = psutil.Process(neighbour.pid)
        last = used = 0.0

        def note(step: Progress) -> None:
            nonlocal last, used
            took, last = step.elapsed - last, step.elapsed
            total = watched.cpu_times().user
            share, used = (total - used) / took, total
            busy = step.step % 2 == 1
            if step.step > 1:
                (beside if busy else alone).append(took)
                shares.extend([share] if busy else [])
            neighbour.send_signal(signal.SIGSTOP if busy else signal.SIGCONT)

        try:
            _train(note)
        finally:
            neighbour.kill()
    return Beside(median(alone), median(beside), median(shares))


def _train(note: Callable[[Progress], None]) -> None:
    from dlm_engine.jobs import Progress, TrainRequest, train
    from dlm_engine.store import LockMode

    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / f"{WORLD}.dlm"
        document.write_text(document_of(WORLD), encoding="utf-8")
        request = TrainRequest(
            document, Path(folder) / "home", max_steps=STEPS, lock_mode=LockMode.IGNORE
        )
        train(request, lambda event: note(event) if isinstance(event, Progress) else None)


def trl_defaults() -> Speed:
    """TRL's SFTTrainer as it comes: bfloat16, activations computed twice."""
    return _trl()


def trl_float32() -> Speed:
    """The same with what is slow without a graphics card taken out."""
    return _trl(bf16=False, gradient_checkpointing=False)


def _trl(**chosen: Any) -> Speed:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    spec = resolve(BASE, pinned_revision=None, home=home_dir())
    weights = obtain_weights(spec, home_dir(), report=lambda message: None)

    def said(role: str, content: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content}]

    rows = Dataset.from_list(
        [
            {"prompt": said("user", fact.question), "completion": said("assistant", fact.answer)}
            for fact in WORLDS[WORLD]
        ]
    )
    ends: list[float] = []
    processor: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **rest: Any) -> None:
            ends.append(time.monotonic())
            processor.append(time.process_time())

    with tempfile.TemporaryDirectory() as folder:
        per_pass = -(-len(rows) // SFTConfig(folder, use_cpu=True).per_device_train_batch_size)
        settings = SFTConfig(
            folder,
            max_steps=per_pass * PASSES,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **chosen,
        )
        model = AutoModelForCausalLM.from_pretrained(str(weights.path), dtype=torch.float32)
        trainer = SFTTrainer(
            model,
            settings,
            train_dataset=rows,
            processing_class=AutoTokenizer.from_pretrained(str(weights.path)),
            peft_config=LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"),
            callbacks=[Clock()],
        )
        tokens = sum(
            int((batch["labels"] != -100).sum()) for batch in trainer.get_train_dataloader()
        )
        trainer.train()

    def of_a_pass(clock: list[float]) -> float:
        marks = clock[per_pass - 1 :: per_pass]
        return median(after - before for before, after in pairwise(marks))

    return Speed(tokens / of_a_pass(ends), tokens / of_a_pass(processor), PASSES - 1)


TRAINERS: dict[str, Callable[[], Speed | Beside]] = {
    "dlm": dlm,
    "dlm-without-anchors": dlm_without_anchors,
    "dlm-beside": dlm_beside,
    "dlm-beside-standing-back": dlm_beside_standing_back,
    "trl-defaults": trl_defaults,
    "trl-float32": trl_float32,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainer", choices=sorted(TRAINERS))
    print(json.dumps(asdict(TRAINERS[parser.parse_args().trainer]())))


if __name__ == "__main__":
    main()
