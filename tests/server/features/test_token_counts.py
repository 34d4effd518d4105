"""Counting tokens: a guess until the tokenizer of the base has been read."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from dlm_server.features.token_counts import (
    Count,
    Encoding,
    Tokenizers,
    count,
    read_tokenizer,
    return_memory,
)


def words(text: str) -> int:
    return len(text.split())


def test_exact_counts_and_guesses() -> None:
    assert str(count(["one two", "three"], words)) == "3 tokens"
    assert str(count(["one"], words)) == "1 token"
    assert str(count(["x" * 42], None)) == "~10 tokens"
    assert str(count(["a"], None)) == "~1 token"
    assert count(["  ", ""], None) == Count(0, False)


def test_very_long_texts_are_guessed() -> None:
    assert not count(["x " * 200_000], words).exact


def test_a_tokenizer_is_read_once_in_the_background(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    read: list[Path] = []
    told: list[str] = []

    def reader(path: Path) -> Encoding:
        read.append(path)
        return words

    known = Tokenizers(reader, 60.0, return_memory)
    assert known.ready(file, lambda: told.append("missing")) is None
    file.touch()
    assert known.ready(file, lambda: told.append("read")) is None
    known.wait(file)
    assert known.ready(file, lambda: told.append("again")) is words
    assert read == [file]
    assert told == ["read"]


def test_a_file_that_is_no_tokenizer_leaves_the_guess(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    known = Tokenizers(read_tokenizer, 60.0, return_memory)
    told: list[str] = []
    known.ready(file, lambda: told.append("read"))
    known.wait(file)
    assert known.ready(file, lambda: told.append("again")) is None
    assert told == ["read"]


def test_a_real_tokenizer_counts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    file = tmp_path / "tokenizer.json"
    tokenizer.save(str(file))
    encoding = read_tokenizer(file)
    assert encoding("a b a") == 3
    assert encoding("a \ud800") == 2


def test_an_idle_tokenizer_is_let_go_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.touch()
    read: list[Path] = []
    gone = Event()

    def reader(path: Path) -> Encoding:
        read.append(path)
        return words

    known = Tokenizers(reader, 0.0, gone.set)
    known.ready(file, lambda: None)
    assert gone.wait(10)
    again = Event()
    known.ready(file, again.set)
    assert again.wait(10)
    assert read == [file, file]


def test_a_tokenizer_in_use_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.touch()
    gone = Event()
    known = Tokenizers(lambda path: words, 60.0, gone.set)
    known.ready(file, lambda: None)
    known.wait(file)
    known._expire()
    assert known.ready(file, lambda: None) is words
    assert not gone.is_set()


def test_memory_is_returned_where_the_c_library_can() -> None:
    return_memory()
