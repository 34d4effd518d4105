"""How a base's vocabulary fits a text: counted with its tokenizer alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from dlm_engine.bases.vocabulary import SplitWord, vocabulary_fit

KNOWN = ["the", "boat", "lies", "at", "pier", "."]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Knows a few words, the letters of `buoy`, and nothing else."""
    pieces = ["[UNK]", *KNOWN, "b", "##u", "##o", "##y"]
    tokenizer = Tokenizer(
        models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_words_tokens_and_what_is_split_most(file: Path) -> None:
    fit = vocabulary_fit(file, ["the boat lies at the pier.", "the buoy lies at the buoy."])
    assert fit is not None
    assert (fit.words, fit.tokens, fit.unknown) == (12, 20, 0)
    assert fit.tokens_per_word == pytest.approx(20 / 12)
    assert fit.split == (SplitWord("buoy", 4, 2),)
    assert fit.remark is None


def test_what_the_base_cannot_write_is_said(file: Path) -> None:
    fit = vocabulary_fit(file, ["the boat lies at Øster pier."])
    assert fit is not None
    assert fit.unknown == 1
    assert fit.remark is not None
    assert "1 of 7 tokens are unknown" in fit.remark


def test_a_language_the_base_never_met_is_said(file: Path) -> None:
    fit = vocabulary_fit(file, ["buoy buoy buoy"])
    assert fit is not None
    assert fit.remark is not None
    assert "4.0 tokens a word" in fit.remark


def test_only_ten_words_are_listed_longest_and_commonest_first(file: Path) -> None:
    made = [f"b{'u' * n}" for n in range(2, 20)]
    fit = vocabulary_fit(file, [" ".join([*made, "buuu", "booo", "booo", "booo"])])
    assert fit is not None
    assert len(fit.split) == 10
    assert [each.tokens for each in fit.split] == list(range(20, 10, -1))
    short = vocabulary_fit(file, ["buuu booo booo"])
    assert short is not None
    assert [each.word for each in short.split] == ["booo", "buuu"]


@pytest.mark.parametrize("texts", [[], ["", "  \n"], ["— …"]])
def test_no_words_are_nothing_to_say(texts: list[str], file: Path) -> None:
    assert vocabulary_fit(file, texts) is None


def test_no_tokenizer_is_nothing_to_say(tmp_path: Path) -> None:
    assert vocabulary_fit(tmp_path / "tokenizer.json", ["word"]) is None
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 3}))
    assert vocabulary_fit(tmp_path / "tokenizer.json", ["word"]) is None


def test_a_lone_surrogate_is_no_accident(file: Path) -> None:
    assert vocabulary_fit(file, ["the boat \ud800"]) is not None
