#!/usr/bin/env python3
"""Writes the parts of docs/ that the code decides: docs/cli.md and the tables of docs/format.md.

.venv/bin/python scripts/generate_docs.py           write
.venv/bin/python scripts/generate_docs.py --check   fail if anything would change
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
CLI_PAGE = ROOT / "docs" / "cli.md"
FORMAT_PAGE = ROOT / "docs" / "format.md"

CLI_OPENING = """\
# Command line

Written by `make docs` from the commands themselves; a test fails when it is out of date.

Results go to standard output, everything else to standard error, so `dlm ... | tool` and
`--json` stay clean. The global options may stand before or after the command.

| exit code | means |
|---|---|
| 0 | done, also when there was nothing to do |
| 1 | failed; one line on standard error says what, where and what to do |
| 2 | wrong usage: a flag, an argument, or nothing to work on |
| 130 | interrupted with Ctrl-C |

| variable | means |
|---|---|
| `DLM_HOME` | where stores and weights live; default `~/.dlm` (`%APPDATA%\\dlm` on Windows) |
| `DLM_CACHE_DIR` | where base weights and export caches live; default `$DLM_HOME/cache` |
| `DLM_THREADS` | how many threads training takes; default every core it may use |
| `RANK`, `WORLD_SIZE` | which of how many processes of a run: torchrun, `accelerate launch` |
| `DLM_TENSORBOARD`, `DLM_WANDB` | a folder, a project: where each run's figures go as well |
| `DLM_PROBE_TOKEN` | the word that senders to `dlm train --listen-rpc` must know |
| `DLM_VERBOSE` | `1` shows tracebacks, as `--verbose` does |
| `HF_TOKEN` | the token for bases that need one |

Shell completion: `dlm --install-completion` once, then start a new shell.

"""

# docs/cli.md


def help_text(*words: str) -> str:
    """What `dlm WORDS --help` prints, at 88 columns."""
    os.environ["COLUMNS"] = "88"
    from dlm_engine.cli.app import run

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run([*words, "--help"])
    return said.getvalue().strip()


def cli_page() -> str:
    from dlm_engine.cli.app import LazyCommands

    parts = [CLI_OPENING, "## dlm\n\n```text\n" + help_text() + "\n```\n"]
    for name, command in LazyCommands().items():
        parts.append(f"\n## dlm {name}\n\n```text\n{help_text(name)}\n```\n")
        for inner in getattr(command, "commands", {}):
            parts.append(f"\n### dlm {name} {inner}\n\n")
            parts.append(f"```text\n{help_text(name, inner)}\n```\n")
    return "".join(parts)


# docs/format.md


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(dotted path, type and bounds, default, meaning) of every field, in declared order."""
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        path, annotation = prefix + name, hints[name]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields(annotation, path + ".")
            continue
        default = "required" if field.is_required() else written(field.default)
        yield path, kind(annotation), default, field.description or ""
        for step, inner in entries(annotation):
            yield from fields(inner, path + step)


def entries(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models inside a list or mapping, with how a path names one of them."""
    for option in get_args(annotation) if get_origin(annotation) is UnionType else [annotation]:
        origin = get_origin(option)
        step = "[]." if origin is tuple else ".*." if origin is dict else ""
        for inner in get_args(option):
            if step and isinstance(inner, type) and issubclass(inner, BaseModel):
                yield step, inner


def written(value: Any) -> str:
    """A default as it would stand in the frontmatter."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    if isinstance(value, str):
        return f"`{value}`"
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind(annotation: Any) -> str:
    """Type and bounds in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is NoneType:
        return "null"
    if origin is Annotated:
        signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        bounds = [
            f"{sign} {getattr(part, name):g}"
            for metadata in arguments[1:]
            for part in (metadata.metadata if isinstance(metadata, FieldInfo) else [metadata])
            for name, sign in signs.items()
            if getattr(part, name, None) is not None
        ]
        return kind(arguments[0]) + (f" ({', '.join(bounds)})" if bounds else "")
    if origin is UnionType or origin is Union:
        return " or ".join(kind(option) for option in arguments)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "list of texts" if arguments[0] is str else "list of entries"
    if origin is dict:
        return "entries by name"
    return {int: "whole number", float: "number", str: "text", bool: "yes or no"}[annotation]


def frontmatter_table() -> str:
    from dlm_engine.document import Frontmatter

    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, values, default, meaning in fields(Frontmatter):
        rows.append(f"| `{path}` | {values} | {default} | {meaning} |")
    return "\n".join(rows)


def codes_table() -> str:
    from dlm_engine import checks
    from dlm_engine.document.codes import CODES

    rows = ["| code | severity | meaning |", "|---|---|---|"]
    codes = [*CODES.values(), *checks.CODES.values()]
    rows += [f"| `{c.code}` | {c.severity} | {c.meaning} |" for c in codes]
    return "\n".join(rows)


def bases_table() -> str:
    from dlm_engine.bases import REGISTRY

    rows = ["| base | parameters | licence | accept first |", "|---|---|---|---|"]
    for spec in REGISTRY.values():
        size = f"{spec.params / 1e9:.1f} B" if spec.params >= 1e9 else f"{spec.params / 1e6:.0f} M"
        gated = "yes" if spec.requires_acceptance else "no"
        rows.append(f"| `{spec.key}` | {size} | {spec.license_spdx} | {gated} |")
    return "\n".join(rows)


def format_page(current: str) -> str:
    """`current` with everything between its markers made anew."""
    page = current
    for name, table in (
        ("frontmatter", frontmatter_table()),
        ("codes", codes_table()),
        ("bases", bases_table()),
    ):
        before, start, rest = page.partition(f"<!-- generated: {name} -->\n")
        _, end, after = rest.partition(f"<!-- end: {name} -->")
        if not start or not end:
            raise SystemExit(f"{FORMAT_PAGE}: no place marked for {name}")
        page = f"{before}{start}\n{table}\n\n{end}{after}"
    return page


def main() -> None:
    pages = {CLI_PAGE: cli_page(), FORMAT_PAGE: format_page(FORMAT_PAGE.read_text("utf-8"))}
    stale = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(p.relative_to(ROOT)) for p in stale)
        raise SystemExit(f"out of date: {names}; run `make docs`" if stale else 0)
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
