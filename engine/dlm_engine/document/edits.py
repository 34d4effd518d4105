"""Changes to a document that leave everything else exactly as its author wrote it.

Each edit is made in the text, never by writing the document anew, and its result is
parsed before it is returned: a change that would add an error, touch another section
or not take effect is refused. Generated text is escaped, so that a line of it can
never become a fence, a header or a marker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from dlm_engine.document.migrations import Migration, apply_edits, plan_migration
from dlm_engine.document.model import (
    LINE_END,
    Diagnostic,
    Document,
    Section,
    SectionType,
    Severity,
    Span,
    TextEdit,
)
from dlm_engine.document.parsing import first_error, parse
from dlm_engine.document.serialise import section_lines, value_lines
from dlm_engine.document.syntax import Syntax
from dlm_engine.document.text import line_end_of, with_lf
from dlm_engine.document.yaml_text import Value, is_plain, quoted, scalar_text
from dlm_engine.document.yaml_tree import Entry, Scalar, Sequence, Tree, plain, read_yaml
from dlm_engine.document.yaml_tree import Mapping as TreeMapping
from dlm_engine.errors import DocumentError

_CODE_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")


def migrate_text(text: str) -> Migration:
    """The document in the current version; the same text when it is already.

    Raises:
        DocumentError: the frontmatter cannot be read, its version is unknown, or the
            document would not be valid in the current version.
    """
    migration = plan_migration(text)
    if migration.edits:
        document, problems = parse(migration.text)
        trouble = first_error(problems, document.lines)
        if trouble:
            raise DocumentError("document", f"is not valid: {trouble}", "repair it, then migrate")
    return migration


def set_key(text: str, dotted_path: str, value: Value) -> str:
    """The text with one frontmatter value set, written at its place or added.

    Args:
        dotted_path: `training.lora_r`; an item of a list by its number.
        value: a scalar or a list of scalars.

    Raises:
        DocumentError: the path or value is not valid here, or the YAML is broken.
    """
    path = dotted_path.split(".")
    syntax = Syntax(text)
    node = syntax.frontmatter()
    if node is None or node.child_by_field_name("close") is None:
        raise DocumentError("frontmatter", "is missing or never closed", "repair it first")
    content = node.child_by_field_name("content")
    opening = node.child_by_field_name("open")
    assert opening is not None
    after_opening = LINE_END.search(text, syntax.span(opening).end)
    start = after_opening.end() if after_opening else len(text)
    inner = syntax.span(content) if content else Span(start, start)
    tree, problems = read_yaml(text[inner.start : inner.end], inner.start)
    if problems:
        raise DocumentError("frontmatter", problems[0].message, "repair it first")
    new = apply_edits(text, _set(text, tree, inner.end, path, value))
    _check_set(text, new, path, value)
    return new


def _set(text: str, tree: TreeMapping, end: int, path: list[str], value: Value) -> list[TextEdit]:
    holder: Tree = tree
    above: Entry | None = None
    for depth, step in enumerate(path):
        found = _step(holder, step)
        if found is None:
            return _insert(text, holder, above, end, path[depth:], value)
        above, holder = found
    return [_rewrite(text, holder, above, value)]


def _step(holder: Tree, step: str) -> tuple[Entry | None, Tree] | None:
    if isinstance(holder, TreeMapping):
        entry = holder.get(step)
        return (entry, entry.value) if entry else None
    if isinstance(holder, Sequence) and step.isdigit() and int(step) < len(holder.items):
        return None, holder.items[int(step)]
    return None


def _rewrite(text: str, old: Tree, entry: Entry | None, value: Value) -> TextEdit:
    span = old.span
    if isinstance(old, Scalar) and old.style not in ("|", ">"):
        shown = scalar_text(value)
        if old.style and isinstance(value, str):
            shown = quoted(value)
        if span.start == span.end:
            # `key:` without a value: the place is right after the colon.
            shown = f" {shown}"
        return TextEdit(span, shown)
    if entry is None:
        return TextEdit(span, scalar_text(value))
    # A block value starts on the line after its key, or with its `|`; all of it goes.
    colon = text.index(":", entry.key_span.end)
    first = _line_start(text, entry.key_span.start)
    indent = re.match(r"[ \t]*", text[first : entry.key_span.start])
    lines = value_lines("", value, indent.group() if indent else "")
    shown = line_end_of(text).join(lines).lstrip()[1:]
    return TextEdit(Span(colon + 1, span.end), shown)


def _insert(
    text: str, holder: Tree, above: Entry | None, end: int, path: list[str], value: Value
) -> list[TextEdit]:
    name = ".".join(path)
    if isinstance(holder, Scalar) and holder.value is None and above is not None:
        indent = " " * (above.key_span.start - _line_start(text, above.key_span.start)) + "  "
        # The new lines go after the whole line, so that a comment stays with its key.
        at = _next_line(text, holder.span.end)
        return [TextEdit(holder.span, ""), _lines_at(text, at, _nested(path, value, indent))]
    if not isinstance(holder, TreeMapping):
        raise DocumentError(name, "has no place here", "check the path")
    if holder.flow:
        shown = scalar_text(value)
        for step in reversed(path[1:]):
            shown = "{" + f"{_key(step)}: {shown}" + "}"
        separator = ", " if holder.entries else ""
        at = holder.entries[-1].value.span.end if holder.entries else holder.span.start + 1
        return [TextEdit(Span(at, at), f"{separator}{_key(path[0])}: {shown}")]
    if not holder.entries:
        return [_lines_at(text, end, _nested(path, value, ""))]
    first = holder.entries[0].key_span.start
    indent = " " * (first - _line_start(text, first))
    last = max(entry.value.span.end for entry in holder.entries)
    return [_lines_at(text, _next_line(text, last), _nested(path, value, indent))]


def _lines_at(text: str, at: int, lines: list[str]) -> TextEdit:
    ending = line_end_of(text)
    return TextEdit(Span(at, at), "".join(line + ending for line in lines))


def _nested(path: list[str], value: Value, indent: str) -> list[str]:
    *parents, last = path
    lines = []
    for parent in parents:
        lines.append(f"{indent}{_key(parent)}:")
        indent += "  "
    return lines + value_lines(_key(last), value, indent)


def _key(name: str) -> str:
    return name if is_plain(name) else quoted(name)


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _next_line(text: str, at: int) -> int:
    match = LINE_END.search(text, at)
    return match.end() if match else len(text)


def _check_set(old: str, new: str, path: list[str], value: Value) -> None:
    name = ".".join(path)
    before, problems_before = parse(old)
    after, problems_after = parse(new)
    trouble = _new_error(problems_before, problems_after)
    if trouble is not None:
        raise DocumentError(name, trouble.message, "choose another value")
    if old[before.body_start :] != new[after.body_start :]:
        raise DocumentError(name, "cannot be set without changing the body", "edit it by hand")
    expected, result = _values(before), _values(after)
    _put(expected, path, list(value) if isinstance(value, tuple | list) else value)
    if expected != result:
        raise DocumentError(name, "cannot be set without changing more", "edit it by hand")


def _values(document: Document) -> dict[str, object]:
    span = document.frontmatter_span
    assert span is not None
    lines = LINE_END.split(document.text[span.start : span.end])
    tree, _ = read_yaml("\n".join([*lines[1:-1], ""]), 0)
    values = plain(tree)
    assert isinstance(values, dict)
    return values


def _put(values: object, path: list[str], value: object) -> None:
    for step in path[:-1]:
        if isinstance(values, list):
            values = values[int(step)]
        elif isinstance(values, dict):
            if not isinstance(values.get(step), dict | list):
                values[step] = {}
            values = values[step]
    if isinstance(values, list):
        values[int(path[-1])] = value
    elif isinstance(values, dict):
        values[path[-1]] = value


def _new_error(before: Iterable[Diagnostic], after: Iterable[Diagnostic]) -> Diagnostic | None:
    """An error that was not there before, by code and message (places move)."""
    known = {(problem.code, problem.message) for problem in before}
    for problem in after:
        if problem.severity is Severity.ERROR and (problem.code, problem.message) not in known:
            return problem
    return None


def append_section(text: str, section_text: str) -> str:
    """The text with one or more whole sections, fences included, at its end.

    Raises:
        DocumentError: `section_text` does not start with a fence or is not valid, or the
            end of the document (an unclosed code block) would swallow it.
    """
    ending = line_end_of(text)
    addition = with_lf(section_text).strip("\n").replace("\n", ending)
    gap = "" if not text or text.endswith(("\n", "\r")) else ending
    blank = "" if text.endswith((ending * 2, "\n\n", "\r\r")) else ending
    new = f"{text}{gap}{blank}{addition}{ending}"
    before, problems_before = parse(text)
    after, problems_after = parse(new)
    trouble = _new_error(problems_before, problems_after)
    if trouble is not None:
        raise DocumentError("new section", trouble.message, "nothing was changed")
    count = len(before.sections)
    kept = [section.id for section in after.sections[:count]]
    if kept != [section.id for section in before.sections] or len(after.sections) <= count:
        raise DocumentError(
            "new section", "would become part of the section before it", "start it with a fence"
        )
    return new


def remove_section(text: str, section_id: str) -> str:
    """The text without the first section of this id (or legacy id), up to the next fence.

    Raises:
        DocumentError: there is no such section.
    """
    document, _ = parse(text)
    section = document.section(section_id)
    if section is None:
        raise DocumentError(section_id, "is no section of this document", "check the id")
    start = section.span.start
    if section.fence_span is None:
        # The blank line below the frontmatter belongs to its look, not to the prose.
        raw = text[start : section.span.end]
        start = _line_start(text, start + len(raw) - len(raw.lstrip()))
    new = apply_edits(text, [TextEdit(Span(start, section.span.end), "")])
    left = [s.id for s in document.sections if s is not section]
    if [s.id for s in parse(new)[0].sections] != left:
        raise DocumentError(section_id, "cannot be removed alone", "remove it by hand")
    return new


Escape = Callable[[str], str]


def instruction_text(
    pairs: Iterable[tuple[str, str]],
    adapter: str | None = None,
    provenance: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """An instruction section for `append_section`; lines that would break it are escaped.

    Raises:
        DocumentError: a pair with an empty side, or a marker or adapter that is not valid.
    """
    rows = list(pairs)

    def body(safe: Escape) -> list[str]:
        parts = [("### Q", safe(asked), "", "### A", safe(said), "") for asked, said in rows]
        return [line for part in parts for line in part]

    return _section_text(SectionType.INSTRUCTION, body, len(rows), adapter, provenance)


def preference_text(
    triples: Iterable[tuple[str, str, str]],
    adapter: str | None = None,
    provenance: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    """A preference section of (prompt, chosen, rejected) for `append_section`.

    Raises:
        DocumentError: as `instruction_text`.
    """
    rows = list(triples)
    heads = ("### Prompt", "### Chosen", "### Rejected")

    def body(safe: Escape) -> list[str]:
        parts = [
            (head, safe(text), "") for row in rows for head, text in zip(heads, row, strict=True)
        ]
        return [line for part in parts for line in part]

    return _section_text(SectionType.PREFERENCE, body, len(rows), adapter, provenance)


def prose_text(text: str, adapter: str | None = None) -> str:
    """A prose section for `append_section`. Raises DocumentError for blank text."""
    return _section_text(SectionType.PROSE, lambda safe: [safe(text)], 0, adapter, None)


def _section_text(
    kind: SectionType,
    body: Callable[[Escape], list[str]],
    rows: int,
    adapter: str | None,
    provenance: Mapping[str, Mapping[str, str]] | None,
) -> str:
    trouble = ""
    for safe in (escape, _escape_everything):
        section = Section(
            type=kind,
            id="",
            legacy_id="",
            content="\n".join(body(safe)).strip("\n"),
            span=Span(0, 0),
            adapter=adapter,
            provenance={name: dict(values) for name, values in (provenance or {}).items()},
        )
        text = "\n".join(section_lines(section, fenced=True)) + "\n"
        trouble = _trouble_in(text, rows)
        if not trouble:
            return text
    raise DocumentError("new section", trouble, "nothing was written")


_EMPTY_HEAD = "---\n---\n"


def _trouble_in(section_text: str, rows: int) -> str:
    """Why the text is not exactly one sound section with so many rows; empty when it is."""
    document, problems = parse(_EMPTY_HEAD + section_text)
    for problem in problems:
        # Whether the adapter is declared is the business of the document it goes to.
        here = problem.span.start >= len(_EMPTY_HEAD) and problem.code != "fence-adapter-undeclared"
        if here and problem.severity is Severity.ERROR:
            return problem.message
    if len(document.sections) != 1:
        return "would not be one section"
    section = document.sections[0]
    found = len(section.pairs) + len(section.triples)
    return "" if found == rows else f"would be read as {found} entries, not {rows}"


_STRUCTURE = re.compile(
    r"\s{0,3}(?:::|\uff1a|:+\s{0,3}(?:prose|instruction|preference|image|audio)|<!-- dlm-auto-"
    r"|#{1,6}\s{0,9}(?:q|a|question|answer|prompt|chosen|accepted|rejected)(?![a-z]))",
    re.IGNORECASE,
)


def escape(text: str) -> str:
    """Generated text made harmless: as in markdown, a backslash before what looks like structure.

    Code blocks stay as they are; one that is never closed is closed, since it would
    swallow whatever follows.
    """
    lines: list[str] = []
    fence = ""
    for line in with_lf(text).strip("\n").split("\n"):
        opened = _CODE_FENCE.match(line)
        if fence:
            mark = line.strip(" \t")
            if opened and set(mark) == {fence[0]} and len(mark) >= len(fence):
                fence = ""
        elif opened:
            fence = opened.group(1)
        else:
            line = _escaped(line)
        lines.append(line)
    if fence:
        lines.append(fence)
    return "\n".join(lines)


def _escape_everything(text: str) -> str:
    """As `escape`, inside code blocks too, and with no code block left."""
    lines = with_lf(text).strip("\n").split("\n")
    return "\n".join(_escaped(line, _CODE_FENCE) for line in lines)


def _escaped(line: str, also: re.Pattern[str] | None = None) -> str:
    if not _STRUCTURE.match(line) and not (also and also.match(line)):
        return line
    stripped = line.lstrip()
    return line[: len(line) - len(stripped)] + "\\" + stripped
