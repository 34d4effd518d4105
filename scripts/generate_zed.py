#!/usr/bin/env python3
"""Writes the queries of the Zed extension from the grammar's.

.venv/bin/python scripts/generate_zed.py           write
.venv/bin/python scripts/generate_zed.py --check   fail if anything would change

Zed reads queries from the extension alone, never from the grammar, and its themes have other
names for some kinds of text: a capture has the colour of the longest beginning of its name that
the theme knows, and a capture without one has none. A capture that no theme knows fails here.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRAMMAR = ROOT / "grammar" / "tree-sitter-dlm" / "queries"
LANGUAGE = ROOT / "clients" / "zed" / "languages" / "dlm"

QUERIES = ("highlights", "injections", "outline")
HEADER = "; Written by scripts/generate_zed.py.\n\n"

#: captures that Zed's themes do not know, and what they are there
RENAMED = {
    "markup.heading": "title",
    "markup.heading.3": "title",
    "markup.raw.block": "text.literal",
    "markup.raw.delimiter": "punctuation.delimiter",
    "module": "namespace",
}
#: of the names in Zed's own themes, those that are used
STYLES = (
    "attribute",
    "comment",
    "keyword",
    "label",
    "namespace",
    "operator",
    "punctuation.delimiter",
    "string",
    "text.literal",
    "title",
    "type",
)


def query(name: str) -> str:
    """One of the grammar's queries, as Zed reads it."""
    text = (GRAMMAR / f"{name}.scm").read_text(encoding="utf-8")
    if name == "highlights":
        _, _, text = text.partition("\n\n")  # what it says of the names holds for the grammar's
        text = re.sub(r"@([a-z.0-9]+)", lambda found: "@" + style(found[1]), text)
    return HEADER + text


def style(capture: str) -> str:
    """The capture that Zed's themes colour as they should `capture`."""
    name = RENAMED.get(capture, capture)
    if not any(name == known or name.startswith(f"{known}.") for known in STYLES):
        raise SystemExit(f"{capture}: no theme of Zed colours it: add it to RENAMED")
    return name


def main() -> None:
    files = {LANGUAGE / f"{name}.scm": query(name) for name in QUERIES}
    stale = [p for p, text in files.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(p.relative_to(ROOT)) for p in stale)
        raise SystemExit(f"out of date: {names}; run scripts/generate_zed.py" if stale else 0)
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
