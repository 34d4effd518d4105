"""The tree of a document and the way from its nodes to offsets in the text.

The grammar alone decides what a line is; this is the only module that calls it. One
parser is made per call: making one costs microseconds, and a shared one is not safe
to use from two threads.
"""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Language, Node, Parser

import tree_sitter_dlm
from dlm_engine.document.model import Span
from dlm_engine.document.text import ByteOffsets, encode

_LANGUAGE = Language(tree_sitter_dlm.language())


class Syntax:
    """A parsed text; `span` and `text_of` speak code points."""

    def __init__(self, text: str) -> None:
        self.text = text
        data = encode(text)
        self._offset = ByteOffsets(data)
        self.root = Parser(_LANGUAGE).parse(data).root_node

    def span(self, node: Node) -> Span:
        return Span(self._offset(node.start_byte), self._offset(node.end_byte))

    def text_of(self, node: Node) -> str:
        return self.text[self._offset(node.start_byte) : self._offset(node.end_byte)]

    def frontmatter(self) -> Node | None:
        return next((n for n in self.root.named_children[:1] if n.type == "frontmatter"), None)

    def sections(self) -> Iterator[Node]:
        return (node for node in self.root.named_children if node.type == "section")

    def line_span(self, node: Node) -> Span:
        """The node without surrounding blanks and line ends."""
        span = self.span(node)
        text = self.text[span.start : span.end]
        if not (text[:1].isspace() or text[-1:].isspace()):
            return span
        start = span.start + len(text) - len(text.lstrip())
        return Span(start, max(start, span.start + len(text.rstrip())))
