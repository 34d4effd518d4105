"""`python -m tests.bench learning`: what documents of several kinds teach, and what that costs.

One line per document and seed: wall seconds of `dlm train` with nothing set but the base,
steps, facts known word for word and in other words, general questions still right. Then a
source tree (loss on its text before and after), ten edits as an editor saves them, and with
`--against-trl` the harbour by plain TRL and PEFT. Last, each figure beside its bar; the exit
code is 1 when one is missed. Takes about two minutes per line on two idle cores; seconds
measured on a busy machine say nothing.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.learning import saves
from tests.bench.learning.bars import Bar, bars_of
from tests.bench.learning.facts import EXAMPLES, LATER, WORLDS
from tests.bench.learning.measure import Score, asker, score, text_loss, train_file, train_world
from tests.bench.learning.usual import RECIPES

from dlm_engine.bases import Weights

TREE, EDITS = "tree", "edits"
#: what the preferences of a document may be learned with, by name
PREFERRING = {
    **{name: f"{{preference: {{loss_type: {name}}}}}" for name in ("sigmoid", "hinge", "ipo")},
    "orpo": "{preference: {method: orpo}}",
}
_AGAINST = "harbour"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every figure and every bar; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="learning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--worlds", nargs="*", default=sorted(WORLDS), choices=sorted(WORLDS))
    parser.add_argument("--without", nargs="*", default=[], choices=[TREE, EDITS])
    parser.add_argument("--preferring", nargs="+", default=[""], choices=sorted(PREFERRING))
    parser.add_argument("--against-trl", action="store_true", help="also by plain TRL and PEFT")
    options = parser.parse_args(arguments)
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    home = home_dir()
    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    weights = obtain_weights(spec, home, report=print)
    _line("base", 0.0, 0, score(WORLDS[_AGAINST], asker(weights, None)))
    bars: list[Bar] = []
    for world in options.worlds:
        for seed in range(options.seeds):
            for loss in options.preferring:
                bars += _world(world, seed, weights, loss)
    if TREE not in options.without:
        bars += _tree(weights)
    if EDITS not in options.without:
        bars += _edits()
    if options.against_trl:
        bars += _against(weights)
    print(*bars, sep="\n")
    return int(not all(bar.met for bar in bars))


def _line(name: str, seconds: float, steps: object, found: Score) -> None:
    print(f"{name:18} {seconds:6.1f} s {steps:>3} steps  {found}", flush=True)


def _world(world: str, seed: int, weights: Weights, loss: str) -> list[Bar]:
    with tempfile.TemporaryDirectory() as folder:
        options = ("--seed", str(seed), "--fresh", "--ignore-lock")
        trained = train_world(world, Path(folder), *options, training=PREFERRING.get(loss, ""))
        found = score(WORLDS[world], asker(weights, Path(str(trained.result["path"]))))
    _line(
        " ".join(filter(None, (world, loss, f"seed {seed}"))),
        trained.seconds,
        trained.result["steps"],
        found,
    )
    for question in found.lost:
        print(f"{'':19}lost: {question}")
    bars = bars_of(world, found, trained.seconds)
    preferred = trained.result["preference"]
    if isinstance(preferred, dict):
        figures = "  ".join(f"{name} {value}" for name, value in preferred.items())
        print(f"{'':19}preferences: {figures}", flush=True)
        what = f"{world}, share of wanted answers that are likelier"
        bars.append(Bar(what, preferred["accuracy_after"], 1.0))
    return bars


def _tree(weights: Weights) -> list[Bar]:
    """A document whose text is in a folder beside it."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES / "harbour", Path(folder) / "harbour")
        document = Path(shutil.copy(EXAMPLES / "harbour.dlm", folder))
        trained = train_file(document, "--fresh", "--ignore-lock")
        texts = [p.read_text(encoding="utf-8") for p in sorted(Path(folder).glob("harbour/*.md"))]
        adapter = Path(str(trained.result["path"]))
        before, after = (text_loss(weights, each, texts) for each in (None, adapter))
        found = score([], asker(weights, adapter))
    _line("source tree", trained.seconds, trained.result["steps"], found)
    print(f"{'':19}its text: {before:.2f} nats a token before, {after:.2f} after", flush=True)
    return [
        Bar("source tree, nats a token", round(after, 2), round(before / 2, 2), most=True),
        Bar("source tree, general of 40", found.general, 35),
    ]


def _edits() -> list[Bar]:
    with tempfile.TemporaryDirectory() as folder:
        found = saves.run(LATER["edits"], Path(folder))
    saves.show("ten edits", found)
    return [
        Bar("edits said after their save", sum(save.said for save in found.saves), 10),
        Bar("edits, word for word in the end", found.score.exact, 12),
        Bar("edits, in other words", found.score.reworded, 9),
        Bar("edits, old answers of 20", len(found.stale), 0, most=True),
        Bar("edits, general of 40", found.score.general, 38),
        *saves.bars_of("edits", found),
    ]


def _against(weights: Weights) -> list[Bar]:
    """The same document by dlm and by each recipe of TRL's, each in a process from cold."""
    right: dict[str, int] = {}
    for name in ("dlm", *RECIPES):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            if name == "dlm":
                trained = train_world(_AGAINST, Path(folder), "--fresh", "--ignore-lock")
                adapter, steps = Path(str(trained.result["path"])), trained.result["steps"]
            else:
                command = [sys.executable, "-m", "tests.bench.learning.usual"]
                done = subprocess.run(
                    [*command, name, _AGAINST, folder], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    raise RuntimeError(f"{name}: {done.stderr}")
                adapter, steps = Path(folder), int((Path(folder) / "steps").read_text())
            seconds = time.monotonic() - began
            found = score(WORLDS[_AGAINST], asker(weights, adapter))
        _line(name if name == "dlm" else f"TRL, {name}", seconds, steps, found)
        right[name] = found.exact + found.reworded + found.general
    best = max(right[name] for name in RECIPES)
    return [Bar(f"{_AGAINST}, right of 64 beside the better of TRL's", right["dlm"], best)]


if __name__ == "__main__":
    sys.exit(main())
