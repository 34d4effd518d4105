"""Where a cursor stands in the frontmatter: at a key of which block, or in the value of which key.

Places are worked out from lines (`frontmatter_rows`) and, inside braces and brackets, from the
characters up to the cursor, so that a half-typed line is placed as well as a finished one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dlm_engine.document import Span
from dlm_server.features.frontmatter_rows import (
    BLOCK_TEXT,
    ENTRY,
    Lines,
    OpenBrackets,
    Row,
    Scan,
    frontmatter_lines,
    is_item,
    scan_lines,
    without_comment,
)
from dlm_server.features.schema_docs import Path, Shape, key_doc

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

_WORD = re.compile(r"[\w.-]*")
_HALF_KEY = re.compile(r"[ \t]*[\w.-]+[ \t]*")
_FLOW_STOP = re.compile(r"[ \t]*(?:[,}\]:]|#|$)", re.MULTILINE)
_FLOW_KEY = re.compile(r"([\w.-]+)[\"']?[ \t]*:(?=[ \t\r\n])")
_AFTER_COLON = ("", " ", "\t", "\r", "\n", "}", ",")
_OPENS = (Shape.BLOCK, Shape.ENTRIES, Shape.ITEMS)


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """A key may stand here.

    `token` is what a key replaces: the word under the cursor, and the blanks before it where
    they have to become `lead` (the right indent, or the dash of a new list item).
    """

    holder: Path
    present: frozenset[str]
    token: Span
    lead: str = ""
    #: one step of indent, as this document has it
    unit: str = "  "
    #: a colon already follows
    has_colon: bool = False
    flow: bool = False


@dataclass(frozen=True, slots=True)
class ValuePlace:
    """The value of the key at `path` stands here; of an item of a list, `path` ends in its number.

    `token` is what a value replaces, without quotes; `lead` the blank that YAML wants before it.
    """

    path: Path
    token: Span
    lead: str = ""
    quote: str = ""
    #: what stands in the same list already
    present: frozenset[str] = frozenset()


def place(live: LiveDocument, offset: int) -> KeyPlace | ValuePlace | None:
    """What stands, or could stand, at `offset`; None outside the frontmatter or in a comment."""
    lines = frontmatter_lines(live)
    line = live.line_of(offset)
    if lines is None or not lines.first <= line < lines.stop:
        return None
    text, start = live.line_text(line), live.line_start(line)
    column = offset - start
    scan = scan_lines(lines, -1, "")
    if line in scan.text or _in_comment(text, column):
        return None
    for row in reversed(scan.rows):
        if row.at < offset and row.value[:1] in ("{", "["):
            found = _flow_place(live, lines, row, offset)
            if found is not None:
                return found
            break
    match = ENTRY.match(text)
    assert match is not None
    if match["key"] is not None and column > match.end("key"):
        colon = text.index(":", match.end("key"))
        if column <= colon:
            return None
        return _value_place(scan, line, start, text, colon + 1, column)
    return _key_place(lines, line, column, text, match)


def _in_comment(text: str, column: int) -> bool:
    match = re.search(r"(?:^|[ \t])#", text[:column])
    if match is None:
        return False
    before = text[: match.start()]
    return before.count('"') % 2 == 0 and before.count("'") % 2 == 0


# blocks


def _key_place(
    lines: Lines, line: int, column: int, text: str, match: re.Match[str]
) -> KeyPlace | ValuePlace | None:
    start = lines.live.line_start(line)
    token = match.end("dashes")
    blank = not text.strip()
    if blank:
        token = column
    if column < token:
        return None
    word = _WORD.match(text, token)
    assert word is not None
    end = match.end("key") if match["key"] is not None else word.end()
    if column > end or (match["key"] is None and text[end:].strip()):
        return _item_value(lines, line, start, text, token, column)
    kept = text[: match.end("dashes")] if not blank else ""
    scan = scan_lines(lines, line, kept)
    unit = _unit(scan.rows)
    if match["dashes"] and not blank:
        return _first_key(lines, scan, line, start, text, token, column, end, unit, match)
    holder, right, lead = _holder(scan, line, token)
    if holder is None:
        return None
    doc = key_doc(holder[:-1]) if holder and isinstance(holder[-1], int) else key_doc(holder)
    if doc is not None and doc.shape is Shape.TEXTS:
        return None
    moved = right != token or lead
    span = Span(start + (0 if moved else token), start + end)
    lead = " " * right + lead if moved else ""
    colon = match["key"] is not None
    return KeyPlace(holder, _present(scan, holder), span, lead, " " * unit, colon)


def _first_key(
    lines: Lines,
    scan: Scan,
    line: int,
    start: int,
    text: str,
    token: int,
    column: int,
    end: int,
    unit: int,
    match: re.Match[str],
) -> KeyPlace | ValuePlace | None:
    """After the dash of a list item: the first key of an entry, or a text."""
    row = next((r for r in reversed(scan.rows) if r.line == line), None)
    if row is None:
        return None
    doc = key_doc(row.path[:-1])
    if doc is None or doc.shape is not Shape.ITEMS:
        return _item_value(lines, line, start, text, token, column)
    span = Span(start + token, start + end)
    lead = "" if text[token - 1 : token] in (" ", "\t") else " "
    present = _present(scan, row.path)
    return KeyPlace(row.path, present, span, lead, " " * unit, match["key"] is not None)


def _holder(scan: Scan, line: int, column: int) -> tuple[Path | None, int, str]:
    """(block a key at this column belongs to, its right column, what has to stand before it)."""
    below = next((r for r in scan.rows if r.line > line), None)
    if below is not None and below.column > column and below.key is not None:
        return below.path[:-1], below.column, ""
    stack = [f for f in scan.above if f.column <= column]
    if not stack:
        return (), 0, ""
    top, under = stack[-1], stack[:-1]
    if is_item(top):
        if top.column < column:
            return top.path, _child_column(scan, top.path, column), ""
        parent = under[-1]
        if parent.column < column:
            return (*parent.path, parent.items), column, "- "
        top, under = parent, under[:-1]
    beside = under[-1].path if under else ()
    doc = key_doc(top.path)
    known_scalar = doc is not None and doc.shape not in _OPENS
    if top.column == column or not top.opens or known_scalar:
        return beside, top.column, ""
    child = _child_column(scan, top.path, column)
    if doc is not None and doc.shape is Shape.ITEMS:
        return (*top.path, top.items), child, "- "
    return top.path, child, ""


def _child_column(scan: Scan, holder: Path, otherwise: int) -> int:
    """The column of the keys that stand in `holder`."""
    return next((r.column for r in scan.rows if r.path[:-1] == holder), otherwise)


def _present(scan: Scan, holder: Path) -> frozenset[str]:
    return frozenset(str(r.path[-1]) for r in scan.rows if r.path[:-1] == holder)


def _unit(rows: list[Row]) -> int:
    """The step of indent that this document uses."""
    columns = {r.path: r.column for r in rows if r.key is not None}
    steps = [
        column - columns[path[:-1]]
        for path, column in columns.items()
        if path[:-1] in columns and column > columns[path[:-1]]
    ]
    return min(steps, default=2)


def _value_place(
    scan: Scan, line: int, start: int, text: str, after_colon: int, column: int
) -> ValuePlace | None:
    row = next((r for r in reversed(scan.rows) if r.line == line and r.key is not None), None)
    if row is None or BLOCK_TEXT.match(row.value):
        return None
    return _value_at(row.path, start, text, after_colon, column)


def _item_value(
    lines: Lines, line: int, start: int, text: str, token: int, column: int
) -> ValuePlace | None:
    """A text that is an item of a list."""
    scan = scan_lines(lines, -1, "")
    row = next((r for r in reversed(scan.rows) if r.line == line and r.key is None), None)
    if row is None:
        return None
    dash = text.rindex("-", 0, max(token, 1))
    return _value_at(row.path, start, text, dash + 1, column)


def _value_at(path: Path, start: int, text: str, after: int, column: int) -> ValuePlace | None:
    rest = text[after:]
    begin = after + len(rest) - len(rest.lstrip())
    value = without_comment(rest.strip())
    end = begin + len(value)
    if not value or column < begin:
        if column < begin and value:
            return None
        # Between the colon and the end of the line, or before a comment.
        lead = "" if column > after else " "
        return ValuePlace(path, Span(start + column, start + column), lead)
    if column > end:
        return None
    quote = value[0] if value[0] in "\"'" else ""
    if quote:
        begin += 1
        end -= len(value) > 1 and value[-1] == quote
        if not begin <= column <= end:
            return None
    return ValuePlace(path, Span(start + begin, start + end), "", quote)


# flow collections


@dataclass(slots=True)
class _Flow:
    """One open `{` or `[` while reading."""

    mapping: bool
    path: Path
    #: offset behind its bracket
    at: int
    key: str | None = None
    keys: list[str] = field(default_factory=list)
    index: int = 0

    def here(self) -> Path:
        step = self.key if self.mapping else self.index
        return (*self.path, step) if step is not None else self.path


def _flow_place(
    live: LiveDocument, lines: Lines, row: Row, offset: int
) -> KeyPlace | ValuePlace | None:
    """The place inside the flow collection that begins in `row`, or None after its end."""
    text = live.text
    stop = _flow_stop(live, lines, row)
    if offset > stop:
        return None
    stack: list[_Flow] = []
    quote, begin, token_quote = "", row.at, ""
    at = row.at
    while at < offset:
        char = text[at]
        if quote:
            quote = "" if char == quote and text[at - 1] != "\\" else quote
        elif char in "\"'":
            quote = token_quote = char
            begin = at + 1
        elif char in "{[":
            stack.append(_Flow(char == "{", stack[-1].here() if stack else row.path, at + 1))
            begin, token_quote = at + 1, ""
        elif char in "}]":
            stack.pop()
            if not stack:
                return None
            begin, token_quote = at + 1, ""
        elif char == ",":
            stack[-1].key, stack[-1].index = None, stack[-1].index + 1
            begin, token_quote = at + 1, ""
        elif (
            char == ":"
            and stack[-1].mapping
            and stack[-1].key is None
            and (token_quote or text[at + 1 : at + 2] in _AFTER_COLON)
        ):
            stack[-1].key = text[begin:at].strip().strip("\"'")
            stack[-1].keys.append(stack[-1].key)
            begin, token_quote = at + 1, ""
        at += 1
    if not stack:
        return None
    return _at_flow(text, stack[-1], begin, offset, stop, quote)


def _flow_stop(live: LiveDocument, lines: Lines, row: Row) -> int:
    """Where the collection ends at the latest: before a line that is clearly not its own, be it
    half typed or, where nothing closes the collection, empty."""
    last = line = row.line
    opened = OpenBrackets(row.column)
    opened.feed(row.value)
    while opened.depth > 0 and line + 1 < lines.stop:
        line += 1
        text = live.line_text(line)
        match = ENTRY.match(text)
        assert match is not None
        deeper = len(match["indent"]) > row.column
        if not deeper and (match["key"] is not None or _HALF_KEY.fullmatch(text)):
            break
        opened.feed(text)
        if deeper or text.strip():
            last = line
    return live.line_start(last) + len(live.line_text(last))


def _at_flow(
    text: str, flow: _Flow, begin: int, offset: int, stop: int, quote: str
) -> KeyPlace | ValuePlace | None:
    if quote:
        close = text.find(quote, offset, stop)
        end = close if close >= 0 else offset
    else:
        while begin < offset and text[begin] in " \t\r\n":
            begin += 1
        found = _FLOW_STOP.search(text, offset, stop)
        end = found.start() if found else offset
    token = Span(begin, max(offset, end))
    if flow.mapping and flow.key is None:
        after = text[token.end : _closing(text, token.end, stop)]
        later = _FLOW_KEY.findall(after)
        colon = text[token.end : stop].lstrip(" \t").startswith(":")
        present = frozenset(flow.keys) | frozenset(later)
        lead = " " if text[begin - 1] == "," else ""
        return KeyPlace(flow.path, present, token, lead, has_colon=colon, flow=True)
    lead = " " if flow.mapping and text[begin - 1] == ":" else ""
    items = text[flow.at : begin] + text[token.end : _closing(text, token.end, stop)]
    beside = [] if flow.mapping else re.findall(r"[\w.-]+", items)
    return ValuePlace(flow.here(), token, lead, quote, frozenset(beside))


def _closing(text: str, at: int, stop: int) -> int:
    """Where the collection around `at` closes."""
    depth = 0
    for i in range(at, stop):
        if text[i] in "{[":
            depth += 1
        elif text[i] in "}]":
            depth -= 1
            if depth < 0:
                return i
    return stop
