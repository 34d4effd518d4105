"""A document cut into the parts that are read by themselves: its head, then each section.

The chunks tile the text: each starts where the one before ends, at the start of a line.
Where a chunk is follows from the sums of what stands before it, in each of four units, so
that an edit changes one chunk and adds a number to the sums behind it. Values are never
changed once made; documents before and after an edit share the chunks they have in common.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from dlm_engine.document.pieces import Left
from dlm_engine.document.sections import SectionReading


class Size(NamedTuple):
    """How much text something is."""

    #: code points
    characters: int
    bytes: int
    #: `\\n`, which alone make a row of the syntax tree
    rows: int
    #: line ends of any kind
    lines: int


def size_of(part: bytes, characters: int) -> Size:
    """The size of a part that does not begin or end inside a `\\r\\n`."""
    rows = part.count(b"\n")
    lines = rows
    if b"\r" in part:
        lines += part.count(b"\r") - part.count(b"\r\n")
    return Size(characters, len(part), rows, lines)


class Chunk(NamedTuple):
    """A part of the text and what was read there."""

    # A tuple for the same reason as `Span`.

    size: Size
    #: where the chunk started when it was read: what its reading's offsets count from
    origin: int
    reading: SectionReading


class Extent(NamedTuple):
    characters: int
    bytes: int


class Remains(NamedTuple):
    """A chunk as it was, and how much of its text edits have left at its start and its end."""

    chunk: Chunk
    front: Extent
    back: Extent

    def less(self, front: Extent, back: Extent) -> Remains:
        """What is left after one more edit, which left so much."""
        return Remains(self.chunk, min(self.front, front), min(self.back, back))

    @property
    def left(self) -> Left:
        return Left(self.chunk.reading.pieces, self.front.bytes, self.back.bytes)


#: the reading of a chunk that was edited and is not yet read again
STALE = SectionReading(None, ())


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks in order, the head first.

    `characters[i]`, `bytes[i]` and so on are the sums before chunk `i`; the last is the total.
    Going through all chunks of a large document takes longer than all else that an edit
    needs, so those that have something to say beyond their section are listed.
    """

    items: Sequence[Chunk]
    characters: Sequence[int]
    bytes: Sequence[int]
    rows: Sequence[int]
    lines: Sequence[int]
    #: numbers of the chunks with problems or with an adapter, in order
    noted: Sequence[int]

    @staticmethod
    def of(items: Sequence[Chunk]) -> Chunks:
        sizes = [item.size for item in items]
        units = zip(*sizes, strict=True) if sizes else ((), (), (), ())
        characters, size, rows, lines = (list(accumulate(unit, initial=0)) for unit in units)
        noted = [i for i, item in enumerate(items) if item.reading.noted]
        return Chunks(items, characters, size, rows, lines, noted)

    def replaced(self, start: int, stop: int, items: Sequence[Chunk]) -> Chunks:
        """With other chunks in place of those from `start` to before `stop`."""
        made = Chunks.of(items)
        return Chunks(
            [*self.items[:start], *items, *self.items[stop:]],
            _replaced(self.characters, start, stop, made.characters),
            _replaced(self.bytes, start, stop, made.bytes),
            _replaced(self.rows, start, stop, made.rows),
            _replaced(self.lines, start, stop, made.lines),
            _renumbered(self.noted, start, stop, len(items), made.noted),
        )

    def at(self, offset: int) -> int:
        """The chunk that holds the character at `offset`; at the end of the text the last."""
        return _holder(self.characters, offset)

    def at_byte(self, byte: int) -> int:
        return _holder(self.bytes, byte)

    def moved_by(self, index: int) -> int:
        """How far a chunk has moved since it was read."""
        return self.characters[index] - self.items[index].origin


def touched(sums: Sequence[int], start: int, end: int) -> tuple[int, int]:
    """The chunks, from the first to before the last, that overlap or adjoin [start, end]."""
    first = bisect_left(sums, start, 1) - 1
    return first, bisect_right(sums, end, first, len(sums) - 1)


def _holder(sums: Sequence[int], place: int) -> int:
    return min(bisect_right(sums, place), len(sums) - 1) - 1


def _replaced(sums: Sequence[int], start: int, stop: int, made: Sequence[int]) -> list[int]:
    before = sums[start]
    moved = before + made[-1] - sums[stop]
    rest = sums[stop + 1 :]
    if moved:
        rest = [place + moved for place in rest]
    return [*sums[:start], *(before + place for place in made), *rest]


def _renumbered(
    numbers: Sequence[int], start: int, stop: int, length: int, made: Sequence[int]
) -> list[int]:
    first, last = bisect_left(numbers, start), bisect_left(numbers, stop)
    moved = length - (stop - start)
    behind = (number + moved for number in numbers[last:])
    return [*numbers[:first], *(start + number for number in made), *behind]
