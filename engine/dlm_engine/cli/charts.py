"""A curve in the terminal: text of a given width, in Braille dots or in plain ASCII. Pure.

No colour and no cursor movement, so it looks the same in a terminal, a pipe and a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

HEIGHT: Final = 10
_LABEL: Final = 8
#: The bit of a Braille cell's dot, by its row and column.
_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def curve(
    title: str,
    points: Sequence[tuple[int, float]],
    *,
    width: int = 79,
    height: int = HEIGHT,
    ascii_only: bool = False,
) -> str:
    """`points` (step, value), in order of their steps, as `height` lines between axes.

    Empty for fewer than two points.
    """
    if len(points) < 2:
        return ""
    cells = max(8, width - _LABEL - 2)
    across, down = (1, 1) if ascii_only else (2, 4)
    values = [value for _, value in points]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    first, last = points[0][0], points[-1][0]
    columns, rows = cells * across, height * down

    def column(step: int) -> int:
        return round((step - first) / max(1, last - first) * (columns - 1))

    def row(value: float) -> int:
        return round((high - value) / (high - low) * (rows - 1))

    dots: set[tuple[int, int]] = set()
    placed = [(column(step), row(value)) for step, value in points]
    for one, other in pairwise(placed):
        dots |= _line(one, other)
    glyph = _ascii if ascii_only else _braille
    middle = (height - 1) // 2
    lines = [title]
    for at in range(height):
        label = ""
        if at in (0, middle, height - 1):
            label = _figure(high - (high - low) * at / (height - 1))
        drawn = "".join(glyph(dots, cell, at) for cell in range(cells)).rstrip()
        lines.append(f"{label:>{_LABEL}} {'|' if ascii_only else '│'}{drawn}".rstrip())
    rule = "+" + "-" * cells if ascii_only else "└" + "─" * cells
    ends = f"step {first}".ljust(cells - len(str(last))) + str(last)
    return "\n".join([*lines, " " * (_LABEL + 1) + rule, " " * (_LABEL + 2) + ends])


def drawable(encoding: str | None) -> bool:
    """Whether a stream of this encoding can show Braille."""
    try:
        "⣿│└─".encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def _line(one: tuple[int, int], other: tuple[int, int]) -> set[tuple[int, int]]:
    """The dots from `one` to `other`, both included, without a gap."""
    steps = max(abs(other[0] - one[0]), abs(other[1] - one[1]), 1)
    return {
        (
            one[0] + round((other[0] - one[0]) * i / steps),
            one[1] + round((other[1] - one[1]) * i / steps),
        )
        for i in range(steps + 1)
    }


def _braille(dots: set[tuple[int, int]], cell: int, line: int) -> str:
    bits = sum(
        bit
        for down, pair in enumerate(_DOTS)
        for across, bit in enumerate(pair)
        if (2 * cell + across, 4 * line + down) in dots
    )
    return chr(0x2800 + bits) if bits else " "


def _ascii(dots: set[tuple[int, int]], cell: int, line: int) -> str:
    return "*" if (cell, line) in dots else " "


def _figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.2g}"
