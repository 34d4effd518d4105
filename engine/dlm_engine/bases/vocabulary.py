"""How well a base's vocabulary fits a text: tokens per word, unknown ones, the words split most.

A word that the base knows is one token or two; one that it never met is spelt out, and takes more
steps to learn and more of the sequence. Reads the base's `tokenizer.json` alone, so that a light
command can say it; where that is not on this machine there is nothing to say, and nothing is got.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: English prose takes 1.2 to 1.5 in the vocabularies of the registry, code about 2.5.
MANY: Final = 2.8
#: Share of tokens that stand for something the base cannot write at all.
UNKNOWN: Final = 0.001
_LISTED: Final = 10
#: A word in so many tokens is split.
_SPLIT: Final = 3
#: Scripts without spaces: each of their characters counts as a word.
_WORD: Final = re.compile(r"[\u2e80-\U0010ffff]|[^\W_\u2e80-\U0010ffff]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class SplitWord:
    """A word that stands `times` in the text, each time in `tokens` tokens."""

    word: str
    tokens: int
    times: int


@dataclass(frozen=True, slots=True)
class VocabularyFit:
    """`unknown` tokens stand for what the base cannot write; `split` are the most split words."""

    words: int
    tokens: int
    unknown: int
    split: tuple[SplitWord, ...]

    @property
    def tokens_per_word(self) -> float:
        return self.tokens / max(1, self.words)

    @property
    def remark(self) -> str | None:
        """What an author should know of it, if it fits badly."""
        if self.unknown > UNKNOWN * self.tokens:
            return (
                f"{self.unknown} of {self.tokens} tokens are unknown to this base, which can "
                "neither read nor write them; choose another base"
            )
        if self.tokens_per_word > MANY:
            return (
                f"this base takes {self.tokens_per_word:.1f} tokens a word (English: about 1.3): "
                "it has met little of this language; another base may learn it better"
            )
        return None


def vocabulary_fit(tokenizer_file: Path, texts: Iterable[str]) -> VocabularyFit | None:
    """How the tokenizer in `tokenizer_file` splits `texts`; None for no words or no such file."""
    if not tokenizer_file.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        model = json.loads(tokenizer_file.read_bytes()).get("model", {})
    except Exception:
        # The library raises bare `Exception` for a file it cannot read.
        return None
    unknown_id = tokenizer.token_to_id(str(model.get("unk_token") or ""))

    def ids(text: str) -> list[int]:
        # A lone surrogate is no text for the library.
        plain = text.encode("utf-8", "replace").decode("utf-8")
        return list(tokenizer.encode(plain, add_special_tokens=False).ids)

    words: Counter[str] = Counter()
    tokens = unknown = 0
    for text in texts:
        words.update(_WORD.findall(text))
        found = ids(text)
        tokens += len(found)
        unknown += found.count(unknown_id) if unknown_id is not None else 0
    if not words:
        return None
    pieces = {word: len(ids(f" {word}")) for word in words}
    order = sorted(words, key=lambda word: (-pieces[word], -words[word], word))
    split = [SplitWord(w, pieces[w], words[w]) for w in order if pieces[w] >= _SPLIT]
    return VocabularyFit(words.total(), tokens, unknown, tuple(split[:_LISTED]))
