"""One trainer, timed in a process of its own: `python -m tests.bench.trainers NAME`.

Owns what is compared: the same twelve facts, the same base, rank and threads. Writes one
JSON object: tokens and operations per second of whole passes over the rows, the first pass
left out, or what rate of operations the machine reaches in matrix products (`products`). A
process each, because the libraries keep threads and memory to themselves, and what one leaves
behind would be the other's handicap.

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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.learning.facts import WORLDS, document_of

if TYPE_CHECKING:
    from dlm_engine.hardware import ModelShape
    from dlm_engine.jobs import Progress
    from dlm_engine.training.sft import Laid, Run

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

    Medians over `passes` passes over the rows. On a busy machine trust the second. `tokens`
    per second are all that are computed, prompts and everyday questions with them and padding
    not; `operations` are those of `needed` per second, computed in `precision`.
    """

    rate: float
    processor: float
    passes: int
    tokens: float = 0.0
    operations: float = 0.0
    precision: str = "fp32"


@dataclass(frozen=True, slots=True)
class Products:
    """Operations per second that matrix products of the base's own shapes reach."""

    bf16: float
    fp32: float


@dataclass(frozen=True, slots=True)
class Work:
    """What is in one pass over the rows."""

    supervised: int
    tokens: int
    operations: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Median seconds of a step alone and beside a neighbour; the neighbour's share of a core."""

    alone: float
    beside: float
    neighbour: float


def needed(
    shape: ModelShape,
    sequences: Sequence[int],
    layers: int,
    adapter: int,
    trained: int,
    head_products: int,
) -> float:
    """Additions and multiplications that training on `sequences` (their lengths) takes.

    With n the tokens of all sequences, W the weights of a layer's linear modules, A those of the
    adapter and T those of them that are trained, H heads of d, V words and h the width:

        n * (4*layers*W + 4*A + 2*T)     forward; backward to what entered; gradients
        12*layers*H*d * sum(N^2)         scores and mixtures, one way forward, two backward
        2*V*h * head_products            logits and the gradients through them

    Layers under the lowest adapter are computed once a run and not counted. Nothing that is
    computed twice to save memory is, nor norms, activations and the optimiser.
    """
    n, squares = sum(sequences), sum(length**2 for length in sequences)
    linear = shape.linear_params / shape.layers
    attention = 12 * layers * shape.heads * shape.head_dim * squares
    head = 2.0 * shape.vocab * shape.hidden * head_products
    return n * (4 * layers * linear + 4 * adapter + 2 * trained) + attention + head


def products() -> Products:
    """The best of many rounds of the products of one layer, for as many tokens as a pack has."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    shape = _shape()
    tokens, rates = 384, []
    for dtype in (torch.bfloat16, torch.float32):
        x = {width: torch.randn(tokens, width, dtype=dtype) for width, _ in shape.linears}
        weights = [torch.randn(out, width, dtype=dtype) for width, out in shape.linears]
        took = []
        for _ in range(60):
            began = time.perf_counter()
            for weight in weights:
                torch.nn.functional.linear(x[weight.shape[1]], weight)
            took.append(time.perf_counter() - began)
        rates.append(2 * tokens * sum(weight.numel() for weight in weights) / min(took))
    return Products(*rates)


def _shape() -> ModelShape:
    from dlm_engine.bases import config, obtain_weights, resolve
    from dlm_engine.hardware import shape_of
    from dlm_engine.store import home_dir

    spec = resolve(BASE, pinned_revision=None, home=home_dir())
    return shape_of(config(obtain_weights(spec, home_dir(), report=lambda message: None)))


def dlm() -> Speed:
    """A training run as `dlm train` makes it, with the anchors' work in every step."""
    return _dlm()


def dlm_without_anchors() -> Speed:
    """The same, not held to what the base says about everyday questions."""
    return _dlm(anchored=False)


def dlm_all_layers() -> Speed:
    """A training run as `dlm train --all-layers` makes it."""
    return _dlm(every=True)


def dlm_all_layers_without_anchors() -> Speed:
    """The same, and nothing but what TRL does as well."""
    return _dlm(every=True, anchored=False)


