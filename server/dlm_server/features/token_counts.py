"""How many tokens a text has: counted where the base's tokenizer is at hand, else guessed.

`tokenizers` is a library of its own, so counting needs neither torch nor transformers. A
tokenizer is read from the local cache only, by a thread, because reading one takes a
quarter of a second: until it is there, and where it is not, counts are guesses and say so.
One takes 36 MB of memory as well, so it is let go when nobody has asked for a while.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

#: characters per token of English prose in the vocabularies of the registry
_CHARACTERS = 4.2
#: a longer text is counted by a guess: encoding it would hold up typing
_MOST_CHARACTERS = 200_000


class Encoding(Protocol):
    """Turns a text into as many things as it has tokens."""

    def __call__(self, text: str, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Count:
    tokens: int
    exact: bool

    def __str__(self) -> str:
        sign = "" if self.exact else "~"
        return f"{sign}{self.tokens} token{'' if self.tokens == 1 else 's'}"


def count(texts: Iterable[str], encoding: Encoding | None) -> Count:
    """The tokens of `texts` together; a guess without an encoding."""
    parts = [text for text in texts if text.strip()]
    characters = sum(map(len, parts))
    if encoding is not None and characters <= _MOST_CHARACTERS:
        return Count(sum(encoding(part) for part in parts), True)
    return Count(round(characters / _CHARACTERS) or len(parts), False)


class Tokenizers:
    """The tokenizers read so far, by file. `ready` never waits; `then` runs in the reader."""

    def __init__(
        self,
        read: Callable[[Path], Encoding],
        idle_seconds: float,
        let_go: Callable[[], None],
    ) -> None:
        self._read = read
        self._idle_seconds = idle_seconds
        self._let_go = let_go
        self._known: dict[Path, Encoding | None] = {}
        self._readers: dict[Path, threading.Thread] = {}
        self._used = 0.0
        self._lock = threading.Lock()

    def ready(self, file: Path, then: Callable[[], None]) -> Encoding | None:
        """The encoding of a `tokenizer.json`; None if there is none, and while it is read.

        `then` is called once when the reading that this call started has ended.
        """
        with self._lock:
            self._used = time.monotonic()
            if file in self._known:
                return self._known[file]
            if file not in self._readers and file.is_file():
                name = f"dlm-tokenizer-{file.parent.name}"
                reader = threading.Thread(
                    target=self._load, args=(file, then), name=name, daemon=True
                )
                self._readers[file] = reader
                reader.start()
        return None

    def wait(self, file: Path) -> None:
        """Until `file` has been read, if someone has asked for it."""
        reader = self._readers.get(file)
        if reader is not None:
            reader.join()

    def _load(self, file: Path, then: Callable[[], None]) -> None:
        try:
            encoding: Encoding | None = self._read(file)
        except Exception:
            # The library raises bare `Exception` for a file it cannot read: counts stay guesses.
            encoding = None
        with self._lock:
            first = not self._known
            self._known[file] = encoding
            self._used = time.monotonic()
        then()
        if first:
            self._expire_in(self._idle_seconds)

    def _expire_in(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()

    def _expire(self) -> None:
        with self._lock:
            left = self._used + self._idle_seconds - time.monotonic()
            if left <= 0:
                self._known.clear()
                self._readers.clear()
        if left > 0:
            self._expire_in(left)
        else:
            self._let_go()


def return_memory() -> None:
    """Have the C library give freed memory back to the system; glibc keeps it otherwise."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        # Other C libraries have no such function and need none.
        return


def read_tokenizer(file: Path) -> Encoding:
    """The tokenizer in a `tokenizer.json`, remembering the texts it counted last."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))

    @lru_cache(maxsize=4096)
    def counted(text: str) -> int:
        # A lone surrogate is no text for the library.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return len(tokenizer.encode(clean, add_special_tokens=False).ids)

    return counted


TOKENIZERS = Tokenizers(read_tokenizer, 60.0, return_memory)
