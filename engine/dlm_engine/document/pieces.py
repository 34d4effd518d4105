"""A large section in pieces, so that an edit reads only the pieces that it touches.

A piece is some neighbours of one parent: questions with their answers, prompts with what is
chosen and rejected, or blocks of prose. It begins where one of them begins, and what it says
depends on its own text and on its section's fence alone. After an edit a piece is kept if it
was not touched and begins and ends in the new tree where it did in the old one; what changes
beside an edit does so from the edit outwards, so the first such piece on either side is the end.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import NamedTuple

from tree_sitter import Node

from dlm_engine.document.model import Diagnostic, PreferenceTriple, QuestionAnswer
from dlm_engine.document.moving import moved_pair, moved_problem, moved_triple
from dlm_engine.document.syntax import Window

#: a section of fewer bytes is read in one go
LARGE = 16 * 1024
#: a piece has at least so many bytes, unless it is the last in front of an older one
LEAST = 2048


#: the adapter of a question and its words, blanks aside
QuestionKey = tuple[str | None, str]


class Rows(NamedTuple):
    """What a part of a section says."""

    pairs: tuple[QuestionAnswer, ...] = ()
    triples: tuple[PreferenceTriple, ...] = ()
    #: of each of the pairs
    questions: tuple[QuestionKey, ...] = ()
    problems: tuple[Diagnostic, ...] = ()


class Piece(NamedTuple):
    bytes: int
    characters: int
    #: the code point at which it was read
    origin: int
    rows: Rows


class Pieces(NamedTuple):
    """The pieces of one section, which lie one behind the other.

    `context` is what their reading depends on besides their own text.
    """

    context: object
    #: bytes from the start of the section to the first piece, and from the last to its end
    lead: int
    rest: int
    items: Sequence[Piece]


class Left(NamedTuple):
    """What an edit left of a section: its old pieces, and how many bytes at either end."""

    pieces: Pieces | None
    front: int
    back: int


class Parent(NamedTuple):
    """Where pieces are made: of the children of `node` from `first` on."""

    section: Node
    node: Node
    first: Node
    #: the type of child that a piece may begin with; None for any
    begins: str | None

    def may_begin(self, child: Node) -> bool:
        return self.begins is None or child.type == self.begins


def is_large(section: Node) -> bool:
    return section.end_byte - section.start_byte >= LARGE


def read_pieces(
    window: Window,
    parent: Parent,
    read: Callable[[list[Node]], Rows],
    context: object,
    left: Left | None,
) -> tuple[Pieces, Rows]:
    """The pieces of a section, and what they say together.

    Args:
        read: what some neighbouring children say, the first of which may begin a piece.
        left: what is known of the section as it was.
    """
    section = parent.section
    first, last = parent.first.start_byte, parent.node.end_byte
    lead, rest = first - section.start_byte, section.end_byte - last
    front: Sequence[Piece] = ()
    back: Sequence[Piece] = ()
    old = left and left.pieces
    if left and old and (old.context, old.lead, old.rest) == (context, lead, rest):
        front, back = _kept(parent, old.items, left)
    at = first + sum(piece.bytes for piece in front)
    until = last - sum(piece.bytes for piece in back)
    made = [_piece(window, nodes, end, read) for nodes, end in _parts(parent, at, until)]
    pieces = Pieces(context, lead, rest, [*front, *made, *back])
    return pieces, joined(_in_place(pieces.items, window.offset(first)))


def _in_place(pieces: Iterable[Piece], start: int) -> Iterator[Rows]:
    """What each piece says, where it is now; `start` is the code point of the first."""
    for piece in pieces:
        yield moved_rows(piece.rows, start - piece.origin)
        start += piece.characters


def moved_rows(rows: Rows, by: int) -> Rows:
    if not by:
        return rows
    return Rows(
        tuple([moved_pair(pair, by) for pair in rows.pairs]),
        tuple([moved_triple(triple, by) for triple in rows.triples]),
        rows.questions,
        tuple([moved_problem(problem, by) for problem in rows.problems]),
    )


def joined(several: Iterable[Rows]) -> Rows:
    """What parts of one section say together."""
    columns = zip(*several, strict=True)
    return Rows(*(tuple(chain.from_iterable(column)) for column in columns))


def children_from(parent: Node, byte: int) -> Iterator[Node]:
    """The named children that end behind `byte`."""
    cursor = parent.walk()
    found = cursor.goto_first_child_for_byte(byte) is not None
    while found and (node := cursor.node) is not None:
        if node.is_named:
            yield node
        found = cursor.goto_next_sibling()


def _piece(
    window: Window, nodes: list[Node], end: int, read: Callable[[list[Node]], Rows]
) -> Piece:
    first = nodes[0].start_byte
    origin = window.offset(first)
    return Piece(end - first, window.offset(end) - origin, origin, read(nodes))


def _parts(parent: Parent, at: int, until: int) -> Iterator[tuple[list[Node], int]]:
    """The children between two bytes, a piece at a time, each with the byte at which it ends."""
    nodes: list[Node] = []
    for node in children_from(parent.node, at) if at < until else ():
        start = node.start_byte
        if start >= until:
            break
        if nodes and start - nodes[0].start_byte >= LEAST and parent.may_begin(node):
            yield nodes, start
            nodes = []
        nodes.append(node)
    if nodes:
        yield nodes, until


def _kept(
    parent: Parent, old: Sequence[Piece], left: Left
) -> tuple[Sequence[Piece], Sequence[Piece]]:
    """The pieces in front of an edit and behind it that are as they were."""
    first, last = parent.first.start_byte, parent.node.end_byte
    starts = list(accumulate((piece.bytes for piece in old), initial=first))
    front = bisect_right(starts, parent.section.start_byte + left.front) - 1
    while front > 0 and not (_stands(parent, starts[front - 1]) and _stands(parent, starts[front])):
        front -= 1
    front = max(front, 0)
    # What stands behind the edit, or behind what is kept in front of it, from the end.
    moved = last - starts[-1]
    behind = max(parent.section.end_byte - left.back, starts[front]) - moved
    back = max(front, bisect_left(starts, behind))
    while back < len(old) and not (
        _stands(parent, starts[back] + moved) and _stands(parent, starts[back + 1] + moved)
    ):
        back += 1
    return old[:front], old[back:]


def _stands(parent: Parent, byte: int) -> bool:
    """Whether a piece can begin, or the last one end, at `byte`."""
    if byte == parent.node.end_byte:
        return True
    child = next(children_from(parent.node, byte), None)
    return child is not None and child.start_byte == byte and parent.may_begin(child)