def dlm_top_six() -> Speed:
    """Adapters on the last six layers only, and no anchors."""
    return _dlm(top=6, anchored=False)


def _dlm(*, every: bool = False, top: int | None = None, anchored: bool = True) -> Speed:
    from dlm_engine.training import building, settings

    if not anchored:
        vars(settings)["ANCHOR_WEIGHT"] = 0.0
    if top is not None:
        settle = settings.settle
        vars(settings)["settle"] = lambda *a, **k: replace(settle(*a, **k), layers=top)
    works: list[Work] = []
    precisions: list[str] = []
    build = building.build

    def built(given: Any, *rest: Any) -> building.Built:
        made = build(given, *rest)
        works.append(_work(made.run))
        precisions.append(given.plan.precision)
        return made

    vars(building)["build"] = built
    rates: list[float] = []
    seconds: list[float] = []
    processor: list[float] = []

    def note(step: Progress) -> None:
        rates.append(step.tokens_per_second)
        seconds.append(step.elapsed)
        processor.append(time.process_time())

    _train(note, all_layers=every)
    used = [after - before for before, after in pairwise(processor)]
    took = [after - before for before, after in pairwise(seconds)]
    cores = median(used) / median(took)
    rate = median(rates[1:])
    (work,), (precision,) = works, precisions
    each = rate / work.supervised
    return Speed(
        rate,
        rate / cores,
        len(used),
        each * work.tokens,
        each * work.operations,
        precision,
    )


def _work(run: Run) -> Work:
    """Of one step: its packs, and the mean of the packs of anchors, of which it takes one."""
    trainee = run.trainee
    depth = len(trainee.inner.layers) - trainee.cut
    both = [
        weight.numel()
        for module in trainee.adapted().values()
        for weight in (module.lora_A["default"].weight, module.lora_B["default"].weight)
    ]
    trained = sum(weight.numel() for weight in run.parameters.values())
    shape = _shape()

    def of(laid: Sequence[Laid], head_products: int) -> tuple[int, float]:
        lengths = [each.pack.tokens for each in laid]
        at_head = head_products * sum(each.pack.supervised for each in laid)
        return sum(lengths), needed(shape, lengths, depth, sum(both), trained, at_head)

    tokens, operations = of(run.packs, 2)
    if run.settings.anchor_weight:
        theirs, took = of(run.anchors, 3)
        tokens += round(theirs / len(run.anchors))
        operations += took / len(run.anchors)
    return Work(sum(laid.pack.supervised for laid in run.packs), tokens, operations)


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


def _train(note: Callable[[Progress], None], *, all_layers: bool = False) -> None:
    from dlm_engine.jobs import Progress, TrainRequest, train
    from dlm_engine.store import LockMode

    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / f"{WORLD}.dlm"
        document.write_text(document_of(WORLD), encoding="utf-8")
        request = TrainRequest(
            document,
            Path(folder) / "home",
            max_steps=STEPS,
            all_layers=all_layers,
            lock_mode=LockMode.IGNORE,
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
        batches = list(trainer.get_train_dataloader())
        tokens = sum(int((batch["labels"] != -100).sum()) for batch in batches)
        lengths = [int(n) for batch in batches for n in batch["attention_mask"].sum(1)]
        adapter = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        trainer.train()

    def of_a_pass(clock: list[float]) -> float:
        marks = clock[per_pass - 1 :: per_pass]
        return median(after - before for before, after in pairwise(marks))

    shape, took = _shape(), of_a_pass(ends)
    return Speed(
        tokens / took,
        tokens / of_a_pass(processor),
        PASSES - 1,
        sum(lengths) / took,
        needed(shape, lengths, shape.layers, adapter, adapter, 2 * tokens) / took,
        "bf16" if settings.bf16 else "fp32",
    )


TRAINERS: dict[str, Callable[[], Speed | Beside | Products]] = {
    "products": products,
    "dlm": dlm,
    "dlm-without-anchors": dlm_without_anchors,
    "dlm-all-layers": dlm_all_layers,
    "dlm-all-layers-without-anchors": dlm_all_layers_without_anchors,
    "dlm-top-six": dlm_top_six,
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
