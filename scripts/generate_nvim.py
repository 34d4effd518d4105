#!/usr/bin/env python3
"""Writes what the Neovim plugin shares with the rest: queries, defaults, colours, its help's table.

.venv/bin/python scripts/generate_nvim.py           write
.venv/bin/python scripts/generate_nvim.py --check   fail if anything would change

The plugin is installed without the rest of this tree, so it carries copies; they are made from
the grammar's queries, from the server's settings and from the table of highlights, and nowhere
else. Neovim takes the grammar's capture names as they are; only where it spell-checks is added.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "engine"), str(ROOT / "server")]

from dlm_server.features.highlights import BY_CAPTURE  # noqa: E402
from dlm_server.settings import SETTINGS, Setting  # noqa: E402

PLUGIN = ROOT / "clients" / "nvim"
GRAMMAR = ROOT / "grammar" / "tree-sitter-dlm" / "queries"
HELP = PLUGIN / "doc" / "dlm.txt"

QUERIES = ("highlights", "injections", "folds", "locals")
HEADER = "{} Written by scripts/generate_nvim.py.\n\n"
SPELLING = """
; Text is spell-checked, what stands around it is not.
(body) @spell

[
  (yaml)
  (code)
] @nospell
"""


def query(name: str) -> str:
    """One of the grammar's queries, as Neovim reads it."""
    text = (GRAMMAR / f"{name}.scm").read_text(encoding="utf-8")
    return HEADER.format(";") + text + (SPELLING if name == "highlights" else "")


def tables() -> str:
    """lua/dlm/tables.lua: defaults of the settings, and captures by semantic token."""
    defaults = [f"    [{_lua(_short(s))}] = {_lua(s.default)}," for s in SETTINGS]
    tokens: dict[str, str] = {}
    for row in BY_CAPTURE.values():
        if row.token is not None:
            tokens.setdefault(row.token, row.capture)
    colours = [f"    {token} = {_lua(capture)}," for token, capture in tokens.items()]
    lines = [
        "-- Defaults of the server's settings, and the capture that each semantic token is.",
        "-- Written by scripts/generate_nvim.py.",
        "",
        "return {",
        "  settings = {",
        *[line for line in defaults if not line.endswith("= nil,")],
        "  },",
        "  tokens = {",
        *colours,
        "  },",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _short(setting: Setting) -> str:
    return setting.name.removeprefix("dlm.")


def _lua(value: object) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    return f"{value:g}"


def help_page(current: str) -> str:
    """`current` with its table of settings made anew."""
    before, start, rest = current.partition("The settings:\n")
    _, end, after = rest.partition("\n============")
    if not start or not end:
        raise SystemExit(f"{HELP}: no place for the settings")
    return f"{before}{start}\n{settings_help()}{end}{after}"


def settings_help() -> str:
    parts = []
    for setting in SETTINGS:
        default = "null" if setting.default is None else _lua(setting.default)
        choices = zip(setting.choices, setting.choice_meanings, strict=True)
        said = [
            textwrap.fill(setting.meaning, 74, initial_indent="    ", subsequent_indent="    "),
            *(f"    {word:<12} {meaning}" for word, meaning in choices),
        ]
        parts.append(f"{setting.name} (default {default})\n" + "\n".join(said) + "\n")
    return "\n".join(parts)


def main() -> None:
    files = {PLUGIN / "queries" / "dlm" / f"{name}.scm": query(name) for name in QUERIES}
    files[PLUGIN / "lua" / "dlm" / "tables.lua"] = tables()
    files[HELP] = help_page(HELP.read_text(encoding="utf-8"))
    stale = [p for p, text in files.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(p.relative_to(ROOT)) for p in stale)
        raise SystemExit(f"out of date: {names}; run scripts/generate_nvim.py" if stale else 0)
    for path in stale:
        path.write_text(files[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
