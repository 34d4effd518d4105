"""Where things are in a text that is cut into chunks: lines, columns, code points, bytes.

Everything is found from the chunk that holds it, so that an edit leaves nothing to be counted
anew but the chunk it is in; and that one, which may be the whole document, is counted in
blocks, because a list of all its lines takes longer to make than all else that an edit needs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tree_sitter import Point

from dlm_engine.document.chunks import Chunks
from dlm_engine.document.model import LINE_END
from dlm_engine.document.text import ByteOffsets, count_line_ends, encode

#: about as many characters as are looked through for one line
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class Places:
    """A text, and the places in it.

    Offsets are code points of `text`. A line ends with `\\n`, `\\r\\n` or `\\r` only.
    """

    text: str
    #: the text in UTF-8, which is what the tree counts in
    data: bytes = field(repr=False)
    #: the head and then every section, each with what was read there
    chunks: Chunks = field(repr=False)

    # --- Lines

    @property
    def line_count(self) -> int:
        return self.chunks.lines[-1] + 1

    def line_start(self, line: int) -> int:
        """The offset of a 0-based line; IndexError when there is no such line."""
        if not 0 <= line < self.line_count:
            raise IndexError(line)
        if line == 0:
            return 0
        lines = self.chunks.lines
        index = bisect_left(lines, line) - 1
        return self._line_ends(index).end(line - lines[index] - 1)

    def line_of(self, offset: int) -> int:
        index = self.chunks.at(offset)
        return self.chunks.lines[index] + self._line_ends(index).before(offset)

    def line_column(self, offset: int) -> tuple[int, int]:
        """As `LineIndex.line_column`."""
        index = self.chunks.at(offset)
        ends = self._line_ends(index)
        within = ends.before(offset)
        line = self.chunks.lines[index] + within
        if within:
            return line, offset - ends.end(within - 1)
        # A chunk begins with a line, but for the first behind a lone byte-order mark.
        return line, offset - (self.chunks.characters[index] if line else 0)

    def line_text(self, line: int) -> str:
        """A line without its end."""
        start = self.line_start(line)
        end = LINE_END.search(self.text, start)
        return self.text[start : end.start() if end else len(self.text)]

    def _line_ends(self, index: int) -> _LineEnds:
        if index not in self._line_ends_of:
            start, end = self.chunks.characters[index : index + 2]
            self._line_ends_of[index] = _LineEnds(self.text, start, end)
        return self._line_ends_of[index]

    @cached_property
    def _line_ends_of(self) -> dict[int, _LineEnds]:
        return {}

    # --- Bytes

    def byte_of(self, offset: int) -> int:
        """Where in `data` the character at `offset` is."""
        index = self.chunks.at(offset)
        start, first = self.chunks.characters[index], self.chunks.bytes[index]
        size = self.chunks.items[index].size
        if size.bytes == size.characters:
            return first + offset - start
        return first + len(encode(self.text[start:offset]))

    def offset_of(self, byte: int) -> int:
        """Where in `text` the character is whose bytes begin at `byte` of `data`."""
        index = self.chunks.at_byte(byte)
        start = self.chunks.characters[index]
        within = byte - self.chunks.bytes[index]
        size = self.chunks.items[index].size
        if size.bytes == size.characters:
            return start + within
        if index not in self._offsets_of:
            first, end = self.chunks.bytes[index : index + 2]
            self._offsets_of[index] = ByteOffsets(self.data[first:end])
        return start + self._offsets_of[index](within)

    @cached_property
    def _offsets_of(self) -> dict[int, ByteOffsets]:
        return {}

    def point_of(self, byte: int) -> Point:
        """The row and column of `byte`, as the tree counts them."""
        index = self.chunks.at_byte(byte)
        row = self.chunks.rows[index] + self.data.count(b"\n", self.chunks.bytes[index], byte)
        return Point(row, byte - (self.data.rfind(b"\n", 0, byte) + 1))


class _LineEnds:
    """The places right behind the line ends of a part that begins and ends with whole ones."""

    __slots__ = ("_bounds", "_known", "_sums", "_text")

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text = text
        #: where each block begins; no block ends inside a `\r\n`
        self._bounds = [start]
        #: how many line ends there are before each block
        self._sums = [0]
        self._known: dict[int, Sequence[int]] = {}
        while start < end:
            stop = min(start + _BLOCK, end)
            stop += stop < end and text[stop - 1 : stop + 1] == "\r\n"
            self._bounds.append(stop)
            self._sums.append(self._sums[-1] + count_line_ends(text, start, stop))
            start = stop

    def end(self, number: int) -> int:
        """The place behind a 0-based line end."""
        block = bisect_right(self._sums, number) - 1
        return self._ends(block)[number - self._sums[block]]

    def before(self, offset: int) -> int:
        """How many line ends are behind at `offset`."""
        block = max(0, min(bisect_left(self._bounds, offset), len(self._bounds) - 1) - 1)
        return self._sums[block] + bisect_right(self._ends(block), offset)

    def _ends(self, block: int) -> Sequence[int]:
        if block not in self._known:
            bounds = self._bounds[block : block + 2]
            found = LINE_END.finditer(self._text, *bounds) if len(bounds) == 2 else ()
            self._known[block] = [match.end() for match in found]
        return self._known[block]
