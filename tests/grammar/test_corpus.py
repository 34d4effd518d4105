"""The corpus in tree-sitter's own format, run without its command line tool."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tree_sitter import Tree

CORPUS = Path(__file__).resolve().parents[2] / "grammar/tree-sitter-dlm/test/corpus"

HEADER = re.compile(
    r"^={3,}(?P<suffix>[^=\r\n]*)\n(?P<name>[^\n]+)\n={3,}(?P=suffix)\n", re.MULTILINE
)


@dataclass(frozen=True)
class Example:
    name: str
    source: str
    tree: str


def read_examples(path: Path) -> list[Example]:
    """The examples of one corpus file.

    The format: a title between two lines of `=`, the source, a line of `-`, the tree.
    A suffix behind the first `=` stands behind the other lines as well, so that a
    source can hold such lines. The line end before the `-` is not part of the source.
    """
    text = path.read_text(encoding="utf-8")
    headers = list(HEADER.finditer(text))
    ends = [header.start() for header in headers[1:]] + [len(text)]
    examples = []
    for header, end in zip(headers, ends, strict=True):
        divider = re.compile(rf"^-{{3,}}{re.escape(header['suffix'])}\n", re.MULTILINE)
        source, tree = divider.split(text[header.end() : end])
        examples.append(Example(header["name"], source.removesuffix("\n"), tree))
    return examples


def normalise(tree: str) -> str:
    return re.sub(r"\s*([()])\s*", r"\1", re.sub(r"\s+", " ", tree.strip()))


EXAMPLES = [
    pytest.param(example, id=f"{path.stem}: {example.name}")
    for path in sorted(CORPUS.glob("*.txt"))
    for example in read_examples(path)
]


def test_the_corpus_is_read() -> None:
    assert len(EXAMPLES) > 50
    names = [param.id for param in EXAMPLES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("example", EXAMPLES)
def test_corpus(example: Example, parse: Callable[[str], Tree]) -> None:
    assert normalise(str(parse(example.source).root_node)) == normalise(example.tree)
