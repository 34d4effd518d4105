"""`python -m tests.bench learning`: what documents of several kinds teach, and what that costs.

One line per document and seed: wall seconds of `dlm train` with nothing set but the base,
steps, facts known word for word and in other words, general questions still right, and of
preferences how much likelier the wanted answers are; with several seeds the least, the median and
the most of each. Then a source tree (loss on its text before and after), and ten edits as an editor
saves them. With `--against-trl` each is followed by the same by plain TRL and PEFT, measured by the
same code. Last, each figure beside its bar; the exit code is 1 when one is missed. Takes about two
minutes per line on two idle cores; seconds measured on a busy machine say nothing.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.learning import against, saves
from tests.bench.learning.bars import Bar, bars_of, show, show_spread
from tests.bench.learning.facts import EXAMPLES, LATER, TREE, WORLDS, lesson_of
from tests.bench.learning.measure import Found, find, train_file, train_world

from dlm_engine.bases import Weights

EDITS = "edits"
#: what the preferences of a document may be learned with, by name
PREFERRING = {
    **{name: f"{{preference: {{loss_type: {name}}}}}" for name in ("sigmoid", "hinge", "ipo")},
    "orpo": "{preference: {method: orpo}}",
}
#: and its questions by another optimiser
OPTIMISERS = {
    name: f"{{optimizer: {name}}}"
    for name in ("adamw_bnb_8bit", "paged_adamw_8bit", "galore_adamw", "galore_adamw_8bit")
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every figure and every bar; 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="learning", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="of dlm's part")
    parser.add_argument("--worlds", nargs="*", default=sorted(WORLDS), choices=sorted(WORLDS))
    parser.add_argument("--without", nargs="*", default=[], choices=[TREE, EDITS])
    parser.add_argument("--preferring", nargs="+", default=[""], choices=sorted(PREFERRING))
    parser.add_argument("--optimizers", nargs="+", default=[], choices=sorted(OPTIMISERS))
    parser.add_argument("--against-trl", action="store_true", help="also by plain TRL and PEFT")
    options = parser.parse_args(arguments)
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    home = home_dir()
    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    weights = obtain_weights(spec, home, report=print)
    bars: list[Bar] = []
    for world in options.worlds:
        show("base", find(0.0, 0, lesson_of(world), weights, None))
        own: list[Found] = []
        for way in options.optimizers or options.preferring:
            runs = [_world(world, seed, weights, way, bars) for seed in range(options.seeds)]
            if len(runs) > 1:
                show_spread(runs)
            own += runs
        if options.against_trl:
            bars += against.world(world, min(own, key=lambda found: found.right), weights)
    if TREE not in options.without:
        found = _tree(weights, bars)
        if options.against_trl:
            bars += against.world(TREE, found, weights)
    if EDITS not in options.without:
        found = _edits(bars)
        if options.against_trl:
            bars += against.edits(found, weights)
    print(*bars, sep="\n")
    return int(not all(bar.met for bar in bars))


def _world(world: str, seed: int, weights: Weights, way: str, bars: list[Bar]) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        options = ("--seed", str(seed), "--fresh", "--ignore-lock")
        training = {**PREFERRING, **OPTIMISERS}.get(way, "")
        trained = train_world(world, Path(folder), *options, training=training)
        found = find(trained.seconds, trained.steps, lesson_of(world), weights, trained.adapter)
    show(" ".join(filter(None, (world, way, f"seed {seed}"))), found)
    for question in found.score.lost:
        print(f"{'':19}lost: {question}")
    bars += bars_of(world, found.score, trained.seconds)
    if found.margins:
        what = f"{world}, wanted answers that are likelier"
        bars.append(Bar(what, found.preferred, len(found.margins)))
    return found


def _tree(weights: Weights, bars: list[Bar]) -> Found:
    """A document whose text is in a folder beside it."""
    lesson = lesson_of(TREE)
    base = find(0.0, 0, lesson, weights, None)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(EXAMPLES / "harbour", Path(folder) / "harbour")
        document = Path(shutil.copy(EXAMPLES / "harbour.dlm", folder))
        trained = train_file(document, "--fresh", "--ignore-lock")
        found = find(trained.seconds, trained.steps, lesson, weights, trained.adapter)
    show("base", base)
    show("source tree", found)
    assert base.nats is not None
    assert found.nats is not None
    bars += [
        Bar("source tree, nats a token", round(found.nats, 2), round(base.nats / 2, 2), most=True),
        Bar("source tree, general of 40", found.score.general, 35),
    ]
    return found


def _edits(bars: list[Bar]) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        found = saves.run(LATER["edits"], Path(folder))
    saves.show("ten edits", found)
    bars += [
        Bar("edits said after their save", sum(save.said for save in found.saves), 10),
        Bar("edits, word for word in the end", found.score.exact, 12),
        Bar("edits, in other words", found.score.reworded, 9),
        Bar("edits, old answers of 20", len(found.stale), 0, most=True),
        Bar("edits, general of 40", found.score.general, 38),
        *saves.bars_of("edits", found),
    ]
    return Found(statistics.median(save.seconds for save in found.saves), 0, found.score)


if __name__ == "__main__":
    sys.exit(main())
