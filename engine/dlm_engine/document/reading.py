"""From a tree to chunks: the head, and the sections of any part of the body.

Reading a document is reading its head and all sections; reading after an edit is the same
for the sections near it. Secrets are looked for in the whole part at once, because that
is many times faster than in each section, and comes to the same: no secret is longer than
a line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tree_sitter import Node

from dlm_engine.document.chunks import Chunk, Remains, size_of
from dlm_engine.document.head import Head, read_head
from dlm_engine.document.model import LINE_END, Diagnostic, Span
from dlm_engine.document.moving import moved_problem
from dlm_engine.document.secrets import find_secrets
from dlm_engine.document.sections import SectionReading, read_section
from dlm_engine.document.syntax import Window, frontmatter_of
from dlm_engine.document.text import BOM, encode


def read_head_chunk(text: str, data: bytes, root: Node) -> tuple[Head, Chunk]:
    """The head, and its chunk: all in front of the first section, maybe nothing."""
    node = frontmatter_of(root)
    mark = encode(BOM) if text.startswith(BOM) else b""
    part = data[: node.end_byte] if node else mark
    window = Window(text, part)
    head = read_head(window, node)
    problems = (*head.problems, *find_secrets(text[: head.end]))
    return head, Chunk(size_of(part, window.length), 0, SectionReading(None, problems))


def read_section_chunks(
    text: str,
    data: bytes,
    root: Node,
    part: Span,
    start: int,
    remains: Remains | None = None,
) -> list[Chunk]:
    """The sections of a part of the body.

    Args:
        part: in bytes of `data`, from where a section begins to where one ends.
        start: the code point at which the part starts.
        remains: what edits left of the chunk that the part was.
    """
    chunks: list[Chunk] = []
    first, at = part.start, start
    for node in _sections(root, part):
        assert node.start_byte == first, "sections tile the body"
        written = data[first : node.end_byte]
        window = Window(text, written, first, at)
        left = remains.left if remains and node.byte_range == part else None
        reading = read_section(window, node, left)
        chunks.append(Chunk(size_of(written, window.length), at, reading))
        first += len(written)
        at += window.length
    assert first == part.end, "sections tile the body"
    if remains is not None and len(chunks) == 1:
        return [_with_secrets(chunks[0], _secrets_again(text, Span(start, at), remains))]
    _add_secrets(text, start, chunks)
    return chunks


def _sections(root: Node, part: Span) -> Iterator[Node]:
    """The section nodes from `part.start` to before `part.end`."""
    if part.start >= part.end:
        return
    cursor = root.walk()
    found = cursor.goto_first_child_for_byte(part.start) is not None
    while found and (node := cursor.node) is not None and node.start_byte < part.end:
        yield node
        found = cursor.goto_next_sibling()


def _add_secrets(text: str, start: int, chunks: list[Chunk]) -> None:
    """Put the secrets of the chunks, which lie one behind the other, into their readings."""
    end = start + sum(chunk.size.characters for chunk in chunks)
    found = deque(moved_problem(problem, start) for problem in find_secrets(text[start:end]))
    for index, chunk in enumerate(chunks if found else ()):
        own = []
        while found and found[0].span.start < chunk.origin + chunk.size.characters:
            own.append(found.popleft())
        if own:
            chunks[index] = _with_secrets(chunk, own)


def _with_secrets(chunk: Chunk, secrets: Sequence[Diagnostic]) -> Chunk:
    if not secrets:
        return chunk
    return chunk._replace(reading=replace(chunk.reading, secrets=tuple(secrets)))


def _secrets_again(text: str, place: Span, remains: Remains) -> list[Diagnostic]:
    """The secrets of a section that was edited; only lines that changed are looked through."""
    start, end = place
    first, last = start + remains.front.characters, end - remains.back.characters
    first = max(text.rfind("\n", start, first), text.rfind("\r", start, first), start - 1) + 1
    line_end = LINE_END.search(text, last, end)
    last = line_end.end() if line_end else end
    was = remains.chunk
    old = was.reading.secrets
    front = (moved_problem(secret, start - was.origin) for secret in old)
    back = (moved_problem(secret, end - was.origin - was.size.characters) for secret in old)
    return [
        *(secret for secret in front if secret.span.end <= first),
        *(moved_problem(secret, first) for secret in find_secrets(text[first:last])),
        *(secret for secret in back if secret.span.start >= last),
    ]
