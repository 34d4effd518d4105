"""Each query compiles and captures what an editor needs from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tree_sitter import Language, Parser, Query, QueryCursor

import tree_sitter_dlm

DOCUMENT = """---
key: value
---
# Title

::instruction#fast::
<!-- dlm-auto-harvest: source="x" -->
### Q !probe
Who *wrote* it?
More.
### A
```python
x = 1
::prose::
```
:: prose ::
::preference::
### Prompt
How?
### Chosen
So.
### Rejected
Not.
::image path="a.png"::
::foo::
"""

#: query, capture, the texts it captures in `DOCUMENT`, in order
CAPTURES = [
    ("HIGHLIGHTS_QUERY", "keyword", ["instruction", "preference", "image"]),
    ("HIGHLIGHTS_QUERY", "type", ["instruction", "preference", "image", "foo"]),
    ("HIGHLIGHTS_QUERY", "module", ["fast"]),
    ("HIGHLIGHTS_QUERY", "markup.heading", ["# Title"]),
    (
        "HIGHLIGHTS_QUERY",
        "markup.heading.3",
        ["### Q !probe", "### A", "### Prompt", "### Chosen", "### Rejected"],
    ),
    ("HIGHLIGHTS_QUERY", "keyword.modifier", ["!probe"]),
    ("HIGHLIGHTS_QUERY", "attribute", ["source", "path"]),
    ("HIGHLIGHTS_QUERY", "string", ['"', "x", '"', '"', "a.png", '"']),
    ("HIGHLIGHTS_QUERY", "operator", ["=", "="]),
    ("HIGHLIGHTS_QUERY", "comment", ["<!-- dlm-auto-", ":", "-->"]),
    ("HIGHLIGHTS_QUERY", "keyword.directive", ["harvest"]),
    ("HIGHLIGHTS_QUERY", "label", ["python"]),
    ("HIGHLIGHTS_QUERY", "markup.raw.delimiter", ["```", "```"]),
    ("HIGHLIGHTS_QUERY", "markup.raw.block", ["x = 1\n::prose::\n"]),
    ("HIGHLIGHTS_QUERY", "comment.warning", [":: prose ::"]),
    ("INJECTIONS_QUERY", "injection.language", ["python"]),
    ("LOCALS_QUERY", "local.reference", ["fast"]),
    ("TAGS_QUERY", "definition.question", ["### Q !probe\nWho *wrote* it?\nMore.\n"]),
    ("TAGS_QUERY", "definition.heading", ["# Title"]),
    ("TAGS_QUERY", "definition.prompt", ["### Prompt\nHow?\n"]),
    ("TAGS_QUERY", "reference.adapter", ["::instruction#fast::"]),
    ("OUTLINE_QUERY", "context", ["### Q !probe", "### Prompt"]),
    (
        "OUTLINE_QUERY",
        "name",
        [
            "# Title",
            "::instruction#fast::",
            "Who *wrote* it?\nMore.\n",
            "::preference::",
            "How?\n",
            '::image path="a.png"::',
            "::foo::",
        ],
    ),
]


@pytest.mark.parametrize(
    ("query", "capture", "expected"), CAPTURES, ids=[f"{q}: {c}" for q, c, _ in CAPTURES]
)
def test_captures(
    language: Language, parser: Parser, query: str, capture: str, expected: list[str]
) -> None:
    tree = parser.parse(DOCUMENT.encode())
    cursor = QueryCursor(Query(language, getattr(tree_sitter_dlm, query)))
    nodes = cursor.captures(tree.root_node).get(capture, [])
    found = [(node.text or b"").decode() for node in sorted(nodes, key=lambda n: n.start_byte)]
    assert found == expected


def injected(language: Language, parser: Parser) -> list[tuple[str, str]]:
    """Language and text of each injection in `DOCUMENT`, in order."""
    tree = parser.parse(DOCUMENT.encode())
    query = Query(language, tree_sitter_dlm.INJECTIONS_QUERY)
    found = []
    for pattern, captures in QueryCursor(query).matches(tree.root_node):
        content = captures["injection.content"][0]
        fixed = query.pattern_settings(pattern).get("injection.language")
        named = captures.get("injection.language", [])
        name = fixed or (named[0].text or b"").decode()
        found.append((content.start_byte, name, (content.text or b"").decode()))
    return [(name, text) for _, name, text in sorted(found)]


def test_injections(language: Language, parser: Parser) -> None:
    assert injected(language, parser) == [
        ("yaml", "key: value\n"),
        ("markdown", "# Title\n\n"),
        ("markdown", "Who *wrote* it?\nMore.\n"),
        ("markdown", "```python\nx = 1\n::prose::\n```\n:: prose ::\n"),
        ("python", "x = 1\n::prose::\n"),
        ("markdown", "How?\n"),
        ("markdown", "So.\n"),
        ("markdown", "Not.\n"),
    ]


def test_folds(language: Language, parser: Parser) -> None:
    tree = parser.parse(DOCUMENT.encode())
    query = Query(language, tree_sitter_dlm.FOLDS_QUERY)
    folds = QueryCursor(query).captures(tree.root_node)["fold"]
    assert sorted({node.type for node in folds}) == [
        "answer",
        "chosen",
        "code_block",
        "frontmatter",
        "prompt",
        "question",
        "rejected",
        "section",
    ]


def test_every_query_file_is_offered(language: Language, grammar: Path) -> None:
    files = sorted(path.stem for path in (grammar / "queries").glob("*.scm"))
    names = sorted(name for name in vars(tree_sitter_dlm)["__all__"] if name.endswith("_QUERY"))
    assert names == [f"{stem.upper()}_QUERY" for stem in files]
    for name, stem in zip(names, files, strict=True):
        text = getattr(tree_sitter_dlm, name)
        assert text == (grammar / "queries" / f"{stem}.scm").read_text(encoding="utf-8")
        Query(language, text)


@pytest.mark.parametrize("name", ["NO_QUERY", "language_"])
def test_an_unknown_name_is_no_query(name: str) -> None:
    with pytest.raises(AttributeError, match=name):
        getattr(tree_sitter_dlm, name)
