"""The extension's package.json against what it speaks of: settings, tokens, commands, files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlm_server.engine.commands import COMMANDS
from dlm_server.features.highlights import token_scopes
from dlm_server.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
EXTENSION = ROOT / "clients" / "vscode"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text(encoding="utf-8"))
    return found


def settings_of(manifest: dict[str, Any]) -> dict[str, Any]:
    groups = manifest["contributes"]["configuration"]
    return {name: shape for group in groups for name, shape in group["properties"].items()}


def test_the_generated_parts_are_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_vscode.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_of_the_server_is_offered_with_its_default(manifest: dict[str, Any]) -> None:
    offered = settings_of(manifest)
    served = {setting.name: setting for setting in SETTINGS}
    assert set(served) - set(offered) == {"dlm.trusted", "dlm.results.maxLines"}
    assert set(offered) - set(served) == {"dlm.server.path", "dlm.trace.server"}
    for name, shape in offered.items():
        if name in served:
            assert shape["default"] == served[name].default
            assert served[name].problem(shape["default"]) is None


def test_a_folder_without_trust_names_no_program_and_no_place(manifest: dict[str, Any]) -> None:
    trust = manifest["capabilities"]["untrustedWorkspaces"]
    assert trust["supported"] == "limited"
    assert trust["restrictedConfigurations"] == [
        "dlm.engine.python",
        "dlm.home",
        "dlm.server.path",
    ]


def test_token_scopes(manifest: dict[str, Any]) -> None:
    contributes = manifest["contributes"]
    assert contributes["semanticTokenScopes"] == [{"language": "dlm", "scopes": token_scopes()}]
    assert {row["id"] for row in contributes["semanticTokenTypes"]} == set(token_scopes())


def test_commands_are_declared_registered_and_known_to_the_server(manifest: dict[str, Any]) -> None:
    contributes = manifest["contributes"]
    declared = {row["command"] for row in contributes["commands"]}
    source = (EXTENSION / "src" / "commands.ts").read_text(encoding="utf-8")
    registered = set(re.findall(r'^    "(dlm\.\w+)":', source, re.MULTILINE))
    assert declared == registered
    in_menus = {row["command"] for rows in contributes["menus"].values() for row in rows}
    assert in_menus <= declared
    asked = set(re.findall(r'\brun(?:<[^(]*>)?\(\s*"(dlm[./]\w+)"', source))
    assert asked
    assert asked <= set(COMMANDS)


def test_every_file_it_names_exists(manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest)
    named = set(re.findall(r'"(?:\./)?((?:icons|syntaxes|snippets|walkthrough)/[^"]+)"', text))
    assert len(named) > 8
    assert [name for name in named if not (EXTENSION / name).is_file()] == []


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((EXTENSION / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"]
    assert [name for name, entry in lock["packages"].items() if "resolved" in entry] == []


@pytest.mark.slow
def test_its_own_tests_pass() -> None:
    made = (EXTENSION / "node_modules" / ".dlm-setup").is_file()
    if not made and os.environ.get("DLM_VSCODE") != "required":
        pytest.skip("run scripts/setup_vscode.py to install what the extension is built with")
    assert made, "scripts/setup_vscode.py has not been run"
    for script in ("check", "test"):
        done = subprocess.run(
            ["npm", "run", "--silent", script],
            cwd=EXTENSION,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
