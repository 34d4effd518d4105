"""A document under an editor's hands: the values of `parse` at the price of an edit.

The text is cut into chunks, one per section, and the reading of a chunk depends on its own
text and nothing else. After an edit the tree is parsed anew from the old one, the chunks
that the edit or the changed part of the tree touches are read again, and all others are
kept. `parse` is this with nothing to keep, so an edited document equals a fresh one by
construction. Values are immutable: an edit makes a new document, because a request that
began before may still be reading the old one. What only some callers want is computed
when it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tree_sitter import Node, Point, Tree

from dlm_engine.document.chunks import STALE, Chunk, Chunks, size_of, touched
from dlm_engine.document.frontmatter import Frontmatter
from dlm_engine.document.head import Head, missing_head
from dlm_engine.document.judging import repeats, undeclared
from dlm_engine.document.model import (
    LINE_END,
    Diagnostic,
    Document,
    KeySpan,
    LineIndex,
    QuestionAnswer,
    Section,
    Span,
)
from dlm_engine.document.moving import moved_problem, moved_section
from dlm_engine.document.reading import read_head_chunk, read_section_chunks
from dlm_engine.document.sections import QuestionKey
from dlm_engine.document.syntax import frontmatter_of, parse_tree, section_at
from dlm_engine.document.text import ByteOffsets, encode

#: start, end, and the text that comes between them
Edit = tuple[int, int, str]


@dataclass(frozen=True, eq=False)
class LiveDocument:
    """A text with everything that is read from it; made by `open` and `edit`.

    Offsets are code points of `text`. A line ends with `\\n`, `\\r\\n` or `\\r` only.
    """

    text: str
    #: the text in UTF-8, which is what the tree counts in
    data: bytes = field(repr=False)
    tree: Tree = field(repr=False)
    #: the head and then every section, each with what was read there
    chunks: Chunks = field(repr=False)
    _head: Head = field(repr=False)
    #: how often each question stands in the document
    _asked: Mapping[QuestionKey, int] = field(repr=False)

    @classmethod
    def open(cls, text: str) -> LiveDocument:
        data = encode(text)
        tree = parse_tree(data)
        head, first = read_head_chunk(text, data, tree.root_node)
        body = Span(first.size.bytes, len(data))
        sections = read_section_chunks(text, data, tree.root_node, body, head.end)
        chunks = Chunks.of([first, *sections])
        return cls(text, data, tree, chunks, head, Counter(_questions(sections)))

    def edit(self, edits: Iterable[Edit]) -> LiveDocument:
        """The document after edits that are applied one after another.

        Raises:
            ValueError: an edit outside the text as the edits before it left it.
        """
        text, data, chunks = self.text, self.data, self.chunks
        tree = self.tree.copy()
        gone: list[Chunk] = []
        stale: set[int] = set()
        for start, end, new in edits:
            if not 0 <= start <= end <= len(text):
                raise ValueError(f"{start} to {end} is not inside {len(text)} characters")
            put = encode(new)
            first, last = _byte_of(text, chunks, start), _byte_of(text, chunks, end)
            begin = _point_of(data, chunks, first)
            tree.edit(
                first,
                last,
                first + len(put),
                begin,
                _point_of(data, chunks, last),
                _point_behind(begin, put),
            )
            i, j = touched(chunks.characters, start, end)
            text = text[:start] + new + text[end:]
            data = data[:first] + put + data[last:]
            characters = chunks.characters[j] - chunks.characters[i] + len(new) - (end - start)
            grown = chunks.bytes[j] + len(put) - (last - first)
            part = data[chunks.bytes[i] : grown]
            gone += chunks.items[i:j]
            edited = Chunk(size_of(part, characters), chunks.characters[i], STALE)
            chunks = chunks.replaced(i, j, [edited])
            fewer = j - i - 1
            stale = {k if k < j else k - fewer for k in stale if not i <= k < j} | {i}
        return self._read_again(text, data, tree, chunks, stale, gone)

    def _read_again(
        self,
        text: str,
        data: bytes,
        old: Tree,
        chunks: Chunks,
        stale: Iterable[int],
        gone: list[Chunk],
    ) -> LiveDocument:
        """The document with its stale chunks read, and those that changed along with them."""
        tree = parse_tree(data, old)
        root = tree.root_node
        head = self._head
        come: list[Chunk] = []
        # From the back, so that the numbers of the chunks in front stay.
        for i, j in reversed(_changed(chunks, stale, old.root_node, root)):
            made: list[Chunk] = []
            first, start = chunks.bytes[i], chunks.characters[i]
            if i == 0:
                head, chunk = read_head_chunk(text, data, root)
                made = [chunk]
                first, start = chunk.size.bytes, head.end
            made += read_section_chunks(text, data, root, Span(first, chunks.bytes[j]), start)
            gone += chunks.items[i:j]
            come += made
            chunks = chunks.replaced(i, j, made)
        asked = _count_again(self._asked, gone, come)
        return LiveDocument(text, data, tree, chunks, head, asked)

    # --- What was read

    @cached_property
    def document(self) -> Document:
        """All of it as one value; takes time in proportion to the number of sections."""
        sections = (self.section_of(index) for index in range(len(self.chunks.items)))
        return Document(
            text=self.text,
            frontmatter=self._head.frontmatter,
            dlm_version=self._head.version,
            sections=tuple(section for section in sections if section is not None),
            lines=LineIndex(self.text),
            keys=self._head.keys,
            frontmatter_span=self._head.span,
            body_start=self._head.end,
        )

    @cached_property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that is wrong with the document, sorted by place."""
        problems = [] if self._head.span else [missing_head(self.text)]
        declared = self._head.adapters
        for index in self.chunks.noted:
            reading = self.chunks.items[index].reading
            by = self.chunks.moved_by(index)
            problems += [moved_problem(problem, by) for problem in reading.problems]
            if reading.adapter and declared is not None:
                problem = undeclared(reading.adapter, declared)
                problems += [moved_problem(problem, by)] if problem else []
        problems += repeats(self._repeated(), self.line_of)
        return tuple(sorted(problems, key=lambda p: (p.span, p.code, p.message)))

    def _repeated(self) -> Iterator[tuple[QuestionKey, QuestionAnswer]]:
        """Questions that stand more than once, each time they do."""
        often = {question for question, times in self._asked.items() if times > 1}
        if not often:
            return
        for index, chunk in enumerate(self.chunks.items):
            if not often.isdisjoint(chunk.reading.questions):
                section = self.section_of(index)
                assert section is not None
                yield from zip(chunk.reading.questions, section.pairs, strict=True)

    def section_of(self, index: int) -> Section | None:
        """The section of chunk `index`, in its place; None for the head and for no words."""
        section = self.chunks.items[index].reading.section
        return section and moved_section(section, self.chunks.moved_by(index))

    @property
    def frontmatter(self) -> Frontmatter | None:
        """As `Document.frontmatter`."""
        return self._head.frontmatter

    @property
    def keys(self) -> Mapping[str, KeySpan]:
        """As `Document.keys`."""
        return self._head.keys

    @property
    def frontmatter_span(self) -> Span | None:
        """As `Document.frontmatter_span`."""
        return self._head.span

    def in_frontmatter(self, offset: int) -> bool:
        """Whether `offset` is in the frontmatter or at one of its two ends."""
        span = self._head.span
        return span is not None and span.start <= offset <= span.end

    def section_at(self, offset: int) -> Section | None:
        """The section with the character at `offset`; at the end of the text the last one."""
        return self.section_of(self.chunks.at(offset))

    def sections_in(self, start: int, end: int) -> tuple[Section, ...]:
        """The sections with a character from `start` to before `end`, and that at `start`."""
        last = self.chunks.at(max(start, end - 1))
        found = (self.section_of(index) for index in range(self.chunks.at(start), last + 1))
        return tuple(section for section in found if section is not None)

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
        return self.chunks.characters[index] + self._line_ends(index)[line - lines[index] - 1]

    def line_of(self, offset: int) -> int:
        index = self.chunks.at(offset)
        within = offset - self.chunks.characters[index]
        return self.chunks.lines[index] + bisect_right(self._line_ends(index), within)

    def line_column(self, offset: int) -> tuple[int, int]:
        """As `LineIndex.line_column`."""
        index = self.chunks.at(offset)
        ends = self._line_ends(index)
        start = self.chunks.characters[index]
        within = bisect_right(ends, offset - start)
        return self.chunks.lines[index] + within, offset - start - (within and ends[within - 1])

    def line_text(self, line: int) -> str:
        """A line without its end."""
        start = self.line_start(line)
        end = LINE_END.search(self.text, start)
        return self.text[start : end.start() if end else len(self.text)]

    def _line_ends(self, index: int) -> Sequence[int]:
        """Where each line of a chunk ends, its line end included, from the chunk's start."""
        if index not in self._line_ends_of:
            start, end = self.chunks.characters[index : index + 2]
            found = LINE_END.finditer(self.text, start, end)
            self._line_ends_of[index] = [match.end() - start for match in found]
        return self._line_ends_of[index]

    @cached_property
    def _line_ends_of(self) -> dict[int, list[int]]:
        return {}

    # --- The tree

    @property
    def root(self) -> Node:
        return self.tree.root_node

    def node_at(self, offset: int) -> Node:
        """The smallest node at `offset`: of two that meet there, the one that begins."""
        byte = self.byte_of(offset)
        return self.root.descendant_for_byte_range(byte, byte) or self.root

    def span(self, node: Node) -> Span:
        """The place of a node of `tree`."""
        return Span(self.offset_of(node.start_byte), self.offset_of(node.end_byte))

    def text_of(self, node: Node) -> str:
        span = self.span(node)
        return self.text[span.start : span.end]

    def byte_of(self, offset: int) -> int:
        """Where in `data` the character at `offset` is."""
        return _byte_of(self.text, self.chunks, offset)

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


