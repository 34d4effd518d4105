"""docs/lsp-extensions.md names what the server has, no more and no less."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

from dlm_server.capabilities import COMMANDS
from dlm_server.engine.commands import COMMANDS as COMMAND_TYPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "lsp-extensions.md").read_text()
SOURCE = "".join(p.read_text() for p in sorted((ROOT / "server" / "dlm_server").rglob("*.py")))


def section(title: str) -> list[str]:
    """The first cells of the table under a heading."""
    body = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", body, re.MULTILINE)


def test_the_page_has_every_command() -> None:
    assert section("Commands") == list(COMMANDS)


def test_the_page_has_every_notification_of_our_own() -> None:
    sent = set(re.findall(r'"(dlm/[A-Za-z]+)"', SOURCE)) - set(COMMANDS)
    assert sent == set(section("Notifications from the server"))


def test_the_page_has_every_capability() -> None:
    read = set(re.findall(r'"experimental\.dlm\.([A-Za-z]+)"', SOURCE))
    assert read == set(section("Capabilities"))


def test_the_page_has_every_argument_of_every_command() -> None:
    body = PAGE.partition("\n## Commands\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `\{([^}]*)\}` \|", body, re.MULTILINE)
    assert len(rows) > 15
    for name, listed in rows:
        taken = COMMAND_TYPES[name].argument
        wanted = {f.name + ("" if f.default is MISSING else "?") for f in fields(taken)}
        assert set(filter(None, listed.split(", "))) == wanted, name
