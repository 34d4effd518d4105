"""The frontmatter's YAML as a tree whose every key and value knows its place.

YAML 1.1 as PyYAML reads it is the reference: `yes` is true, `010` is 8, `2e-4` is a
string. Only its line separators beyond `\\n` and `\\r` do not count: no editor shows
them. `yaml.safe_load` would give the same values without their places, and would let
the last of two equal keys win in silence; so the nodes are composed and turned into
values here. Nothing raises: what cannot be read is reported and left out, and after a
syntax error every top-level entry that stands on its own is still read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.constructor import SafeConstructor

from dlm_engine.document.codes import report
from dlm_engine.document.model import LINE_END, Diagnostic, Fix, Span, TextEdit

MAX_CHARACTERS = 64 * 1024
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+$")
_BRACKET = re.compile(r"[\[\]{}]")
_MAX_BRACKETS = 200
_MAX_DEPTH = 24
_MAX_NODES = 20_000
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float", "str", "timestamp")}


@dataclass(frozen=True, slots=True)
class Scalar:
    value: object
    span: Span
    #: how it is written: "" plain, "'" and '"' quoted, "|" and ">" block
    style: str


@dataclass(frozen=True, slots=True)
class Entry:
    key: str
    key_span: Span
    value: Tree


@dataclass(frozen=True, slots=True)
class Mapping:
    entries: tuple[Entry, ...]
    span: Span
    flow: bool
    #: entries by key; of two equal keys (possible only after a syntax error) the first
    index: dict[str, Entry] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        index = {entry.key: entry for entry in reversed(self.entries)}
        object.__setattr__(self, "index", index)

    def get(self, key: str) -> Entry | None:
        return self.index.get(key)


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Tree, ...]
    span: Span
    flow: bool


Tree = Scalar | Mapping | Sequence


def plain(tree: Tree) -> object:
    """The value without places: dicts, lists and scalars."""
    if isinstance(tree, Mapping):
        return {e.key: plain(e.value) for e in tree.entries}
    if isinstance(tree, Sequence):
        return [plain(item) for item in tree.items]
    return tree.value


def walk(
    tree: Tree, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Span, Tree]]:
    """Every entry below `tree` as (path, span of its key or item, value)."""
    if isinstance(tree, Mapping):
        for e in tree.entries:
            yield (*path, e.key), e.key_span, e.value
            yield from walk(e.value, (*path, e.key))
    if isinstance(tree, Sequence):
        for i, item in enumerate(tree.items):
            yield (*path, i), item.span, item
            yield from walk(item, (*path, i))


def read_yaml(text: str, start: int) -> tuple[Mapping, list[Diagnostic]]:
    """The mapping that `text` holds, and what is wrong with it.

    Args:
        text: YAML as it stands between the `---` lines, any line ends.
        start: offset of `text` in the document; all places are document offsets.
    """
    empty = Mapping((), Span(start, start), flow=False)
    if len(text) > MAX_CHARACTERS:
        where = Span(start, start + len(text))
        return empty, [
            report("frontmatter-too-large", where, "the frontmatter is longer than 64 KiB")
        ]
    problems: list[Diagnostic] = []
    for match in _FORBIDDEN.finditer(text):
        problems.append(
            report(
                "yaml-character",
                Span(start + match.start(), start + match.end()),
                f"the character U+{ord(match.group()):04X} is not allowed in YAML",
            )
        )
    text, back = _without_separators(_FORBIDDEN.sub("\ufffd", text))
    roots = _compose_what_can_be(text, start, problems)
    entries: list[Entry] = []
    for root, offset in roots:
        reader = _Reader(offset, problems, back)
        tree = reader.read(root, 0)
        if isinstance(tree, Mapping):
            if len(roots) == 1:
                return tree, problems
            entries += tree.entries
        elif tree is not None and not (isinstance(tree, Scalar) and tree.value is None):
            if any(tree.span.start <= p.span.start <= tree.span.end for p in problems):
                # What is wrong there has been said.
                continue
            problems.append(
                report("yaml-not-mapping", tree.span, "expected `key: value` entries here")
            )
    span = Span(entries[0].key_span.start, entries[-1].value.span.end) if entries else empty.span
    return Mapping(tuple(entries), span, flow=False), problems


def _without_separators(text: str) -> tuple[str, dict[int, str]]:
    """The text with other characters for U+0085, U+2028 and U+2029, and the way back."""
    present = [c for c in "\x85\u2028\u2029" if c in text]
    if not present:
        return text, {}
    free = (chr(c) for c in range(0xE000, 0xF8FF) if chr(c) not in text)
    there = {ord(c): next(free) for c in present}
    return text.translate(there), {ord(new): chr(old) for old, new in there.items()}


def _compose(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        depth = max(0, depth + (1 if match.group() in "[{" else -1))
        deepest = max(deepest, depth)
    return deepest


def _compose_what_can_be(
    text: str, start: int, problems: list[Diagnostic]
) -> list[tuple[yaml.Node, int]]:
    """Root nodes with the document offset of their text; more than one after an error."""
    # The scanner takes seconds for thousands of open brackets.
    if _bracket_depth(text) > _MAX_BRACKETS:
        problems.append(_too_complex(start, text))
        return []
    try:
        root = _compose(text)
    except RecursionError:
        problems.append(_too_complex(start, text))
        return []
    except yaml.YAMLError as error:
        whole = _syntax_error(error, text, start)
    else:
        return [(root, start)] if root is not None else []
    roots: list[tuple[yaml.Node, int]] = []
    found: list[Diagnostic] = []
    for at, part in _top_level_parts(text):
        composed, trouble = _compose_part(part, start + at)
        if composed is not None:
            roots.append((composed, start + at))
        if trouble is not None:
            found.append(trouble)
    # A part can be sound where the whole is not: two documents, a stray indent before.
    problems += found or [whole]
    return roots


def _compose_part(part: str, start: int) -> tuple[yaml.Node | None, Diagnostic | None]:
    """One top-level entry; after an error, as much of its beginning as is sound."""
    try:
        return _compose(part), None
    except RecursionError:
        return None, _too_complex(start, part)
    except yaml.YAMLError as error:
        if "undefined alias" in str(error):
            return None, None
        trouble = _syntax_error(error, part, start)
        lines = _LINE.findall(part)
        for mark in (getattr(error, "problem_mark", None), getattr(error, "context_mark", None)):
            if mark is None or not 0 < mark.line < len(lines):
                continue
            try:
                node = _compose("".join(lines[: mark.line]))
            except (yaml.YAMLError, RecursionError):
                continue
            # A key whose value was cut off whole has no value to judge.
            entries = node.value if isinstance(node, yaml.MappingNode) else []
            cut_off = bool(entries) and entries[-1][1].value == ""
            return None if cut_off else node, trouble
        return None, trouble


def _top_level_parts(text: str) -> list[tuple[int, str]]:
    """The text cut before every line that starts an entry in the first column."""
    starts = [0, *(match.end() for match in LINE_END.finditer(text))]
    cuts = [s for s in starts if text[s : s + 1] not in ("", " ", "\t", "\n", "\r", "#", "]", "}")]
    ends = [*cuts[1:], len(text)] if cuts else []
    return [(a, text[a:b]) for a, b in zip(cuts, ends, strict=True)]


#: what PyYAML says, and what it means to someone who has never read its source
_TAB = "a tab cannot indent YAML; use spaces"
_TAB_INDENT = re.compile(r"^[ ]*\t[ \t]*", re.MULTILINE)
_OPEN_BRACKET = "this bracket is never closed"
_UNFINISHED = "this is never finished"
_PLAINER = (
    (
        "mapping values are not allowed here",
        "a `:` cannot stand here; quote the value, or check the indentation",
    ),
    ("could not find expected ':'", "expected `key: value`"),
    ("found character '\\t'", _TAB),
    ("found unexpected end of stream", "this quote is never closed"),
    ("but got '<stream end>'", _OPEN_BRACKET),
    ("expected '<document start>'", "expected `key: value`, not indented"),
    ("expected <block end>", "indented differently from the lines around it"),
    ("found '<stream end>'", _UNFINISHED),
    ("found undefined alias", "this alias (`*name`) is defined nowhere"),
    ("found another document", "a second `---` inside the frontmatter"),
)


def _syntax_error(error: yaml.YAMLError, text: str, start: int) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    context = getattr(error, "context_mark", None)
    if context is not None and (mark is None or mark.index >= len(text.rstrip())):
        mark = context
    at = min(mark.index, len(text)) if mark is not None else 0
    while at > 0 and text[at : at + 1] in ("", "\n", "\r"):
        at -= 1
    said = str(getattr(error, "problem", None) or "not valid YAML")
    message = next((plainer for raw, plainer in _PLAINER if raw in said), said)
    if message == _UNFINISHED and text[at : at + 1] in ("[", "{"):
        message = _OPEN_BRACKET
    fix = _without_tabs(text, start) if message == _TAB else None
    return report("yaml-syntax", Span(start + at, start + min(at + 1, len(text))), message, fix)


def _without_tabs(text: str, start: int) -> Fix:
    """Two spaces for each tab that indents, in all lines: half of them would not do."""
    edits = tuple(
        TextEdit(Span(start + m.start(), start + m.end()), m[0].replace("\t", "  "))
        for m in _TAB_INDENT.finditer(text)
    )
    return Fix("Indent with spaces", edits)


def _too_complex(start: int, text: str) -> Diagnostic:
    return report(
        "yaml-too-complex",
        Span(start, start + len(text)),
        "the frontmatter is nested too deeply to be read",
    )


class _Reader:
    """Turns composed nodes into a tree; keeps the count of nodes that aliases multiply."""

    def __init__(self, offset: int, problems: list[Diagnostic], back: dict[int, str]) -> None:
        self.offset = offset
        self.back = back
        self.problems = problems
        self.left = _MAX_NODES
        self.constructor = SafeConstructor()
        self.failed: set[tuple[str, Span]] = set()

    def span(self, node: yaml.Node) -> Span:
        return Span(self.offset + node.start_mark.index, self.offset + node.end_mark.index)

    def fail(self, code: str, span: Span, message: str) -> None:
        # What an alias repeats is wrong once.
        if (code, span) not in self.failed:
            self.failed.add((code, span))
            self.problems.append(report(code, span, message))

    def read(self, node: yaml.Node, depth: int) -> Tree | None:
        self.left -= 1
        if depth > _MAX_DEPTH or self.left < 0:
            if self.left >= -1:
                self.fail("yaml-too-complex", self.span(node), "nested or aliased too deeply")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return self.sequence(node, depth)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, depth)
        return None

    def scalar(self, node: yaml.ScalarNode) -> Scalar | None:
        span = self.span(node)
        if node.tag not in _SCALARS:
            self.fail("yaml-value", span, f"the tag {node.tag.removeprefix(_TAG)} is not allowed")
            return None
        try:
            value = self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError):
            kind = node.tag.removeprefix(_TAG).replace("timestamp", "date")
            self.fail("yaml-value", span, f"not a possible {kind}; quote it if it is meant as text")
            return None
        if node.style in ("|", ">"):
            # The end mark of a block scalar stands after the blank lines that follow it.
            shorter = node.end_mark.buffer
            if shorter is not None:
                end = node.end_mark.index
                while end > node.start_mark.index and shorter[end - 1] in " \t\r\n\0":
                    end -= 1
                span = Span(span.start, self.offset + end)
        if isinstance(value, str):
            value = value.translate(self.back)
        return Scalar(value, span, node.style or "")

    def sequence(self, node: yaml.SequenceNode, depth: int) -> Sequence | None:
        if node.tag != _TAG + "seq":
            self.fail(
                "yaml-value",
                self.span(node),
                f"the tag {node.tag.removeprefix(_TAG)} is not allowed",
            )
            return None
        read = [self.read(child, depth + 1) for child in node.value]
        items = tuple(item for item in read if item is not None)
        return Sequence(items, self.extent(node, items), bool(node.flow_style))

    def mapping(self, node: yaml.MappingNode, depth: int) -> Mapping | None:
        if node.tag != _TAG + "map":
            self.fail(
                "yaml-value",
                self.span(node),
                f"the tag {node.tag.removeprefix(_TAG)} is not allowed",
            )
            return None
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                for entry in self.merged(value_node, depth):
                    merged.setdefault(entry.key, entry)
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                self.fail(
                    "yaml-key", self.span(key_node), "a key must be plain text; quote it if it is"
                )
                continue
            key, key_span = key_node.value.translate(self.back), self.span(key_node)
            value = self.read(value_node, depth + 1)
            if key in own:
                self.fail("yaml-duplicate-key", key_span, f"`{key}` stands here a second time")
                continue
            if value is not None:
                own[key] = Entry(key, key_span, value)
        entries = tuple(own.values())
        kept = tuple(entry for key, entry in merged.items() if key not in own)
        return Mapping(
            entries + kept, self.extent(node, [e.value for e in entries]), bool(node.flow_style)
        )

    def merged(self, node: yaml.Node, depth: int) -> list[Entry]:
        """The entries that `<<: node` brings in; the first of several mappings wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: list[Entry] = []
        for source in sources:
            tree = self.read(source, depth + 1)
            if isinstance(tree, Mapping):
                found += tree.entries
            elif tree is not None:
                self.fail("yaml-value", self.span(source), "`<<` needs a mapping")
        return found

    def extent(self, node: yaml.CollectionNode, children: list[Tree] | tuple[Tree, ...]) -> Span:
        """A block collection ends with its last child, not where the next token starts."""
        span = self.span(node)
        if node.flow_style or not children:
            return span
        return Span(span.start, max(span.start, *(c.span.end for c in children)))
