"""The lines of the frontmatter as keys and list items, each with its path.

Read from lines, indents and brackets and never from parsed YAML, because this is asked while
someone types, which is when the YAML is broken. A line that makes no sense hides nothing but
itself. Only what block and flow collections and scalars look like is known; anchors and tags
are left to the YAML reader, which judges the finished text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlm_engine.document import Span
from dlm_server.features.schema_docs import Path

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

ENTRY = re.compile(
    r"""(?P<indent>[ \t]*)(?P<dashes>(?:-(?:[ \t]+|$))*)
    (?:(?P<key>"[^"]{0,200}"|'[^']{0,200}'|[A-Za-z0-9_][\w.-]*)[ \t]*:(?P<rest>(?:[ \t].*)?$))?""",
    re.VERBOSE,
)
BLOCK_TEXT = re.compile(r"[|>][-+0-9]{0,2}[ \t]*(?:#.*)?$")


@dataclass(frozen=True, slots=True)
class Row:
    """One `key:` or one list item; `path` ends in its name or number."""

    line: int
    column: int
    path: Path
    key: Span | None
    value: str
    #: offset of `value`
    at: int


@dataclass(slots=True)
class Frame:
    column: int
    path: Path
    opens: bool
    items: int = 0


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines `first` to `stop` (excluded) of the document are frontmatter."""

    live: LiveDocument
    first: int
    stop: int

    def __iter__(self) -> Iterator[tuple[int, str]]:
        return ((n, self.live.line_text(n)) for n in range(self.first, self.stop))


@dataclass(slots=True)
class Scan:
    rows: list[Row] = field(default_factory=list)
    stack: list[Frame] = field(default_factory=list)
    #: the stack as it was above the line that was asked for
    above: list[Frame] = field(default_factory=list)
    #: lines inside block text, where nothing is structure
    text: set[int] = field(default_factory=set)


def rows(live: LiveDocument) -> list[Row]:
    """Every key and list item written as a block."""
    lines = frontmatter_lines(live)
    return scan_lines(lines, -1, "").rows if lines else []


def frontmatter_lines(live: LiveDocument) -> Lines | None:
    span = live.frontmatter_span
    if span is None:
        return None
    first = live.line_of(span.start) + 1
    node = next((n for n in live.root.named_children[:1] if n.type == "frontmatter"), None)
    if node is None or node.child_by_field_name("close") is not None:
        return Lines(live, first, live.line_of(span.end))
    end = live.span(node).end
    last = live.line_of(end)
    return Lines(live, first, last + 1 if end == len(live.text) else last)


def scan_lines(lines: Lines, asked: int, kept: str) -> Scan:
    """Read all lines; of the line `asked` only `kept`: what is half typed does not count."""
    scan = Scan()
    block_column: int | None = None
    flow: OpenBrackets | None = None
    for number, text in lines:
        if number == asked:
            text = kept
        match = ENTRY.match(text)
        assert match is not None
        indent = len(match["indent"])
        blank = not text.strip()
        if block_column is not None:
            if blank or indent > block_column:
                scan.text.add(number)
                continue
            block_column = None
        if flow is not None:
            if match["key"] is None or indent > flow.column:
                flow.feed(text)
                flow = flow if flow.depth else None
                if number == asked:
                    scan.above = _copy(scan.stack)
                continue
            flow = None
        if number == asked:
            scan.above = _copy(scan.stack)
        if blank or text.lstrip().startswith("#"):
            continue
        row = _read_row(scan, lines.live, number, text, match)
        if row is None:
            continue
        if BLOCK_TEXT.match(row.value):
            block_column = row.column
        elif row.value[:1] in ("{", "["):
            flow = OpenBrackets(row.column)
            flow.feed(row.value)
            flow = flow if flow.depth else None
    if not lines.first <= asked < lines.stop:
        scan.above = _copy(scan.stack)
    return scan


def _copy(stack: list[Frame]) -> list[Frame]:
    return [Frame(f.column, f.path, f.opens, f.items) for f in stack]


@dataclass(slots=True)
class OpenBrackets:
    """Counts the brackets of a flow collection over its lines."""

    column: int
    depth: int = 0
    quote: str = ""

    def feed(self, text: str) -> None:
        for i, char in enumerate(text):
            if self.quote:
                if char == self.quote and text[i - 1 : i] != "\\":
                    self.quote = ""
            elif char in "\"'":
                self.quote = char
            elif char == "#" and text[i - 1 : i] in ("", " ", "\t"):
                return
            elif char in "{[":
                self.depth += 1
            elif char in "}]":
                self.depth -= 1


def _read_row(
    scan: Scan, live: LiveDocument, number: int, text: str, match: re.Match[str]
) -> Row | None:
    """Put the dashes and the key of one line on the stack; the last of them as a row."""
    start = live.line_start(number)
    row: Row | None = None
    for dash in re.finditer("-", match["dashes"]):
        column = match.start("dashes") + dash.start()
        row = _push_item(scan, start, number, column, text)
        if row is None:
            return None
    if match["key"] is None:
        return row
    column = match.start("key")
    stack = scan.stack
    while stack and stack[-1].column >= column:
        stack.pop()
    if stack and not stack[-1].opens:
        # Deeper than a key that has its value: more text of that value, or a mistake.
        return row
    name = match["key"].strip("\"'")
    rest = match["rest"]
    value = without_comment(rest.strip())
    at = match.start("rest") + len(rest) - len(rest.lstrip())
    key = Span(start + column, start + match.end("key"))
    path = (*(stack[-1].path if stack else ()), name)
    stack.append(Frame(column, path, not value))
    row = Row(number, column, path, key, value, start + at)
    scan.rows.append(row)
    return row


def _push_item(scan: Scan, start: int, number: int, column: int, text: str) -> Row | None:
    stack = scan.stack
    while stack and (
        stack[-1].column > column
        or (stack[-1].column == column and (is_item(stack[-1]) or not stack[-1].opens))
    ):
        stack.pop()
    if not stack or not stack[-1].opens:
        return None
    holder = stack[-1]
    path = (*holder.path, holder.items)
    holder.items += 1
    after = text[column + 1 :]
    value = without_comment(after.strip())
    stack.append(Frame(column, path, True))
    at = start + column + 1 + len(after) - len(after.lstrip())
    row = Row(number, column, path, None, value, at)
    scan.rows.append(row)
    return row


def is_item(frame: Frame) -> bool:
    return isinstance(frame.path[-1], int)


def without_comment(value: str) -> str:
    if value.startswith("#"):
        return ""
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        return value[: end + 1] if end > 0 else value
    return re.split(r"[ \t]#", value, maxsplit=1)[0].rstrip()
