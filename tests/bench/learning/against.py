"""The same lessons by plain TRL and PEFT, each in a process from cold, beside what dlm made of it.

What is compared is what is right in the end: facts asked twice, general questions, and preferences
whose wanted answer is the likelier one. Of a text nothing is asked: there it is compared how many
general questions were kept by whoever came to read it as well. The other figures are printed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.learning.bars import Bar, show
from tests.bench.learning.facts import EDIT, EDITED, TREE, Lesson, after_edits, lesson_of
from tests.bench.learning.measure import Found, find
from tests.bench.learning.usual import RECIPES

from dlm_engine.bases import Weights


def world(name: str, own: Found, weights: Weights) -> list[Bar]:
    """The world by each recipe; `own` is what dlm made of it."""
    theirs = []
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            theirs.append(_by(recipe, name, Path(folder), lesson_of(name), weights))
    if name == TREE:
        kept = [found.score.general for found in theirs if _read_as_well(found, own)]
        what = f"{name}, general of 40 beside the best of TRL's that read it as well"
        return [Bar(what, own.score.general, max(kept, default=0))]
    return _bars(name, lesson_of(name), own, theirs)


def edits(own: Found, weights: Weights) -> list[Bar]:
    """One edit of the harbour learned from the base on, with all the document, and the next by
    going on from that with the edited row alone; `own` is of ten edits, its seconds of one."""
    theirs = []
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            whole, further = Path(folder) / "whole", Path(folder) / "further"
            theirs.append(_by(recipe, EDITED, whole, Lesson(after_edits(1)), weights))
            theirs.append(_by(recipe, EDIT, further, Lesson(after_edits(2)), weights, whole))
    own_seconds, quickest = (round(s, 2) for s in (own.seconds, min(f.seconds for f in theirs)))
    return [
        *_bars("edits", Lesson(after_edits(10)), own, theirs),
        Bar("edits, seconds of one beside the quickest of TRL's", own_seconds, quickest, most=True),
    ]


def _by(
    recipe: str,
    name: str,
    folder: Path,
    asked: Lesson,
    weights: Weights,
    earlier: Path | None = None,
) -> Found:
    """Train the lesson `name`, from `earlier` on where it is given, and measure `asked`."""
    command = [sys.executable, "-m", "tests.bench.learning.usual", recipe, name, str(folder)]
    began = time.monotonic()
    done = subprocess.run(
        [*command, *(("--earlier", str(earlier)) if earlier else ())],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{recipe}, {name}: {done.stderr}")
    seconds = time.monotonic() - began
    steps, planned = json.loads((folder / "steps.json").read_text(encoding="utf-8"))
    found = find(seconds, steps, asked, weights, folder)
    show(f"TRL, {recipe}{' further' if earlier else ''}", found)
    if steps < planned:
        all_epochs = seconds * planned / steps
        print(f"{'':19}all {RECIPES[recipe].epochs} epochs would take about {all_epochs:.0f} s")
    return found


def _bars(name: str, lesson: Lesson, own: Found, theirs: Sequence[Found]) -> list[Bar]:
    best = max(found.right for found in theirs)
    of = 2 * len(lesson.facts) + 40 + len(lesson.pairs)
    bars = [Bar(f"{name}, right of {of} beside the better of TRL's", own.right, best)]
    if lesson.pairs:
        margin = round(max(found.margin for found in theirs), 2)
        what = f"{name}, nats a token beside the better of TRL's"
        bars.append(Bar(what, round(own.margin, 2), margin))
    return bars


def _read_as_well(found: Found, own: Found) -> bool:
    return found.nats is not None and own.nats is not None and found.nats <= own.nats
