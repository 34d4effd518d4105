"""Old versions of the frontmatter, brought to the current one.

The format changed its meaning once, from 1 to 2, where `training.dpo` became
`training.preference`; every later version only added keys or kinds of sections.
So a migration edits the version and, in version 1, the lines of that block, and
leaves every other character alone: comments, order, line ends, the whole body.
`migrate_tree` does the same to a tree that keeps its places, for reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dlm_engine.document.frontmatter import CURRENT_VERSION
from dlm_engine.document.model import LINE_END, Fix, Span, TextEdit
from dlm_engine.document.syntax import Syntax
from dlm_engine.document.text import line_end_of
from dlm_engine.document.yaml_tree import Entry, Mapping, Scalar, Tree, plain, read_yaml
from dlm_engine.errors import DocumentError

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+$")
_HYPERPARAMS = ("beta", "learning_rate", "num_epochs")
_KEPT = ("enabled", "loss_type", "reference")

#: what each step changed, by the version it leads to
STEPS: dict[int, str] = {
    2: "training.dpo becomes training.preference",
    3: "training.cpt added",
    4: "training.adapters added",
    5: "training.precision added",
    6: "training.sources and training.sources_policy added",
    7: "harvest markers added",
    8: "training.gate added",
    9: "training.cache added",
    10: "image sections added",
    11: "audio sections added",
    12: "training.audio added",
    13: "base registry refreshed",
    14: "mined markers added",
    15: "synth markers added",
}


@dataclass(frozen=True, slots=True)
class Migration:
    """The text in the current version; `applied` names each step, none for a current text."""

    text: str
    from_version: int
    to_version: int
    applied: tuple[str, ...]
    edits: tuple[TextEdit, ...]


def migrate_tree(tree: Mapping, version: int) -> Mapping:
    """The tree with the meaning of the current version and the places of the file."""
    training = tree.get("training")
    if version > 1 or training is None or not isinstance(training.value, Mapping):
        return tree
    dpo = training.value.get("dpo")
    if dpo is None:
        return tree
    preference = Entry("preference", dpo.key_span, _preference(dpo.value))
    others = tuple(e for e in training.value.entries if e.key not in ("dpo", "preference"))
    new = Mapping((*others, preference), training.value.span, training.value.flow)
    entries = tuple(Entry(e.key, e.key_span, new) if e is training else e for e in tree.entries)
    return Mapping(entries, tree.span, tree.flow)


def _preference(dpo: Tree) -> Tree:
    if not isinstance(dpo, Mapping):
        return dpo
    here = Span(dpo.span.start, dpo.span.start)
    entries = [Entry("method", here, Scalar("dpo", here, ""))]
    inner: list[Entry] = []
    for entry in dpo.entries:
        if entry.key in _HYPERPARAMS:
            inner.append(entry)
        elif entry.key == "reference" and plain(entry.value) == "pre_dpo_adapter":
            value = Scalar("pre_adapter", entry.value.span, "")
            entries.append(Entry("reference", entry.key_span, value))
        elif entry.key in _KEPT:
            entries.append(entry)
    if inner:
        span = Span(inner[0].key_span.start, inner[-1].value.span.end)
        entries.append(Entry("hyperparams", inner[0].key_span, Mapping(tuple(inner), span, False)))
    return Mapping(tuple(entries), dpo.span, dpo.flow)


def migration_fix(text: str) -> Fix | None:
    """The migration as a fix, or None when the text has to be repaired first."""
    try:
        migration = plan_migration(text)
    except DocumentError:
        return None
    return Fix(f"Migrate to version {CURRENT_VERSION}", migration.edits)


def plan_migration(text: str) -> Migration:
    """The edits of a migration, without the check that the result is valid."""
    syntax = Syntax(text)
    node = syntax.frontmatter()
    if node is None or node.child_by_field_name("close") is None:
        raise DocumentError("frontmatter", "is missing or never closed", "repair it first")
    content = node.child_by_field_name("content")
    span = syntax.span(content) if content else Span(0, 0)
    tree, problems = read_yaml(text[span.start : span.end], span.start)
    if problems:
        raise DocumentError("frontmatter", problems[0].message, "repair it first")
    entry = tree.get("dlm_version")
    version = plain(entry.value) if entry else 1
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise DocumentError("dlm_version", "must be a whole number of at least 1", "correct it")
    if version > CURRENT_VERSION:
        raise DocumentError(
            "dlm_version",
            f"is newer than the {CURRENT_VERSION} this dlm knows",
            "update dlm",
        )
    if version == CURRENT_VERSION:
        return Migration(text, version, version, (), ())
    edits = [_version_edit(text, tree, entry)]
    if version == 1:
        edits += _dpo_edits(text, tree)
    edits.sort(key=lambda edit: edit.span)
    applied = tuple(STEPS[v] for v in range(version + 1, CURRENT_VERSION + 1))
    return Migration(apply_edits(text, edits), version, CURRENT_VERSION, applied, tuple(edits))


def apply_edits(text: str, edits: list[TextEdit] | tuple[TextEdit, ...]) -> str:
    """The text after edits that do not overlap, in any order."""
    parts: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda e: e.span):
        parts += (text[at : edit.span.start], edit.new_text)
        at = edit.span.end
    return "".join(parts) + text[at:]


def _version_edit(text: str, tree: Mapping, entry: Entry | None) -> TextEdit:
    if entry is not None:
        return TextEdit(entry.value.span, str(CURRENT_VERSION))
    if tree.flow:
        at = tree.span.start + 1
        separator = ", " if tree.entries else ""
        return TextEdit(Span(at, at), f"dlm_version: {CURRENT_VERSION}{separator}")
    first = tree.get("dlm_id")
    if first is None:
        at = (
            _line_start(text, tree.entries[0].key_span.start)
            if tree.entries
            else _second_line(text)
        )
    else:
        at = _next_line(text, first.value.span.end)
    return TextEdit(Span(at, at), f"dlm_version: {CURRENT_VERSION}{line_end_of(text)}")


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _next_line(text: str, at: int) -> int:
    match = LINE_END.search(text, at)
    return match.end() if match else len(text)


def _second_line(text: str) -> int:
    return _next_line(text, 0)


def _dpo_edits(text: str, tree: Mapping) -> list[TextEdit]:
    training = tree.get("training")
    if training is None or not isinstance(training.value, Mapping):
        return []
    dpo = training.value.get("dpo")
    if dpo is None:
        return []
    if training.value.get("preference") is not None:
        raise DocumentError(
            "training", "has both `dpo` and `preference`", "remove the one that is not meant"
        )
    rename = TextEdit(dpo.key_span, "preference")
    if not isinstance(dpo.value, Mapping):
        return [rename]
    inside = dpo.value.span
    if any(not inside.start <= e.key_span.start < inside.end for e in dpo.value.entries):
        raise DocumentError(
            "training.dpo", "takes entries from elsewhere (`<<`)", "write them out, then migrate"
        )
    if dpo.value.flow or training.value.flow:
        return [rename, TextEdit(dpo.value.span, _flow_preference(text, dpo.value))]
    return [rename, _block_preference(text, dpo, dpo.value)]


def _flow_preference(text: str, dpo: Mapping) -> str:
    top: list[str] = ["method: dpo"]
    inner: list[str] = []
    for key, value in _parts(text, dpo):
        (inner if key in _HYPERPARAMS else top).append(f"{key}: {value}")
    if inner:
        top.append("hyperparams: {" + ", ".join(inner) + "}")
    return "{" + ", ".join(top) + "}"


def _parts(text: str, dpo: Mapping) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for entry in dpo.entries:
        value = text[entry.value.span.start : entry.value.span.end]
        if entry.key == "reference" and plain(entry.value) == "pre_dpo_adapter":
            value = "pre_adapter"
        if entry.key in _HYPERPARAMS + _KEPT:
            parts.append((entry.key, value))
    return parts


def _block_preference(text: str, key: Entry, dpo: Mapping) -> TextEdit:
    """Rebuild the block from its own lines: each entry takes the comments above it along."""
    first = _next_line(text, key.key_span.end)
    indent = text[_line_start(text, dpo.span.start) : dpo.span.start]
    end_of_line = line_end_of(text)
    top = [f"{indent}method: dpo{end_of_line}"]
    inner: list[str] = []
    at = first
    for entry in dpo.entries:
        stop = _next_line(text, entry.value.span.end)
        lines = text[at:stop]
        at = stop
        if entry.key == "reference" and plain(entry.value) == "pre_dpo_adapter":
            span = entry.value.span
            head = stop - len(lines)
            lines = lines[: span.start - head] + "pre_adapter" + lines[span.end - head :]
        if entry.key in _HYPERPARAMS:
            inner.append("".join(f"{_indent_of(line)}{line}" for line in _LINE.findall(lines)))
        elif entry.key in _KEPT:
            top.append(lines)
        else:
            # A key that version 2 dropped: its comments stay, the entry goes.
            top.append(text[stop - len(lines) : _line_start(text, entry.key_span.start)])
    if inner:
        top += [f"{indent}hyperparams:{end_of_line}", *inner]
    return TextEdit(Span(first, at), "".join(top))


def _indent_of(line: str) -> str:
    return "  " if line.strip() else ""
