"""Documents with their diagnostics written into them, and the head most tests share.

`⟦code|text⟧` marks the place of one diagnostic; two codes at one place are joined with a
comma. The marks are taken out before the text is parsed.
"""

from __future__ import annotations

import re

from dlm_engine.document import Diagnostic, apply_edits, parse

HEAD = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 15
base_model: smollm2-135m
---
"""

_MARK = re.compile(r"⟦([a-z,-]+)\|([^⟧]*)⟧")


def unmark(marked: str) -> tuple[str, list[tuple[str, int, int]]]:
    """The text without marks, and (code, start, end) for each."""
    parts: list[str] = []
    expected: list[tuple[str, int, int]] = []
    at = length = 0
    for match in _MARK.finditer(marked):
        parts += (marked[at : match.start()], match.group(2))
        length += match.start() - at
        end = length + len(match.group(2))
        expected += [(code, length, end) for code in match.group(1).split(",")]
        length, at = end, match.end()
    return "".join(parts) + marked[at:], sorted(expected, key=lambda e: (e[1], e[2], e[0]))


def found(text: str) -> list[tuple[str, int, int]]:
    return [(p.code, p.span.start, p.span.end) for p in parse(text)[1]]


def check(marked: str) -> list[Diagnostic]:
    """Assert that the marked diagnostics, and no others, are reported at their places."""
    text, expected = unmark(marked)
    actual = found(text)
    shown = [(code, text[start:end]) for code, start, end in actual]
    assert actual == expected, shown
    return parse(text)[1]


def check_body(marked: str) -> list[Diagnostic]:
    return check(HEAD + marked)


def fixed(text: str, code: str) -> str:
    """The text after the fix of its first diagnostic with this code."""
    fix = next(p.fix for p in parse(text)[1] if p.code == code)
    assert fix is not None
    return apply_edits(text, fix.edits)
