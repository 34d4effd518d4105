"""The generated TextMate grammar: up to date, sound, and of one mind with the real grammar."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlm_engine.document import LiveDocument
from dlm_server.features.highlights import BY_CAPTURE

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "generate_textmate.py"
GRAMMAR: dict[str, Any] = json.loads(
    (ROOT / "clients" / "vscode" / "syntaxes" / "dlm.tmLanguage.json").read_text(encoding="utf-8")
)


def rules(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from rules(inner)


def test_the_committed_file_is_what_the_table_gives() -> None:
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_check_notices_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("generate_textmate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "OUTPUT", tmp_path / "sub" / "dlm.tmLanguage.json")
    monkeypatch.setattr(sys, "argv", ["x", "--check"])
    assert module.main() == 1
    assert "out of date" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["x"])
    assert module.main() == 0
    assert json.loads(module.OUTPUT.read_text(encoding="utf-8")) == GRAMMAR


def test_scopes_come_from_the_table() -> None:
    own = {r["name"] for r in rules(GRAMMAR) if str(r.get("name", "")).endswith(".dlm")}
    assert own - {row.scope for row in BY_CAPTURE.values()} == {
        "meta.fence.dlm",
        "meta.provenance.dlm",
    }
    unused = {row.scope for row in BY_CAPTURE.values() if row.scope.endswith(".dlm")} - own
    # Headings are markdown's.
    assert unused == {"markup.heading.dlm"}


def test_includes_lead_somewhere() -> None:
    for rule in rules(GRAMMAR):
        include = str(rule.get("include", ""))
        if include.startswith("#"):
            assert include.removeprefix("#") in GRAMMAR["repository"]
    foreign = {r["include"] for r in rules(GRAMMAR) if "include" in r} - {"text.dlm"}
    assert {"source.yaml", "text.html.markdown", "source.python"} <= foreign


FENCES = [rule["match"] for rule in GRAMMAR["repository"]["fence"]["patterns"]]
PIECES = [
    "::",
    ":",
    "prose",
    "image",
    "Other-1",
    "#",
    "tone",
    " ",
    "\t",
    'path="a::b"',
    'x=""',
    "é",
]


def fence_of(line: str) -> tuple[str | None, ...] | None:
    """Type and adapter of a fence line as the generated grammar reads it."""
    for pattern in FENCES:
        match = re.search(pattern, line)
        if match:
            groups = match.groups()
            return groups[1], groups[3] if len(groups) == 5 else None
    return None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("::prose::", ("prose", None)),
        ("::instruction#tone::  ", ("instruction", "tone")),
        ('::image path="a::b" alt="x y"::', ("image", None)),
        (" ::prose::", None),
        ("::prose:: x", None),
        ("::image path=x::", None),
    ],
)
def test_fences(line: str, expected: tuple[str | None, ...] | None) -> None:
    assert fence_of(line) == expected


@given(st.lists(st.sampled_from(PIECES), max_size=7))
@settings(deadline=None, max_examples=400)
def test_the_same_lines_are_fences_as_in_the_real_grammar(pieces: list[str]) -> None:
    line = f"::{''.join(pieces)}::"
    live = LiveDocument.open(line)
    node = live.node_at(0)
    while node.parent is not None and node.type != "fence":
        node = node.parent
    parts = (node.child_by_field_name("type"), node.child_by_field_name("adapter"))
    texts = tuple(line[slice(*live.span(part))] if part else None for part in parts)
    assert fence_of(line) == (texts if node.type == "fence" else None)


@pytest.mark.parametrize(
    ("line", "matches"),
    [
        ("### Q", True),
        ("  ### Q !probe ", True),
        ("### Q  !probe", False),
        ("### Q why", False),
        ("#### Q", False),
    ],
)
def test_headers(line: str, matches: bool) -> None:
    section = GRAMMAR["repository"]["section-instruction"]["patterns"]
    patterns = [rule["match"] for rule in section if "match" in rule]
    assert any(re.search(pattern, line) for pattern in patterns) is matches


@pytest.mark.parametrize(
    ("line", "language"),
    [
        ("```py", "py"),
        ("  ~~~ Python title", "Python"),
        ("````c++", "c++"),
        ("```pyx", None),
        ("```py `", None),
        ("    ```py", None),
    ],
)
def test_code_blocks(line: str, language: str | None) -> None:
    blocks = GRAMMAR["repository"]["code-block"]["patterns"][:-1]
    found = [m[3] for rule in blocks if (m := re.search(rule["begin"], line))]
    assert found == ([language] if language else [])
    opened = bool(re.search(GRAMMAR["repository"]["code-block"]["patterns"][-1]["begin"], line))
    real = LiveDocument.open(line).root.named_children[0].named_children[0].named_children
    assert opened == any(node.type == "code_block" for node in real)
