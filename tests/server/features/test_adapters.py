"""Adapters: found from any of their names, renamed in all of them."""

from __future__ import annotations

import pytest
from tests.server.features.cursor import HEAD, at_cursor, declared, places

from dlm_engine.document import LiveDocument, apply_edits
from dlm_server.features.adapters import (
    RenameRefused,
    occurrence_at,
    occurrences,
    rename,
    same_adapter,
    undeclared,
)
from dlm_server.features.adapters import (
    declared as declared_in,
)

TWO = declared("⟦tone⟧", "voice") + (
    "::instruction#⟦tone⟧::\n### Q\na\n### A\nb\n::prose#voice::\ntone #tone\n"
    "```\n::prose#tone::\n```\n::prose#⟦tone⟧::\nx\n"
)


def test_every_name_of_an_adapter_is_found_from_every_other() -> None:
    live, spans = places(TWO)
    for span in spans:
        for offset in (span.start, span.end):
            assert [o.span for o in same_adapter(live, offset)] == spans
    assert [o.declaration for o in same_adapter(live, spans[1].start)] == [True, False, False]


@pytest.mark.parametrize(
    "marked",
    [
        declared("tone") + "::pro‸se#tone::\nx\n",
        declared("tone") + "to‸ne\n",
        declared("tone") + "::prose#tone::\nx ‸\n",
        HEAD + "::prose#‸::\nx\n",
        declared("tone").replace("lora_r", "lora‸_r"),
    ],
)
def test_elsewhere_there_is_no_adapter(marked: str) -> None:
    live, offset = at_cursor(marked)
    assert occurrence_at(live, offset) is None
    assert same_adapter(live, offset) == ()


@pytest.mark.parametrize(
    "frontmatter",
    [
        "training:\n  adapters:\n    tone: {}\n",
        "training: {adapters: {tone: {}}}\n",
        'training:\n  adapters:\n    "tone":\n      lora_r: 8\n',
        "training:\n  adapters:\n    'tone': {}\n  seed: [1\n",
    ],
)
def test_a_name_is_renamed_however_it_is_written(frontmatter: str) -> None:
    text = HEAD[:-4] + frontmatter + "---\n::prose#tone::\nx\n"
    live = LiveDocument.open(text)
    for at in occurrences(live):
        new = apply_edits(text, rename(live, at.span.start, "voice"))
        assert new == text.replace("tone", "voice")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("voice", "declared already"),
        ("other", "named by a fence already"),
        ("Tone", "no adapter name"),
        ("", "no adapter name"),
        ("a" * 33, "no adapter name"),
        ("a b", "no adapter name"),
        ("true", "YAML takes it for no text"),
        ("null", "YAML takes it for no text"),
        ("versions", "is not a usable adapter name: use .* not `versions`"),
    ],
)
def test_a_name_that_cannot_be_taken_is_refused_with_the_reason(name: str, why: str) -> None:
    live, offset = at_cursor(declared("to‸ne", "voice") + "::prose#other::\nx\n")
    with pytest.raises(RenameRefused, match=why):
        rename(live, offset, name)


def test_the_same_name_changes_nothing() -> None:
    live, offset = at_cursor(declared("to‸ne") + "::prose#tone::\nx\n")
    assert apply_edits(live.text, rename(live, offset, "tone")) == live.text


def test_names_used_and_not_declared() -> None:
    live = LiveDocument.open(
        declared("tone") + "::prose#tone::\nx\n::prose#b::\nx\n::prose#a::\nx\n::prose#b::\ny\n"
        "::prose#true::\nx\n::prose#versions::\nx\n"
    )
    assert undeclared(live) == ("b", "a")
    assert declared_in(live) == ("tone",)
