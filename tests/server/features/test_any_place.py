"""Any text, any place: every feature answers, within the text, and never raises."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument, Span, apply_edits
from dlm_server.features.actions import actions, adds_error, fix_all
from dlm_server.features.adapters import RenameRefused, rename, same_adapter
from dlm_server.features.completion import Surroundings, complete
from dlm_server.features.hover import Known, hover
from dlm_server.features.links import links

LINES = (
    "---", "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7", "dlm_version: 3", "base_model: hf:a/b",
    "base_model: smollm2-13m", "training:", "  adapters:", "    tone: {}", "    'voice':",
    "      lora_r: 8", "  sources:", "    - path: x", "      include: [", "  - ", "  cpt: {", "}",
    "export: {default_quant: Q8_0, ", "system_prompt: |", "  text", "# note", "\ttab: 1", "  ",
    "", "plain 🦆 prose", "::instruction::", "::instruction#tone::", "::prose#::", "::Prose::  ",
    "::preference", '::image path="a.png" alt="x"::', '::image path="', ":: audio ::", "### Q",
    "### Q !probe", "### A", "### Prompt", "### Chosen", "## q", "```", "~~~", "::",
    '<!-- dlm-auto-harvest: source="x" -->', "\ufeff---", "a\u2028b",
)  # fmt: skip

near_texts = st.builds(
    lambda lines, ends: "".join(a + b for a, b in zip(lines, ends, strict=False)),
    st.lists(st.sampled_from(LINES), max_size=14),
    st.lists(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", ""]), min_size=14, max_size=14),
)
texts = near_texts | documents()


@settings(max_examples=300, deadline=None)
@given(texts, st.integers(0, 400), st.integers(0, 40))
def test_nothing_raises_and_every_edit_lies_in_the_text(text: str, at: int, length: int) -> None:
    live = LiveDocument.open(text)
    start = min(at, len(text))
    selection = Span(start, min(start + length, len(text)))
    for item in complete(live, start, Surroundings()).items:
        assert item.edit.span.start <= start <= item.edit.span.end <= len(text)
        assert live.line_of(item.edit.span.start) == live.line_of(item.edit.span.end)
    shown = hover(live, start, Known())
    assert shown is None or shown.span.start <= start <= shown.span.end
    for link in links(live, None):
        assert text[link.span.start : link.span.end].strip()
    for found in same_adapter(live, start):
        assert text[found.span.start : found.span.end] == found.name
    try:
        renamed = apply_edits(text, rename(live, start, "other"))
    except RenameRefused:
        pass
    else:
        after = LiveDocument.open(renamed).diagnostics
        assert [p.code for p in after] == [p.code for p in live.diagnostics]
    for action in actions(live, live.diagnostics, selection):
        assert all(0 <= e.span.start <= e.span.end <= len(text) for e in action.edits)


@settings(max_examples=150, deadline=None)
@given(texts)
def test_fixing_all_ends_and_adds_no_error(text: str) -> None:
    live = LiveDocument.open(text)
    new = LiveDocument.open(apply_edits(text, fix_all(live)))
    assert not adds_error(live, new)
    assert fix_all(new) == ()
