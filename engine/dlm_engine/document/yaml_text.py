"""How a value is written in the frontmatter, so that YAML 1.1 reads the same value back.

Plain text is used only where the YAML resolver itself agrees that it is text, so
`1e5`, `yes`, `2024-01-01` and `123` are quoted; a list of special words would miss
some. A float always has its point, without which YAML 1.1 takes `5e-06` for text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import yaml
from yaml.resolver import Resolver

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./+:-]*(?<!:)|[0-9][0-9A-Z]{25}")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_LITERAL_LINE = re.compile(
    "[^\\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]"
    "[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]*"
)

Value = str | int | float | bool | None | Sequence["Value"]


def scalar_text(value: Value) -> str:
    """One line of YAML for a scalar or a list of scalars (a flow list)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_text(value)
    if isinstance(value, str):
        return value if is_plain(value) else quoted(value)
    return "[" + ", ".join(scalar_text(item) for item in value) + "]"


def is_plain(text: str) -> bool:
    """Whether `text` may stand unquoted, in a flow list too."""
    if not _PLAIN.fullmatch(text):
        return False
    tag = Resolver().resolve(yaml.ScalarNode, text, (True, False))
    return bool(tag == "tag:yaml.org,2002:str")


def quoted(text: str) -> str:
    """`text` in double quotes, on one line, with every escape YAML needs."""
    escaped = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda m: f"\\u{ord(m.group()):04x}", escaped)


def literal_lines(text: str, indent: str) -> list[str] | None:
    """A block scalar (`|`, `|-` or `|+` and indented lines), or None if `text` does not fit one.

    Fitting means at least two lines, or one with its line end, a first line that is
    neither blank nor indented, and nothing YAML would need an escape for.
    """
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    lines = body.split("\n")
    if len(lines) < 2 and not ends:
        return None
    if not _LITERAL_LINE.fullmatch(lines[0]):
        return None
    if any(line.strip() and not _LITERAL_LINE.fullmatch(line.lstrip(" \t")) for line in lines):
        return None
    if any(line and not line.strip() for line in lines):
        return None
    chomp = ("|-", "|")[ends] if ends < 2 else "|+"
    written = [f"{indent}{line}" if line else "" for line in lines]
    return [chomp, *written, *[""] * (ends - 1)]


def _float_text(value: float) -> str:
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e or "." in mantissa:
        return text
    return f"{mantissa}.0e{exponent}"
