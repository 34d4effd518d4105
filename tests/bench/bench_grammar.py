"""What a keystroke costs the grammar against a full parse, in documents of about 1 MB.

Run: `python tests/bench/bench_grammar.py`. Prints, for each shape of document, the time
of a full parse, the median and the worst of one-character edits all over the document
(letters and line ends), and the ratio of full parse to median edit. Times are processor
time, the best of several for full parses, so that a busy machine disturbs them less.
Targets, on an otherwise idle core: median edit 5 ms or less, full parse below 60 ms.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from tree_sitter import Language, Parser, Point, Tree

import tree_sitter_dlm

LINES = 77_000


@dataclass(frozen=True)
class Timing:
    """Milliseconds."""

    full: float
    edits: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return self.full / median(self.edits)


def many_sections(number: int) -> str:
    return (
        f"::instruction::\n### Q\nWhat is item {number}?\n### A\nItem {number} is a thing.\n\n"
        f"::prose::\n# Part {number}\n\nWords about part {number}.\n"
        f"```python\nx = {number}\n```\n\n"
    )


def one_instruction_section(number: int) -> str:
    return f"### Q\nWhat is item {number}?\n### A\nItem {number} is a thing.\n\n"


def prose_in_paragraphs(number: int) -> str:
    return f"Some words about {number},\nand a few more of them.\n\n"


def one_paragraph(number: int) -> str:
    return f"Line {number} of a long paragraph.\n"


def one_code_block(number: int) -> str:
    return f"value_{number} = {number}\n"


SHAPES: dict[Callable[[int], str], str] = {
    many_sections: "",
    one_instruction_section: "::instruction::\n",
    prose_in_paragraphs: "",
    one_paragraph: "",
    one_code_block: "```python\n",
}


def document(shape: Callable[[int], str]) -> bytes:
    """A document of about `LINES` lines."""
    text = "---\ndlm_id: x\nbase_model: smollm2-135m\n---\n\n" + SHAPES[shape]
    per_block = shape(0).count("\n")
    return (text + "".join(shape(n) for n in range(LINES // per_block))).encode()


def point(source: bytes, offset: int) -> Point:
    return Point(source.count(b"\n", 0, offset), offset - (source.rfind(b"\n", 0, offset) + 1))


def edited(tree: Tree, source: bytes, at: int, inserted: bytes) -> tuple[Tree, bytes]:
    """A copy of `tree` that knows of an insertion, and the text after it."""
    copy = tree.copy()
    new = source[:at] + inserted + source[at:]
    end = at + len(inserted)
    copy.edit(at, at, end, point(source, at), point(source, at), point(new, end))
    return copy, new


def full_milliseconds(parser: Parser, source: bytes) -> float:
    start = time.process_time_ns()
    parser.parse(source)
    return (time.process_time_ns() - start) / 1e6


def edit_milliseconds(parser: Parser, source: bytes, old: Tree) -> float:
    start = time.process_time_ns()
    parser.parse(source, old)
    return (time.process_time_ns() - start) / 1e6


def edits(source: bytes, number: int) -> Iterator[tuple[int, bytes]]:
    for n in range(number):
        yield (2 * n + 1) * len(source) // (2 * number), (b"x", b"\n")[n % 2]


def measure(shape: Callable[[int], str], number: int = 40) -> Timing:
    """Full parses and `number` edits, spread over a document of this shape."""
    parser = Parser(Language(tree_sitter_dlm.language()))
    source = document(shape)
    full = min(full_milliseconds(parser, source) for _ in range(5))
    tree = parser.parse(source)
    times = []
    for at, inserted in edits(source, number):
        old, new = edited(tree, source, at, inserted)
        times.append(edit_milliseconds(parser, new, old))
    return Timing(full, tuple(times))


def main() -> int:
    print(f"{'document':24} {'MB':>5} {'full ms':>8} {'edit ms':>8} {'worst':>8} {'ratio':>7}")
    for shape in SHAPES:
        timing = measure(shape)
        print(
            f"{shape.__name__:24} {len(document(shape)) / 1e6:5.2f} {timing.full:8.1f} "
            f"{median(timing.edits):8.2f} {max(timing.edits):8.2f} {timing.ratio:7.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
