#!/usr/bin/env python3
"""Writes the parts of clients/vscode/package.json that the server decides: settings and tokens.

.venv/bin/python scripts/generate_vscode.py           write
.venv/bin/python scripts/generate_vscode.py --check   fail if anything would change

Settings come from the server's one schema, less those that mean nothing in this editor, plus
the ones that only its extension reads. Token types come from the table of highlights. All else
in the file is written by hand and kept as it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "engine"), str(ROOT / "server")]
sys.path.append(str(ROOT / "grammar" / "tree-sitter-dlm" / "bindings" / "python"))

from dlm_server.features.highlights import BY_CAPTURE, token_scopes  # noqa: E402
from dlm_server.settings import SETTINGS, Setting  # noqa: E402

OUTPUT = ROOT / "clients" / "vscode" / "package.json"

#: The editor says itself whether a folder is trusted, and a decoration has one line.
LEFT_OUT = frozenset({"dlm.trusted", "dlm.results.maxLines"})
#: Read by the extension, never by the server.
OWN: dict[str, dict[str, Any]] = {
    "dlm.server.path": {
        "type": ["string", "null"],
        "default": None,
        "description": (
            "The language server: dlm-server, dlm, or a Python that has dlm. Null looks in "
            "dlm.engine.python, the Python extension's interpreter, PATH and what was installed "
            "for this editor, in this order."
        ),
        "scope": "machine-overridable",
    },
    "dlm.trace.server": {
        "type": "string",
        "default": "off",
        "description": "Log what the editor and the server say to each other.",
        "enum": ["off", "messages", "verbose"],
        "enumDescriptions": ["Log nothing.", "Log the names of messages.", "Log whole messages."],
        "scope": "window",
    },
}
#: First words of a name to the heading under which the editor shows it.
HEADINGS = (
    ("train", "Training"),
    ("probes", "Training"),
    ("results", "Answers"),
    ("inlayHints", "In the text"),
    ("codeLens", "In the text"),
    ("diagnostics", "In the text"),
)
LAST_HEADING = "Server and engine"


def property_of(setting: Setting) -> dict[str, Any]:
    scope = "machine-overridable" if setting.scope == "machine" else "window"
    shape: dict[str, Any] = {**setting.schema(), "scope": scope}
    # Elsewhere backticks would be shown as they are.
    if "`" in shape["description"]:
        shape["markdownDescription"] = shape.pop("description")
    return shape


def properties() -> dict[str, dict[str, Any]]:
    served = {s.name: property_of(s) for s in SETTINGS if s.name not in LEFT_OUT}
    return {**served, **OWN}


def configuration() -> list[dict[str, Any]]:
    """The settings under their headings, in the order of the schema."""
    groups: dict[str, dict[str, Any]] = {}
    headings = dict(HEADINGS)
    for name, shape in properties().items():
        heading = headings.get(name.split(".")[1], LAST_HEADING)
        groups.setdefault(heading, {})[name] = shape
    return [{"title": title, "properties": found} for title, found in groups.items()]


def manifest(current: dict[str, Any]) -> dict[str, Any]:
    """`current` with the generated parts made anew."""
    found: dict[str, Any] = json.loads(json.dumps(current))
    scopes = token_scopes()
    meanings = {row.token: row.meaning for row in reversed(BY_CAPTURE.values())}
    contributes = found["contributes"]
    contributes["configuration"] = configuration()
    contributes["semanticTokenTypes"] = [
        {"id": token, "description": meanings[token]} for token in scopes
    ]
    contributes["semanticTokenScopes"] = [{"language": "dlm", "scopes": scopes}]
    found["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"] = sorted(
        name for name, shape in properties().items() if shape["scope"] == "machine-overridable"
    )
    return found


def main() -> int:
    old = OUTPUT.read_text(encoding="utf-8")
    text = json.dumps(manifest(json.loads(old)), indent=2, ensure_ascii=False) + "\n"
    if old == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{OUTPUT.relative_to(ROOT)} is out of date: run {Path(__file__).name}")
        return 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
