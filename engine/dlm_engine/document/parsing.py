"""Text in, document and diagnostics out: the one entrance to the format.

Never raises on user text, and reports every problem at once. It only brings together
what the other modules of this room read: the frontmatter, the sections, the repeats
between sections, secrets anywhere. Equal text gives equal results, which is why a missing
`dlm_id` has no fix here: an id is random, so giving one is an edit
(`set_key(text, "dlm_id", new_id())`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.frontmatter import CURRENT_VERSION, Training
from dlm_engine.document.frontmatter_reading import Reading, read_frontmatter
from dlm_engine.document.migrations import migration_fix
from dlm_engine.document.model import (
    LINE_END,
    Diagnostic,
    Document,
    Fix,
    LineIndex,
    Severity,
    Span,
    TextEdit,
)
from dlm_engine.document.secrets import find_secrets
from dlm_engine.document.sections import judge_repeats, read_sections
from dlm_engine.document.syntax import Syntax
from dlm_engine.document.text import BOM, line_end_of
from dlm_engine.document.yaml_tree import read_yaml

_ALMOST_DELIMITER = re.compile(r"[ \t]*(?:-[ \t]?){2,9}[ \t]*")

_KEY = re.compile(r"^[ \t]*([a-z_]+)[ \t]*:", re.MULTILINE)


def parse(text: str) -> tuple[Document, list[Diagnostic]]:
    """The document and everything that is wrong with it, sorted by place."""
    syntax = Syntax(text)
    lines = LineIndex(text)
    problems: list[Diagnostic] = []
    node = syntax.frontmatter()
    if node is None:
        problems.append(_missing(text))
        reading = Reading(None, Training(), None, {}, [])
        span, declared, body_start = None, None, len(BOM) if text.startswith(BOM) else 0
    else:
        reading, declared = _frontmatter(syntax, node, problems)
        whole = syntax.span(node)
        body_start = whole.end
        span = Span(whole.start, whole.start + len(text[whole.start : whole.end].rstrip("\r\n")))
    problems += reading.problems
    sections = read_sections(syntax, declared, problems)
    judge_repeats(sections, lines, problems)
    problems += find_secrets(text)
    document = Document(
        text=text,
        frontmatter=reading.frontmatter,
        dlm_version=reading.version,
        sections=sections,
        lines=lines,
        keys=reading.keys,
        frontmatter_span=span,
        body_start=body_start,
    )
    return document, sorted(problems, key=lambda p: (p.span, p.code, p.message))


def _frontmatter(
    syntax: Syntax, node: Node, problems: list[Diagnostic]
) -> tuple[Reading, frozenset[str] | None]:
    """The reading, and the declared adapters (None when they could not be read)."""
    opening = node.child_by_field_name("open")
    content = node.child_by_field_name("content")
    assert opening is not None
    head = syntax.span(opening)
    for child in node.named_children:
        if child.type == "trailing_space":
            where = syntax.span(child)
            fix = Fix("Remove the blanks", (TextEdit(where, ""),))
            message = "blanks after `---`; older tools do not read it as the end of the block"
            problems.append(report("frontmatter-trailing-space", where, message, fix))
    inner = syntax.span(content) if content else Span(head.end, head.end)
    yaml = syntax.text[inner.start : inner.end]
    closed = node.child_by_field_name("close") is not None
    if not closed:
        problems.append(_unclosed(syntax.text, head, inner))
    tree, trouble = read_yaml(yaml, inner.start)
    problems += trouble
    reading = read_frontmatter(tree, syntax.text, head)
    if trouble:
        # What stands in a part that cannot be read is not missing.
        unread = {word for word in _KEY.findall(yaml) if word not in reading.keys}
        if trouble[0].code == "frontmatter-too-large":
            unread |= {"dlm_id", "base_model"}
        kept = [p for p in reading.problems if p.code != "key-missing" or _name(p) not in unread]
        reading = replace(reading, problems=kept)
    if closed and not trouble:
        problems += _age(syntax.text, reading, head)
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


def _missing(text: str) -> Diagnostic:
    start = len(BOM) if text.startswith(BOM) else 0
    match = LINE_END.search(text, start)
    end = match.start() if match else len(text)
    first = text[start:end]
    if _ALMOST_DELIMITER.fullmatch(first[:40]) and len(first) <= 40:
        fix = Fix("Write ---", (TextEdit(Span(start, end), "---"),))
        message = "the first line must be `---` and nothing else"
        return report("frontmatter-delimiter", Span(start, end), message, fix)
    blank = len(text) - len(text[start:].lstrip())
    if blank > start and LINE_END.search(text, start, blank):
        opened = re.compile(r"---[ \t]*(?=[\r\n])").match(text, blank)
        if opened:
            fix = Fix("Remove the lines before it", (TextEdit(Span(start, blank), ""),))
            message = "`---` must stand on the first line"
            return report("frontmatter-delimiter", Span(*opened.span()), message, fix)
    message = "the document must start with `---`, its settings, and another `---`"
    return report("frontmatter-missing", Span(start, end), message)


def _unclosed(text: str, head: Span, inner: Span) -> Diagnostic:
    end = inner.start + len(text[inner.start : inner.end].rstrip())
    fix = Fix("Close it", (TextEdit(Span(end, end), f"{line_end_of(text)}---"),))
    return report("frontmatter-unclosed", head, "no `---` line ends the frontmatter", fix)


def first_error(problems: list[Diagnostic], lines: LineIndex) -> str:
    """The first error as `line N: message`; empty when there is none."""
    for problem in problems:
        if problem.severity is Severity.ERROR:
            return f"line {lines.line_column(problem.span.start)[0] + 1}: {problem.message}"
    return ""
