"""The head of a document: its byte-order mark and its frontmatter.

A reading of the head depends on the head's own text alone, so that an edit of the body
never reads YAML again. The one thing that needs the text below is told apart:
`missing_head`, where there is no frontmatter at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.frontmatter import CURRENT_VERSION, Frontmatter
from dlm_engine.document.frontmatter_reading import Reading, read_frontmatter
from dlm_engine.document.migrations import migration_fix
from dlm_engine.document.model import LINE_END, Diagnostic, Fix, KeySpan, Span, TextEdit
from dlm_engine.document.syntax import Window
from dlm_engine.document.text import BOM, line_end_of
from dlm_engine.document.yaml_tree import read_yaml

_ALMOST_DELIMITER = re.compile(r"[ \t]*(?:-[ \t]?){2,9}[ \t]*")
_DELIMITER = re.compile(r"---[ \t]*(?=[\r\n])")
_SPACE = re.compile(r"\s*")
_KEY = re.compile(r"^[ \t]*([a-z_]+)[ \t]*:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Head:
    """The frontmatter as read; without one, `span` is None and the values are the defaults."""

    #: the first offset of the body
    end: int
    span: Span | None = None
    frontmatter: Frontmatter | None = None
    version: int | None = None
    keys: Mapping[str, KeySpan] = field(default_factory=dict)
    #: names of the adapters there are; None when that is not known
    adapters: frozenset[str] | None = None
    problems: tuple[Diagnostic, ...] = ()


def read_head(window: Window, node: Node | None) -> Head:
    """The head.

    Args:
        window: at least the part of the text that `node` covers.
        node: the frontmatter, or None when there is none.
    """
    if node is None:
        return Head(len(BOM) if window.text.startswith(BOM) else 0)
    problems: list[Diagnostic] = []
    whole = window.span(node)
    # What stands below must not matter, so it is not even at hand.
    text = window.text[: whole.end]
    reading, adapters = _frontmatter(window, text, node, problems)
    return Head(
        end=whole.end,
        span=Span(whole.start, len(text.rstrip("\r\n"))),
        frontmatter=reading.frontmatter,
        version=reading.version,
        keys=reading.keys,
        adapters=adapters,
        problems=(*problems, *reading.problems),
    )


def _frontmatter(
    window: Window, text: str, node: Node, problems: list[Diagnostic]
) -> tuple[Reading, frozenset[str] | None]:
    """The reading, and the declared adapters (None when they could not be read)."""
    opening = node.child_by_field_name("open")
    content = node.child_by_field_name("content")
    assert opening is not None
    head = window.span(opening)
    for child in node.named_children:
        if child.type == "trailing_space":
            where = window.span(child)
            fix = Fix("Remove the blanks", (TextEdit(where, ""),))
            message = "blanks after `---`; older tools do not read it as the end of the block"
            problems.append(report("frontmatter-trailing-space", where, message, fix))
    inner = window.span(content) if content else Span(head.end, head.end)
    yaml = text[inner.start : inner.end]
    closed = node.child_by_field_name("close") is not None
    if not closed:
        problems.append(_unclosed(text, head, inner))
    tree, trouble = read_yaml(yaml, inner.start)
    problems += trouble
    reading = read_frontmatter(tree, text, head)
    if trouble:
        # What stands in a part that cannot be read is not missing.
        unread = {word for word in _KEY.findall(yaml) if word not in reading.keys}
        if trouble[0].code == "frontmatter-too-large":
            unread |= {"dlm_id", "base_model"}
        kept = [p for p in reading.problems if p.code != "key-missing" or _name(p) not in unread]
        reading = replace(reading, problems=kept)
    if closed and not trouble:
        problems += _age(text, reading, head)
    unknown = trouble or reading.version is None or reading.version > CURRENT_VERSION
    if unknown:
        return reading, None
    prefix = "training.adapters."
    names = (key.removeprefix(prefix) for key in reading.keys if key.startswith(prefix))
    return reading, frozenset(name for name in names if "." not in name)


def _name(problem: Diagnostic) -> str:
    return problem.message.split(" ", 1)[0]


def _age(text: str, reading: Reading, head: Span) -> list[Diagnostic]:
    if reading.version is None or reading.version >= CURRENT_VERSION:
        return []
    key = reading.keys.get("dlm_version")
    place = key.value if key else head
    written = f"version {reading.version}" if key else "no dlm_version, so it counts as version 1"
    message = f"{written}; the current one is {CURRENT_VERSION}, and nothing changes in meaning"
    return [report("version-old", place, message, migration_fix(text))]


def _unclosed(text: str, head: Span, inner: Span) -> Diagnostic:
    end = inner.start + len(text[inner.start : inner.end].rstrip())
    fix = Fix("Close it", (TextEdit(Span(end, end), f"{line_end_of(text)}---"),))
    return report("frontmatter-unclosed", head, "no `---` line ends the frontmatter", fix)


def missing_head(text: str) -> Diagnostic:
    """What to say about a text that has no frontmatter."""
    start = len(BOM) if text.startswith(BOM) else 0
    match = LINE_END.search(text, start)
    end = match.start() if match else len(text)
    first = text[start : min(end, start + 41)]
    if len(first) <= 40 and _ALMOST_DELIMITER.fullmatch(first):
        fix = Fix("Write ---", (TextEdit(Span(start, end), "---"),))
        message = "the first line must be `---` and nothing else"
        return report("frontmatter-delimiter", Span(start, end), message, fix)
    space = _SPACE.match(text, start)
    blank = space.end() if space else start
    if blank > start and LINE_END.search(text, start, blank):
        opened = _DELIMITER.match(text, blank)
        if opened:
            fix = Fix("Remove the lines before it", (TextEdit(Span(start, blank), ""),))
            message = "`---` must stand on the first line"
            return report("frontmatter-delimiter", Span(*opened.span()), message, fix)
    message = "the document must start with `---`, its settings, and another `---`"
    return report("frontmatter-missing", Span(start, end), message)
