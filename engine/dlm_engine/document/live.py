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

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter

from tree_sitter import Node, Tree

from dlm_engine.document.chunks import STALE, Chunk, Chunks
from dlm_engine.document.draft import Draft
from dlm_engine.document.frontmatter import Frontmatter
from dlm_engine.document.head import Head, missing_head
from dlm_engine.document.judging import repeats, undeclared
from dlm_engine.document.model import (
    Diagnostic,
    Document,
    KeySpan,
    LineIndex,
    QuestionAnswer,
    Section,
    Span,
)
from dlm_engine.document.moving import moved_problem, moved_section
from dlm_engine.document.pieces import QuestionKey
from dlm_engine.document.places import Places
from dlm_engine.document.reading import read_head_chunk, read_section_chunks
from dlm_engine.document.syntax import frontmatter_of, parse_tree, section_at
from dlm_engine.document.text import encode

#: start, end, and the text that comes between them
Edit = tuple[int, int, str]


@dataclass(frozen=True, eq=False)
class LiveDocument(Places):
    """A text with everything that is read from it; made by `open` and `edit`."""

    tree: Tree = field(repr=False)
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
        return cls(text, data, chunks, tree, head, Counter(_questions(sections)))

    def edit(self, edits: Iterable[Edit]) -> LiveDocument:
        """The document after edits that are applied one after another.

        Raises:
            ValueError: an edit outside the text as the edits before it left it.
        """
        draft = self.draft()
        for edit in edits:
            draft.put(*edit)
        return self.drafted(draft)

    def draft(self) -> Draft:
        """A draft to put edits into, for who learns of a place only after the edit before it."""
        return Draft(self, self.tree)

    def drafted(self, draft: Draft) -> LiveDocument:
        """The document that a draft of this one has become: its stale chunks read, and those
        that changed along with them."""
        text, data, chunks = draft.places.text, draft.places.data, draft.places.chunks
        tree = parse_tree(data, draft.tree)
        root = tree.root_node
        head = self._head
        gone = list(draft.gone)
        come: list[Chunk] = []
        # From the back, so that the numbers of the chunks in front stay.
        for i, j in reversed(_changed(chunks, draft.stale, draft.tree.root_node, root)):
            made: list[Chunk] = []
            first, start = chunks.bytes[i], chunks.characters[i]
            if i == 0:
                head, chunk = read_head_chunk(text, data, root)
                made = [chunk]
                first, start = chunk.size.bytes, head.end
            part = Span(first, chunks.bytes[j])
            remains = draft.stale.get(i) if j - i == 1 else None
            made += read_section_chunks(text, data, root, part, start, remains)
            gone += chunks.items[i:j]
            come += made
            chunks = chunks.replaced(i, j, made)
        asked = _count_again(self._asked, gone, come)
        return LiveDocument(text, data, chunks, tree, head, asked)

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
            found = (*reading.problems, *reading.secrets)
            problems += [moved_problem(problem, by) for problem in found]
            if reading.adapter and declared is not None:
                problem = undeclared(reading.adapter, declared)
                problems += [moved_problem(problem, by)] if problem else []
        problems += repeats(self._repeated(), self.line_of)
        return tuple(sorted(problems, key=attrgetter("span", "code", "message")))

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
