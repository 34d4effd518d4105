"""What the learning bench holds its figures against, and how both are said."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.learning.measure import Found, Score


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that has to be `wanted` or more; or less, where it is `most`."""

    what: str
    found: float
    wanted: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.found <= self.wanted if self.most else self.found >= self.wanted

    def __str__(self) -> str:
        side = "at most" if self.most else "at least"
        verdict = "met" if self.met else "MISSED"
        return f"{verdict:6}  {self.what}: {self.found:g}, {side} {self.wanted:g}"


#: by how many facts a world has: said word for word, right in other words, general questions kept
_KNOWN = {60: (57, 45, 36), 12: (12, 9, 38), 6: (6, 4, 35), 0: (0, 0, 35)}
#: of a world of twelve facts, from the start of `dlm train` to its end, nothing else running
_SECONDS = 30.0


def bars_of(world: str, found: Score, seconds: float) -> list[Bar]:
    """The bars of a world trained once."""
    exact, reworded, general = _KNOWN[found.facts]
    bars = [
        Bar(f"{world}, word for word", found.exact, exact),
        Bar(f"{world}, in other words", found.reworded, reworded),
        Bar(f"{world}, general of 40", found.general, general),
    ]
    if found.facts == 12:
        bars.append(Bar(f"{world}, seconds", round(seconds, 1), _SECONDS, most=True))
    return [bar for bar in bars if bar.wanted]


def show(name: str, found: Found) -> None:
    """Print what a training came to."""
    print(f"{name:18} {found.seconds:6.1f} s {found.steps:>3} steps  {found.score}")
    if found.margins:
        print(
            f"{'':19}{found.preferred}/{len(found.margins)} wanted answers likelier, "
            f"all by {found.margin:+.2f} nats a token"
        )
    if found.nats is not None:
        print(f"{'':19}its text: {found.nats:.2f} nats a token")
    sys.stdout.flush()


def show_spread(runs: Sequence[Found]) -> None:
    """Print the least, the median and the most of what several seeds came to."""
    figures: dict[str, list[float]] = {
        "seconds": [round(run.seconds, 1) for run in runs],
        "steps": [run.steps for run in runs],
        "word for word": [run.score.exact for run in runs],
        "in other words": [run.score.reworded for run in runs],
        "general": [run.score.general for run in runs],
    }
    if runs[0].margins:
        figures["likelier"] = [run.preferred for run in runs]
        figures["margin"] = [round(run.margin, 2) for run in runs]
    said = (f"{what} {min(of):g}/{median(of):g}/{max(of):g}" for what, of in figures.items())
    print(f"{'':19}{len(runs)} seeds, least/median/most: {'  '.join(said)}", flush=True)
