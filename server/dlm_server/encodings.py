"""Columns of one line between code points and what the client counts in.

A column that falls inside a character means the start of that character, and one past the
line's end means the end. The protocol's own library counts character by character in Python;
lines of training text have 100,000 characters, so here the counting is left to C.
"""

from __future__ import annotations

import re
from enum import StrEnum

_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
#: every byte that continues a UTF-8 sequence
_CONTINUATION = bytes(range(0x80, 0xC0))


class Encoding(StrEnum):
    """What a client counts columns in; the values are the protocol's names."""

    UTF8 = "utf-8"
    UTF16 = "utf-16"
    UTF32 = "utf-32"


def to_column(line: str, units: int, encoding: Encoding) -> int:
    """The code-point column that `units` means in `line` (which has no line end)."""
    if units <= 0:
        return 0
    if encoding is Encoding.UTF32 or line.isascii():
        return min(units, len(line))
    if encoding is Encoding.UTF8:
        # No character is longer than four bytes or shorter than one.
        encoded = line[:units].encode("utf-8", "surrogatepass")
        if units >= len(encoded):
            return min(units, len(line[:units]))
        whole = len(encoded[:units].translate(None, _CONTINUATION))
        inside = 0x80 <= encoded[units] < 0xC0
        return whole - 1 if inside else whole
    before = 0
    for wide in _ASTRAL.finditer(line, 0, min(units, len(line))):
        if wide.start() + before + 1 >= units:
            # The character starts at or after the place, or the place is in its middle.
            return min(units - before, wide.start())
        before += 1
    return min(units - before, len(line))


def to_units(line: str, column: int, encoding: Encoding) -> int:
    """How many units of `encoding` stand before the code-point `column` of `line`."""
    prefix = line[:column]
    if encoding is Encoding.UTF32 or prefix.isascii():
        return len(prefix)
    if encoding is Encoding.UTF8:
        return len(prefix.encode("utf-8", "surrogatepass"))
    return len(prefix) + sum(1 for _ in _ASTRAL.finditer(prefix))
