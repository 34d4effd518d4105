"""Provenance markers: where a harvested, mined or synthesised section came from.

They stand directly below a fence and are no part of the content, so they never change
a section's id. A marker that dlm wrote and someone damaged is an error for the two kinds
whose values are used later, and a warning for a harvest source, which is only shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime

from tree_sitter import Node

from dlm_engine.document.codes import report
from dlm_engine.document.fences import attribute_parts
from dlm_engine.document.model import Diagnostic, SectionType
from dlm_engine.document.syntax import Window

ALLOWED_IN = {
    "harvest": (SectionType.INSTRUCTION, SectionType.PREFERENCE),
    "mined": (SectionType.PREFERENCE,),
    "synth": (SectionType.INSTRUCTION,),
}


def _is_score(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _is_time(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_run(value: str) -> bool:
    return re.fullmatch(r"0*[1-9][0-9]{0,17}", value) is not None


def _is_section(value: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{16}", value) is not None


def _is_text(value: str) -> bool:
    return bool(value.strip())


def _is_any(value: str) -> bool:
    return True


#: the attributes of each kind, in writing order, each with its rule and what to say
FIELDS: dict[str, dict[str, tuple[Callable[[str], bool], str]]] = {
    "harvest": {"source": (_is_any, "")},
    "mined": {
        "judge_name": (_is_any, ""),
        "judge_score_chosen": (_is_score, "a finite number"),
        "judge_score_rejected": (_is_score, "a finite number"),
        "mined_at": (_is_time, "a time in ISO 8601"),
        "mined_run_id": (_is_run, "a whole number of at least 1"),
    },
    "synth": {
        "synth_teacher": (_is_text, "not empty"),
        "synth_strategy": (_is_text, "not empty"),
        "synth_at": (_is_time, "a time in ISO 8601"),
        "source_section_id": (_is_section, "16 lower-case hexadecimal digits"),
    },
}


def read_marker(
    window: Window, node: Node, section: SectionType, problems: list[Diagnostic]
) -> tuple[str, dict[str, str]] | None:
    """(kind, attributes) of a sound marker in a section of its type, else None."""
    kind_node = node.child_by_field_name("kind")
    assert kind_node is not None
    kind = window.text_of(kind_node)
    line = window.line_span(node)
    if section not in ALLOWED_IN[kind]:
        wanted = " or ".join(t.value for t in ALLOWED_IN[kind])
        message = f"a {kind} marker belongs in a section of type {wanted}"
        problems.append(report("marker-misplaced", line, message))
        return None
    code = "marker-near-miss" if kind == "harvest" else "marker-malformed"
    known = FIELDS[kind]
    values: dict[str, str] = {}
    before = len(problems)
    attributes = [child for child in node.named_children if child.type == "attribute"]
    for name, span, value, value_span in attribute_parts(window, attributes):
        if name not in known:
            problems.append(report(code, span, f"a {kind} marker has no attribute `{name}`"))
        elif name in values:
            problems.append(report(code, span, f"`{name}` stands here a second time"))
        elif not known[name][0](value):
            problems.append(report(code, value_span, f"`{name}` must be {known[name][1]}"))
        values.setdefault(name, value)
    for name in known:
        if name not in values:
            problems.append(report(code, line, f"a {kind} marker needs `{name}`"))
    return (kind, values) if len(problems) == before else None
