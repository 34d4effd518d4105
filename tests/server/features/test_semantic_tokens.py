"""Tokens as `type:text`, and that they say what the highlight query says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.features.random_documents import documents

import tree_sitter_dlm
from dlm_engine.document import LiveDocument, Span
from dlm_server.features.highlights import (
    BY_CAPTURE,
    FRONTMATTER,
    GRAMMAR,
    TOKEN_TYPES,
    token_scopes,
)
from dlm_server.features.semantic_tokens import choices_at, tokens


def found(text: str) -> str:
    made = tokens(LiveDocument.open(text))
    return " ".join(f"{t.type}:{text[t.span.start : t.span.end]}" for t in made)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::instruction::", "punctuation::: keyword:instruction punctuation:::"),
        (
            "::prose#tone::",
            "punctuation::: keyword:prose punctuation:# namespace:tone punctuation:::",
        ),
        ("::other::", "punctuation::: type:other punctuation:::"),
        (
            '::image path="a::b"::',
            "punctuation::: keyword:image parameter:path operator:= "
            'string:" string:a::b string:" punctuation:::',
        ),
        (
            "::instruction::\n### Q !probe\nWhy?\n  ### A  \n",
            "punctuation::: keyword:instruction punctuation::: header:### Q modifier:!probe "
            "header:### A",
        ),
        (
            '::instruction::\n<!-- dlm-auto-synth: a="" -->\n',
            "punctuation::: keyword:instruction punctuation::: comment:<!-- dlm-auto- macro:synth "
            'comment:: parameter:a operator:= string:" string:" comment:-->',
        ),
        ("# Title\ntext\n", "heading:# Title"),
        ("```py\n# no\n```\n", "punctuation:``` label:py punctuation:```"),
        (
            ":: prose ::\n::instruction::\n### q\n<!-- dlm-auto-x -->\n",
            "nearMiss::: prose :: punctuation::: keyword:instruction punctuation::: "
            "nearMiss:### q nearMiss:<!-- dlm-auto-x -->",
        ),
    ],
)
def test_the_body(text: str, expected: str) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        ("a: b # c # d", "property:a string:b comment:# c # d"),
        ("# a: b", "comment:# a: b"),
        ("a: 'b # c'", "property:a string:'b # c'"),
        ("a: 1e-4\nb: -2\nc: 1.5", "property:a number:1e-4 property:b number:-2 "
         "property:c number:1.5"),
        ("a: true\nb: null", "property:a boolean:true property:b keyword:null"),
        ("training:\n  optimizer: adamw_torch", "property:training property:optimizer "
         "enumMember:adamw_torch"),
        ("training:\n  adapters:\n    x: {adapter: dora}", "property:training property:adapters "
         "property:x property:adapter enumMember:dora"),
        ("training:\n  micro_batch_size: auto", "property:training property:micro_batch_size "
         "enumMember:auto"),
        ("system_prompt: |\n  a # b\n  c: d", "property:system_prompt string:| string:a # b "
         "string:c: d"),
        ("a: [x, 'y']", "property:a string:x string:'y'"),
        ("a: [\nlora_r: 8 # c\n  - name: x", "property:a property:lora_r number:8 comment:# c "
         "property:name"),
    ],
)  # fmt: skip
def test_the_frontmatter(yaml: str, expected: str) -> None:
    assert found(f"---\n{yaml}\n---\n") == f"punctuation:--- {expected} punctuation:---"


def test_choices_come_from_the_schema() -> None:
    assert choices_at("training.lr_scheduler") == {"cosine", "linear", "constant"}
    assert choices_at("training.adapters.any.target_modules") == {"auto"}
    assert choices_at("training.precision") == {"bf16", "fp16", "fp32"}
    assert choices_at("training.sources.0.path") == frozenset()
    assert choices_at("nothing.here") == frozenset()


def test_the_table_names_what_the_highlight_query_captures() -> None:
    query = re.sub(r'"(?:\\.|[^"])*"|;[^\n]*', "", tree_sitter_dlm.HIGHLIGHTS_QUERY)
    predicates = re.sub(r"\(#[^)]*\)", "", query)
    assert {row.capture for row in GRAMMAR} == set(re.findall(r"@([a-z0-9.]+)", predicates))
    assert len(BY_CAPTURE) == len(GRAMMAR) + len(FRONTMATTER)


def test_types_that_themes_do_not_know_have_scopes() -> None:
    assert set(token_scopes()) == {"punctuation", "heading", "header", "nearMiss", "boolean"}
    assert set(token_scopes()) < set(TOKEN_TYPES)


@given(documents(), st.data())
@settings(deadline=None, max_examples=150)
def test_tokens_of_any_text(text: str, data: st.DataObject) -> None:
    live = LiveDocument.open(text)
    every = tokens(live)
    at = 0
    for token in every:
        assert at <= token.span.start < token.span.end <= len(text)
        assert not set("\r\n") & set(text[token.span.start : token.span.end])
        assert token.type in TOKEN_TYPES
        at = token.span.end
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    within = tokens(live, Span(start, end))
    expected = [t for t in every if t.span.start < end and t.span.end > start]
    assert list(within) == expected
