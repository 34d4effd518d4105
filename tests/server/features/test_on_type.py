"""What Enter adds: `‸` is the cursor after the line end was typed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.features.cursor import HEAD, at_cursor
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument, apply_edits
from dlm_server.features.on_type import on_enter


@pytest.mark.parametrize(
    ("marked", "added"),
    [
        ("::instruction::\n‸", "### Q\n"),
        ("::instruction#tone::  \n‸\n\n::prose::\na\n", "### Q\n"),
        ("a\n\n::preference::\n‸\n", "### Prompt\n"),
        (HEAD + "\n::instruction::\n‸\n", "### Q\n"),
        ("::instruction::\r\n‸\r\n", "### Q\r\n"),
        ("::instruction::\n‸\n### Q\na\n", ""),
        ("::instruction::\n‸words\n", ""),
        ('::instruction::\n<!-- dlm-auto-harvest: source="x" -->\n‸', ""),
        ("::prose::\n‸", ""),
        ("```\n::instruction::\n‸\n```\n", ""),
        (" ::instruction::\n‸", ""),
        ("::instruction\n‸", ""),
        ("---\n::instruction::\n‸\n---\n", ""),
        ("::instruction::\n\n‸", ""),
        ("::instruction::\n### Q\nWhy?\n‸", ""),
        ("\n‸", ""),
        ("‸", ""),
    ],
)
def test_enter(marked: str, added: str) -> None:
    live, offset = at_cursor(marked)
    edits = on_enter(live, offset)
    assert [e.new_text for e in edits] == ([added] if added else [])
    text = apply_edits(live.text, edits)
    assert text == live.text[:offset] + added + live.text[offset:]


@given(documents(), st.data())
@settings(deadline=None, max_examples=150)
def test_only_headers_are_ever_added(text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    live = LiveDocument.open(text)
    edits = on_enter(live, offset)
    assert "".join(e.new_text for e in edits).strip() in ("", "### Q", "### Prompt")
    before = [s.id for s in live.document.sections if s.content]
    after = LiveDocument.open(apply_edits(text, edits)).document.sections
    assert [s.id for s in after if s.content not in ("### Q", "### Prompt")] == before or not edits
