"""Hints as the text with `{label}` where they stand."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from tests.server.features.cursor import HEAD

from dlm_engine.bases import REGISTRY
from dlm_engine.document import LiveDocument, Span
from dlm_server.features.hints import Hint, answer_hints, setting_hints, shortened, token_hints

BASE = REGISTRY["smollm2-135m"]
TRAINING = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
base_model: smollm2-135m
training:
  target_modules: auto
  sequence_len: 16384
---
"""


def shown(text: str, hints: tuple[Hint, ...]) -> str:
    for hint in sorted(hints, key=lambda h: -h.offset):
        text = f"{text[: hint.offset]}{{{hint.label}}}{text[hint.offset :]}"
    return text


def everywhere(live: LiveDocument) -> Span:
    return Span(0, len(live.text))


@dataclass(frozen=True)
class Result:
    state: str
    adapted: str | None


def test_what_settings_resolve_to() -> None:
    live = LiveDocument.open(TRAINING)
    hints = setting_hints(live, BASE, everywhere(live))
    assert shown(TRAINING, hints).splitlines()[2:6] == [
        "base_model: smollm2-135m{→ HuggingFaceTB/SmolLM2-135M-Instruct}",
        "training:",
        "  target_modules: auto{→ all 7 linear layers}",
        "  sequence_len: 16384{→ 8192}",
    ]
    modules = next(h for h in hints if "linear" in h.label)
    assert modules.tooltip == "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj"


def test_nothing_where_nothing_is_resolved() -> None:
    text = TRAINING.replace("auto", "[q_proj]").replace("16384", "512")
    live = LiveDocument.open(text)
    assert len(setting_hints(live, BASE, everywhere(live))) == 1
    assert setting_hints(live, None, everywhere(live)) == ()
    assert setting_hints(live, BASE, Span(0, 5)) == ()


def test_tokens_of_each_section() -> None:
    text = (
        HEAD + "\nSome prose of ten words, or about so many.\n\n::instruction:: \n### Q\nWhy?\n"
        "### A\nBecause of that.\n\n"
        "::preference::\n### Prompt\na\n### Chosen\nbc\n### Rejected\nd\n"
        '\n::image path="a"::\ncaption\n::prose::\n'
    )
    live = LiveDocument.open(text)
    guessed = shown(text, token_hints(live, None, everywhere(live)))
    assert "about so many.{~10 tokens}\n" in guessed
    assert "::instruction::{~5 tokens} \n" in guessed
    assert "::preference::{~1 token}\n" in guessed
    assert guessed.count("{") == 3
    counted = shown(text, token_hints(live, lambda part: len(part.split()), everywhere(live)))
    assert "::instruction::{4 tokens} \n" in counted
    assert "about so many.{9 tokens}\n" in counted


def test_only_the_range_is_counted() -> None:
    live = LiveDocument.open("::prose::\na\n\n::prose::\nb\n")
    asked: list[str] = []

    def encoding(part: str) -> int:
        asked.append(part)
        return 1

    assert len(token_hints(live, encoding, Span(0, 9))) == 1
    assert asked == ["a"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result("ok", "Ingrid\n  Solveng"), "Who?{⇒ Ingrid Solveng}"),
        (Result("stale", "Ingrid"), "Who?{⇒ Ingrid · stale}"),
        (Result("failed", "x" * 60), "Who?{⇒ " + "x" * 39 + "… · failed}"),
        (Result("running", None), "Who?"),
        (None, "Who?"),
    ],
)
def test_answers(result: Result | None, expected: str) -> None:
    text = "::instruction::\n### Q\nWhen?\n### A\nThen.\n### Q\nWho?\n### A\nShe.\n"
    live = LiveDocument.open(text)
    known = {(live.document.sections[0].id, 1): result}
    hints = answer_hints(live, lambda *key: known.get(key), everywhere(live), 2)
    assert shown(text, hints) == text.replace("Who?", expected)
    assert all(h.tooltip == result.adapted for h in hints if result)
    assert answer_hints(live, lambda *key: known.get(key), Span(0, 20), 2) == ()


def test_the_tooltip_of_an_answer_has_so_many_lines_of_it() -> None:
    live = LiveDocument.open("::instruction::\n### Q\nWhen?\n### A\nThen.\n")
    said = Result("ok", "a\nb\nc")
    tooltips = [
        answer_hints(live, lambda *key: said, everywhere(live), most)[0].tooltip for most in (3, 2)
    ]
    assert tooltips == ["a\nb\nc", "a\nb\n…"]


def test_one_line_and_short() -> None:
    assert shortened("a\n b", 10) == "a b"
    assert shortened("abcdef", 4) == "abc…"
