"""The tree of a document and the way from its nodes to offsets in the text.

The grammar alone decides what a line is; this is the only module that calls it. One
parser is made per call: making one costs microseconds, and a shared one is not safe
to use from two threads. What reads a part of a document gets a `Window` on just that
part, so that the price of turning bytes into code points is the part's, and not the
document's.
"""

from __future__ import annotations

from tree_sitter import Language, Node, Parser, Tree

import tree_sitter_dlm
from dlm_engine.document.model import Span
from dlm_engine.document.text import ByteOffsets, encode

_LANGUAGE = Language(tree_sitter_dlm.language())


def parse_tree(data: bytes, old: Tree | None = None) -> Tree:
    """The tree of `data`, made from an `old` one that was told of every edit since."""
    parser = Parser(_LANGUAGE)
    return parser.parse(data) if old is None else parser.parse(data, old)


def frontmatter_of(root: Node) -> Node | None:
    first = root.named_child(0) if root.named_child_count else None
    return first if first is not None and first.type == "frontmatter" else None


def section_at(root: Node, byte: int) -> Node | None:
    """The section that begins at `byte`."""
    cursor = root.walk()
    found = cursor.goto_first_child_for_byte(byte)
    node = cursor.node if found is not None else None
    return node if node and node.type == "section" and node.start_byte == byte else None


class Window:
    """A part of the text; `span` and `text_of` take its nodes and speak code points.

    Offsets are those of the whole text.

    Args:
        text: the whole text.
        part: the bytes of the part.
        first_byte: where the part starts, in bytes.
        start: where the part starts, in code points.
    """

    __slots__ = ("_first_byte", "_offsets", "_shift", "_start", "length", "text")

    def __init__(self, text: str, part: bytes, first_byte: int = 0, start: int = 0) -> None:
        self.text = text
        self._first_byte = first_byte
        self._start = start
        self._shift = first_byte - start
        self._offsets = None if part.isascii() else ByteOffsets(part)
        #: of the part, in code points
        self.length = len(part) if self._offsets is None else self._offsets(len(part))

    def span(self, node: Node) -> Span:
        first, last = node.byte_range
        if self._offsets is None:
            return Span(first - self._shift, last - self._shift)
        return Span(self.offset(first), self.offset(last))

    def offset(self, byte: int) -> int:
        if self._offsets is None:
            return byte - self._shift
        return self._start + self._offsets(byte - self._first_byte)

    def text_of(self, node: Node) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def line_span(self, node: Node) -> Span:
        """The node without surrounding blanks and line ends."""
        span = self.span(node)
        text = self.text[span.start : span.end]
        if not (text[:1].isspace() or text[-1:].isspace()):
            return span
        start = span.start + len(text) - len(text.lstrip())
        return Span(start, max(start, span.start + len(text.rstrip())))


class Syntax(Window):
    """A whole text with its tree."""

    __slots__ = ("root",)

    def __init__(self, text: str) -> None:
        data = encode(text)
        super().__init__(text, data)
        self.root = parse_tree(data).root_node

    def frontmatter(self) -> Node | None:
        return frontmatter_of(self.root)
