"""What the learning bench holds its figures against, and how a figure beside its bar is said."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.learning.measure import Score


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
