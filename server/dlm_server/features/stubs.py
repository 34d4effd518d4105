"""The headers that a question or a preference lacks, with words that ask to be replaced.

A header alone would trade one error for another, as a field must not be empty, so a stub is
written below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_engine.document import Diagnostic, Span, TextEdit

if TYPE_CHECKING:
    from tree_sitter import Node

    from dlm_engine.document import LiveDocument

QUESTION = "Write the question here."
ANSWER = "Write the answer here."
_PARTS = {
    "prompt": ("### Prompt", "Write what is asked here."),
    "chosen": ("### Chosen", "Write the better answer here."),
    "rejected": ("### Rejected", "Write the worse answer here."),
}


def missing_text(live: LiveDocument, problem: Diagnostic) -> tuple[str, TextEdit] | None:
    """(title, edit) that adds what the pair or triple lacks; None where it is not one gap."""
    from dlm_engine.document.text import line_end_of

    field = _field_at(live, problem.span.start)
    if field is None:
        return None
    ending = line_end_of(live.text)
    if problem.code == "question-missing":
        at = live.span(field).start
        text = f"### Q{ending}{QUESTION}{ending}{ending}"
        return "Add ### Q before it", TextEdit(Span(at, at), text)
    if problem.code == "answer-missing":
        return "Add ### A", _after(live, field, [("### A", ANSWER)], ending)
    group = _group(field)
    kinds = [node.type for node in group]
    wanted = [kind for kind in _PARTS if kind not in kinds]
    if kinds != list(_PARTS)[: len(kinds)]:
        return None
    title = f"Add {' and '.join(_PARTS[kind][0] for kind in wanted)}"
    return title, _after(live, group[-1], [_PARTS[kind] for kind in wanted], ending)


def _after(live: LiveDocument, field: Node, parts: list[tuple[str, str]], ending: str) -> TextEdit:
    """Headers and stubs behind the text of a field; the blank lines below it stay below."""
    span = live.span(field)
    written = live.text[span.start : span.end]
    end = span.start + len(written.rstrip())
    body = field.child_by_field_name("body")
    before = "" if body is not None else ending + QUESTION if field.type == "question" else ""
    lines = [line for header, stub in parts for line in ("", header, stub)]
    return TextEdit(Span(end, end), before + ending + ending.join(lines))


def _field_at(live: LiveDocument, offset: int) -> Node | None:
    node: Node | None = live.node_at(offset)
    while node is not None and node.type not in ("question", "answer", *_PARTS):
        node = node.parent
    return node


def _group(field: Node) -> list[Node]:
    """The fields of the triple that begins with `field`."""
    group = [field]
    node = field.next_named_sibling
    while node is not None and node.type in ("chosen", "rejected"):
        group.append(node)
        node = node.next_named_sibling
    return group
