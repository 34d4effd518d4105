"""A document while edits are put into it, one after another, before it is read again.

Reading after each of many edits costs as many readings. A place that an edit names is in the
text as the edits before it left it; text, chunks and lines are therefore right after every
edit, and only the tree and the readings wait until all edits are in.
"""

from __future__ import annotations

from tree_sitter import Point, Tree

from dlm_engine.document.chunks import STALE, Chunk, Extent, Remains, size_of, touched
from dlm_engine.document.places import Places
from dlm_engine.document.text import encode


class Draft:
    """The state between the first edit and the reading; made by `LiveDocument.draft`."""

    def __init__(self, places: Places, tree: Tree) -> None:
        self.places = places
        #: the tree before the edits, told of each of them
        self.tree = tree.copy()
        #: chunks of the document before the edits that are no more
        self.gone: list[Chunk] = []
        #: numbers of the chunks that were edited, and what is left of each that was one before
        self.stale: dict[int, Remains | None] = {}

    def put(self, start: int, end: int, new: str) -> None:
        """Put `new` in the place of the characters from `start` to before `end`.

        Raises:
            ValueError: that is outside the text as it is now.
        """
        text, data, chunks = self.places.text, self.places.data, self.places.chunks
        if not 0 <= start <= end <= len(text):
            raise ValueError(f"{start} to {end} is not inside {len(text)} characters")
        put = encode(new)
        first, last = self.places.byte_of(start), self.places.byte_of(end)
        begin, stop = self.places.point_of(first), self.places.point_of(last)
        self.tree.edit(first, last, first + len(put), begin, stop, _point_behind(begin, put))
        i, j = touched(chunks.characters, start, end)
        text = text[:start] + new + text[end:]
        data = data[:first] + put + data[last:]
        characters = chunks.characters[j] - chunks.characters[i] + len(new) - (end - start)
        part = data[chunks.bytes[i] : chunks.bytes[j] + len(put) - (last - first)]
        self.gone += chunks.items[i:j]
        edited = Chunk(size_of(part, characters), chunks.characters[i], STALE)
        self.places = Places(text, data, chunks.replaced(i, j, [edited]))
        remains = None
        # The head is short, and who edits where two chunks meet edits both.
        if i and j == i + 1:
            front = Extent(start - chunks.characters[i], first - chunks.bytes[i])
            back = Extent(chunks.characters[j] - end, chunks.bytes[j] - last)
            remains = self.stale.get(i, Remains(chunks.items[i], front, back))
            remains = remains and remains.less(front, back)
        fewer = j - i - 1
        others = {k: was for k, was in self.stale.items() if not i <= k < j}
        self.stale = {k if k < j else k - fewer: was for k, was in others.items()}
        self.stale[i] = remains


def _point_behind(start: Point, put: bytes) -> Point:
    rows = put.count(b"\n")
    if not rows:
        return Point(start.row, start.column + len(put))
    return Point(start.row + rows, len(put) - (put.rfind(b"\n") + 1))
