"""What is committed agrees with itself: grammar, scanner, generated files, README."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tree_sitter import Language


def node_types(grammar: Path) -> list[dict[str, Any]]:
    types: list[dict[str, Any]] = json.loads((grammar / "src/node-types.json").read_text())
    return types


def test_the_scanner_names_its_tokens_in_the_order_of_the_grammar(grammar: Path) -> None:
    externals = json.loads((grammar / "src/grammar.json").read_text())["externals"]
    source = (grammar / "src/tokens.h").read_text(encoding="utf-8")
    enum = re.search(r"enum TokenType \{(.*?)\}", source, re.DOTALL)
    assert enum is not None
    tokens = re.findall(r"\w+", enum[1])
    assert tokens == [external["name"].removeprefix("_").upper() for external in externals]


def test_every_rule_of_the_grammar_is_generated(grammar: Path) -> None:
    written = re.findall(r"^    (\w+): \(", (grammar / "grammar.js").read_text(), re.MULTILINE)
    generated = json.loads((grammar / "src/grammar.json").read_text())["rules"]
    assert set(written) == set(generated)


def test_the_readme_names_every_node_and_field(grammar: Path) -> None:
    readme = (grammar / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## Tree")[1].split("## Rules")[0]
    named = {str(entry["type"]) for entry in node_types(grammar) if entry["named"]}
    assert named <= set(re.findall(r"\w+", tree))
    fields = set(re.findall(r"(\w+): ", tree.split("```")[1]))
    assert fields == {
        field for entry in node_types(grammar) for field in (entry.get("fields") or {})
    }


def test_abi(language: Language, grammar: Path) -> None:
    assert language.abi_version == 15
    assert language.name == "dlm"
    parser = (grammar / "src/parser.c").read_text()
    assert "#define LANGUAGE_VERSION 15" in parser
