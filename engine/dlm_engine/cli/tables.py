"""Numbers, times and rows as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


def columns(rows: Sequence[Sequence[str]], *, gap: int = 2) -> str:
    """`rows` with every column as wide as its widest cell; the last one is never padded."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    return "\n".join(
        (" " * gap).join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    )


def size(number: int) -> str:
    """Bytes in the unit that leaves one to four digits."""
    amount = float(number)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return (
                f"{amount:.0f} {unit}"
                if unit == "bytes" or amount >= 100
                else f"{amount:.1f} {unit}"
            )
        amount /= 1024
    return f"{amount:.1f} TiB"


def seconds(number: float) -> str:
    """A duration: `0.4 s`, `38 s`, `4 min 10 s`, `2 h 05 min`."""
    if number < 10:
        return f"{number:.1f} s"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def moment(written: str | datetime | None) -> str:
    """A time as the store keeps it, to the minute, UTC."""
    if written is None:
        return "unfinished"
    when = datetime.fromisoformat(written) if isinstance(written, str) else written
    return when.strftime("%Y-%m-%d %H:%M UTC")
