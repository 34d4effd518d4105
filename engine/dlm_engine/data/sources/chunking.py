"""Texts of files cut where their structure has a seam, each piece with what it needs to be read.

A piece is whole functions, whole parts under a heading, or whole blocks where those fit the
budget; only what is larger is cut inside. Before it stands context that is not learned: the
file's name, what the piece is inside of (headings, the class), and the last lines before the
cut. The pieces of a file put together are the file: nothing is dropped and nothing is
learned twice. Python is cut by its own syntax tree, markdown by its headings, all else by
blank lines and indentation; grammars of forty languages would cut little better and weigh
more than dlm does.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

#: Raise when texts are cut otherwise than before: kept tokens are of no use then.
CHUNKING = 1
#: Characters for each token of the sequence length; code has three, and context needs room.
_BODY = 2.25
_OVERLAP = 0.3
_MOST_TRAIL = 6
_LONGEST_LINE = 200
#: Characters; the syntax tree of a text takes a hundred times its memory.
_MOST_PYTHON = 2**20
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")


@dataclass(frozen=True, slots=True)
class Chunk:
    """`context` comes before `body` and is not learned."""

    context: str
    body: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """Lines that belong together, and the lines that say what they are inside of."""

    start: int
    end: int
    trail: tuple[str, ...] = ()


def chunks(text: str, label: str, sequence_len: int) -> list[Chunk]:
    """`text` of the file `label` in pieces that about fill `sequence_len` tokens at most.

    The bodies put together are `text`.
    """
    most = max(1, int(sequence_len * _BODY))
    name = f"# source: {label}\n\n"
    if len(text) <= most:
        return [Chunk(name, text)]
    lines = _lines(text)
    found: list[Chunk] = []
    done = ""
    for trail, body in _pieces(lines, _units(text, lines, label), most):
        overlap = _tail(done, int(sequence_len * _OVERLAP))
        inside = "".join(line for line in trail if line not in overlap)
        found.append(Chunk(name + inside + overlap, body))
        done += body
        done = done[-most:]
    return found


def _lines(text: str) -> list[str]:
    """Lines with their ends; only `\\n` ends one, as editors and syntax trees count."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _pieces(
    lines: Sequence[str], units: Sequence[_Unit], most: int
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Units gathered into pieces of at most `most` characters; a larger unit is cut by itself."""
    trail: tuple[str, ...] = ()
    body = ""
    for unit in units:
        own = "".join(lines[unit.start : unit.end])
        if body and len(body) + len(own) > most:
            yield trail, body
            body = ""
        if not body:
            trail = unit.trail
        if len(own) <= most:
            body += own
            continue
        *whole, body = _cut(lines[unit.start : unit.end], most)
        for piece in whole:
            yield trail, piece
            # What follows is inside of what the unit's first line names.
            trail = (*unit.trail, _short(lines[unit.start]))
    if body:
        yield trail, body


def _cut(lines: Sequence[str], most: int) -> list[str]:
    """Lines in pieces of at most `most` characters, after a blank line where one is near."""
    pieces: list[str] = []
    body = ""
    seam = 0
    short = (line[at : at + most] for line in lines for at in range(0, len(line), most))
    for line in short:
        while len(body) + len(line) > most:
            # Half a piece is not worth a seam.
            at = seam if seam > most // 2 else len(body)
            pieces.append(body[:at])
            body, seam = body[at:], 0
        body += line
        if not line.strip():
            seam = len(body)
    return [*pieces, body] if body else pieces


def _tail(text: str, most: int) -> str:
    """The last whole lines of `text`, at most `most` characters of them."""
    if len(text) <= most:
        return text
    tail = text[-most:]
    return tail[tail.find("\n") + 1 :] if "\n" in tail[:-1] else ""


# --- where a text has its seams ----------------------------------------------------------------


def _units(text: str, lines: Sequence[str], label: str) -> list[_Unit]:
    suffix = PurePosixPath(label).suffix.lower()
    if suffix in (".py", ".pyi") and len(text) <= _MOST_PYTHON:
        found = _python(text, lines)
        if found:
            return found
    if suffix in (".md", ".markdown", ".mdx"):
        return _markdown(lines)
    return _blocks(lines)


def _python(text: str, lines: Sequence[str]) -> list[_Unit]:
    """Statements of the module, and those of its classes; [] where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    seams: dict[int, tuple[str, ...]] = {0: ()}
    for node in module.body:
        start = _first_line(node, lines, 0)
        seams.setdefault(start, ())
        if isinstance(node, ast.ClassDef):
            trail = (_short(lines[node.lineno - 1]),)
            for inner in node.body[1:]:
                seams.setdefault(_first_line(inner, lines, start + 1), trail)
    return _between(seams, lines)


def _first_line(node: ast.stmt, lines: Sequence[str], least: int) -> int:
    """Where a statement begins, with its decorators and the comment right above it."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(d.lineno for d in decorators)]) - 1
    while first > least and lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return first


def _markdown(lines: Sequence[str]) -> list[_Unit]:
    seams: dict[int, tuple[str, ...]] = {0: ()}
    above: list[tuple[int, str]] = []
    fence = ""
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if fence:
            closes = mark and mark[1].startswith(fence) and not line.strip().strip(fence[0])
            fence = "" if closes else fence
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(line):
            depth = len(heading[1])
            above = [each for each in above if each[0] < depth]
            seams[number] = tuple(written for _, written in above[-_MOST_TRAIL:])
            above.append((depth, _short(line)))
    return _between(seams, lines)


def _blocks(lines: Sequence[str]) -> list[_Unit]:
    """A unit begins at a line at the margin after a blank one: a function, a paragraph."""
    seams: dict[int, tuple[str, ...]] = {0: ()}
    for number in range(1, len(lines)):
        line = lines[number]
        if not lines[number - 1].strip() and line.strip() and not line[0].isspace():
            seams[number] = ()
    return _between(seams, lines)


def _between(seams: dict[int, tuple[str, ...]], lines: Sequence[str]) -> list[_Unit]:
    starts = sorted(seams)
    ends = [*starts[1:], len(lines)]
    return [_Unit(a, b, seams[a]) for a, b in zip(starts, ends, strict=True) if a < b]


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else line[:_LONGEST_LINE] + "\n"