def _byte_of(text: str, chunks: Chunks, offset: int) -> int:
    index = chunks.at(offset)
    start, first = chunks.characters[index], chunks.bytes[index]
    size = chunks.items[index].size
    if size.bytes == size.characters:
        return first + offset - start
    return first + len(encode(text[start:offset]))


def _point_of(data: bytes, chunks: Chunks, byte: int) -> Point:
    index = chunks.at_byte(byte)
    row = chunks.rows[index] + data.count(b"\n", chunks.bytes[index], byte)
    return Point(row, byte - (data.rfind(b"\n", 0, byte) + 1))


def _point_behind(start: Point, put: bytes) -> Point:
    rows = put.count(b"\n")
    if not rows:
        return Point(start.row, start.column + len(put))
    return Point(start.row + rows, len(put) - (put.rfind(b"\n") + 1))


def _changed(chunks: Chunks, stale: Iterable[int], old: Node, new: Node) -> list[tuple[int, int]]:
    """The runs of chunks that have to be read: the stale ones, and beside them what changed.

    Whatever changes elsewhere does so from the edit outwards: what a code fence swallows
    or gives back lies between the fence and the edit, and what follows an unchanged section
    begins with a fence as before. So the first unchanged neighbour on either side is the
    end. `Tree.changed_ranges` says the same after looking at every section.
    """
    runs: list[tuple[int, int]] = []
    last = len(chunks.items)
    for index in sorted(stale):
        i, j = index, index + 1
        if runs and i < runs[-1][1]:
            continue
        while i > 0 and not _kept(chunks, i - 1, old, new):
            i -= 1
        while j < last and not _kept(chunks, j, old, new):
            j += 1
        runs.append((i, j))
    return runs


def _kept(chunks: Chunks, index: int, old: Node, new: Node) -> bool:
    """Whether a chunk was not edited and is in the new tree what it was in the old one.

    Where it ends says enough. What its lines are depends on lines further down only as
    far as a code block or frontmatter that is closed there; and that one would end there.
    """
    if chunks.items[index].reading is STALE:
        return False
    if index == 0:
        before, after = frontmatter_of(old), frontmatter_of(new)
    else:
        before, after = (section_at(root, chunks.bytes[index]) for root in (old, new))
    return (before and before.end_byte) == (after and after.end_byte)


def _questions(chunks: Iterable[Chunk]) -> Iterator[QuestionKey]:
    return (question for chunk in chunks for question in chunk.reading.questions)


def _count_again(
    asked: Mapping[QuestionKey, int], gone: list[Chunk], come: list[Chunk]
) -> Mapping[QuestionKey, int]:
    """The count after some chunks went and others came; itself when they ask the same."""
    change = Counter(_questions(come))
    change.subtract(_questions(gone))
    if not any(change.values()):
        return asked
    count = dict(asked)
    for question, times in change.items():
        count[question] = count.get(question, 0) + times
        if not count[question]:
            del count[question]
    return count
