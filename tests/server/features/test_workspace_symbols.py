"""Finding things in several documents by a few letters."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from tests.server.features.cursor import declared

from dlm_engine.document import LiveDocument
from dlm_server.features import workspace_symbols as module
from dlm_server.features.symbols import Kind
from dlm_server.features.workspace_symbols import findable, score_of, search

ONE = declared("tone") + "# Harbour\n::instruction::\n### Q\nWho founded it?\n### A\nIngrid.\n"
TWO = "::instruction::\n### Q !probe\nWhich whale floats?\n### A\nNone.\n"


def names(query: str) -> list[tuple[int, str]]:
    documents = [findable(LiveDocument.open(text)) for text in (ONE, TWO)]
    return [(f.document, documents[f.document][f.index].name) for f in search(documents, query)]


def test_what_can_be_found() -> None:
    live = LiveDocument.open(ONE)
    assert [(f.kind, f.name, live.text[f.span.start : f.span.end]) for f in findable(live)] == [
        (Kind.HEADING, "Harbour", "# Harbour"),
        (Kind.QUESTION, "Who founded it?", "### Q"),
        (Kind.ADAPTER, "tone", "tone"),
    ]


def test_all_letters_in_order_best_first() -> None:
    assert names("founded") == [(0, "Who founded it?")]
    assert names("who") == [(0, "Who founded it?"), (1, "Which whale floats?")]
    assert names("w f") == [(0, "Who founded it?"), (1, "Which whale floats?")]
    assert names("WHF") == [(0, "Who founded it?"), (1, "Which whale floats?")]
    assert names("xyz") == []
    assert len(names("")) == 4


@pytest.mark.parametrize(
    ("better", "worse", "query"),
    [("who founded", "a whole found", "whof"), ("tone", "stolen", "tone"), ("ab", "axb", "ab")],
)
def test_words_and_runs_count_more(better: str, worse: str, query: str) -> None:
    good, bad = score_of(query, better), score_of(query, worse)
    assert good is not None
    assert bad is None or good > bad


def test_a_bound() -> None:
    with patch.object(module, "MAX_FOUND", 2):
        assert len(names("")) == 2
