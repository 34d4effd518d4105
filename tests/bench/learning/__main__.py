"""`python -m tests.bench.learning`: trains every world over several seeds and prints what it costs.

One line per run: wall seconds of `dlm train` with nothing set but the base, steps, facts
known word for word and in other words, general questions still right. Takes about a
minute and a half per run on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.learning.facts import WORLDS
from tests.bench.learning.measure import asker, score, train_world


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="*", default=sorted(WORLDS), choices=sorted(WORLDS))
    options = parser.parse_args(arguments)
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.store import home_dir

    home = home_dir()
    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    weights = obtain_weights(spec, home, report=print)
    print(f"{'base':10} seed -    0.0 s  0 steps  {score(WORLDS['harbour'], asker(weights, None))}")
    for world in options.worlds:
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder)
                trained = train_world(world, place, "--seed", str(seed), "--fresh", "--ignore-lock")
                adapter = Path(str(trained.result["path"]))
                found = score(WORLDS[world], asker(weights, adapter))
            steps = trained.result["steps"]
            print(f"{world:10} seed {seed} {trained.seconds:6.1f} s {steps:2} steps  {found}")
            preferred = trained.result["preference"]
            if isinstance(preferred, dict):
                figures = "  ".join(f"{name} {value}" for name, value in preferred.items())
                print(f"{'':12}preferences: {figures}")
            for question in found.lost:
                print(f"{'':12}lost: {question}")


if __name__ == "__main__":
    main()
