"""The parser, and the checks that hold for the tree of any text at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tree_sitter import Language, Node, Parser, Tree

import tree_sitter_dlm

GRAMMAR = Path(__file__).resolve().parents[2] / "grammar" / "tree-sitter-dlm"

#: type, field, start byte, end byte, start row and column, end row and column
FlatNode = tuple[str, str | None, int, int, tuple[int, int], tuple[int, int]]


@pytest.fixture(scope="session")
def grammar() -> Path:
    """The folder of the grammar."""
    return GRAMMAR


@pytest.fixture(scope="session")
def language() -> Language:
    return Language(tree_sitter_dlm.language())


@pytest.fixture(scope="session")
def parser(language: Language) -> Parser:
    return Parser(language)


@pytest.fixture(scope="session")
def parse(parser: Parser) -> Callable[[str], Tree]:
    """Parse a text and check what must hold for every tree."""

    def parse_checked(text: str) -> Tree:
        source = text.encode()
        tree = parser.parse(source)
        check_tree(tree, source)
        return tree

    return parse_checked


def check_tree(tree: Tree, source: bytes) -> None:
    """No errors, and the document's children cover every byte, in order."""
    root = tree.root_node
    assert root.type == "document"
    assert not root.has_error
    position = 3 if source.startswith(b"\xef\xbb\xbf") else 0
    for child in root.children:
        assert child.start_byte == position
        position = child.end_byte
    assert position == len(source)


@pytest.fixture(scope="session")
def flatten() -> Callable[[Tree], list[FlatNode]]:
    """Every visible node in document order, with its place."""

    def flatten_tree(tree: Tree) -> list[FlatNode]:
        nodes: list[FlatNode] = []
        cursor = tree.walk()
        while True:
            node = cursor.node
            assert node is not None
            start, end = node.start_point, node.end_point
            nodes.append(
                (
                    node.type,
                    cursor.field_name,
                    node.start_byte,
                    node.end_byte,
                    (start.row, start.column),
                    (end.row, end.column),
                )
            )
            if cursor.goto_first_child():
                continue
            while not cursor.goto_next_sibling():
                if not cursor.goto_parent():
                    return nodes

    return flatten_tree


@pytest.fixture(scope="session")
def texts() -> Callable[..., list[tuple[str, str]]]:
    """Type and text of each node of the given types, in document order."""

    def texts_in(tree: Tree, *types: str) -> list[tuple[str, str]]:
        def walk(node: Node) -> list[tuple[str, str]]:
            here = [(node.type, (node.text or b"").decode())] if node.type in types else []
            return here + [pair for child in node.children for pair in walk(child)]

        return walk(tree.root_node)

    return texts_in
