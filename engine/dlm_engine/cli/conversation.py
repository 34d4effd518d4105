"""A conversation in the terminal: its turns, its settings, its commands and its file.

Pure but for the file, which is replaced in one rename, so a kill at any moment leaves the
conversation as it was after some answer. It is a list of messages with role and content, the
form that other tools read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from dlm_engine.errors import DocumentError, StoreError, UsageError
from dlm_engine.store import disk_errors, write_atomic

#: A file that is larger was not written by a person and a model taking turns.
_MAX_BYTES: Final = 16 * 2**20

HELP: Final = """\
/help               this list
/exit, /quit        leave, as Ctrl-D does
/clear              forget the conversation
/history            show it
/save PATH          write it to a file, as JSON
/params [NAME=VALUE ...]
                    show or change temperature, top_p, top_k, repetition_penalty,
                    max_tokens (also max_new_tokens), seed
/version [NUMBER|base|current]
                    show or choose what is asked; current follows each training
/adapter [NAME|MIX|auto]
                    show or choose who answers: a named adapter, a mix as a=0.7,b=0.3,
                    or whom the document says: its gate, or its only adapter
/model              show what answers, and on which base
Ctrl-C stops an answer; what was said of it stays in the conversation."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How answers are drawn; None is the document's own choice."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int = 256
    seed: int | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None

    def changed(self, words: list[str]) -> Parameters:
        """With every `name=value` of `words`; `UsageError` for the first that makes no sense."""
        changes: dict[str, Any] = {}
        for word in words:
            name, equals, value = word.partition("=")
            name = _OTHER_NAMES.get(name, name)
            if not equals or name not in _READERS:
                known = ", ".join(_READERS)
                raise UsageError("/params", f"{word!r} is not NAME=VALUE", f"names: {known}")
            kind, low, high = _READERS[name]
            try:
                number = None if value in ("", "none") else kind(value)
            except ValueError:
                raise UsageError("/params", f"{value!r} is not a number", f"{name}=…") from None
            if name == "max_tokens" and number is None:
                number = Parameters().max_tokens
            if number is not None and number > high == _LARGEST:
                raise UsageError("/params", f"{name} must fit in 64 bits", f"{name}=…")
            if number is not None and not low <= number <= high:
                limits = f"at least {low:g}" if high == _LARGEST else f"from {low:g} to {high:g}"
                raise UsageError("/params", f"{name} has to be {limits}", f"it was {value}")
            changes[name] = number
        return replace(self, **changes)

    def __str__(self) -> str:
        shown = {name: getattr(self, name) for name in _READERS}
        return "  ".join(f"{n}={'none' if v is None else v}" for n, v in shown.items())


#: What torch takes.
_LARGEST: Final = 2**63 - 1
_READERS: Final[Mapping[str, tuple[type[int] | type[float], float, float]]] = {
    "temperature": (float, 0.0, 5.0),
    "top_p": (float, 1e-6, 1.0),
    "top_k": (int, 1, _LARGEST),
    "repetition_penalty": (float, 0.1, 10.0),
    "max_tokens": (int, 1, _LARGEST),
    "seed": (int, 0, _LARGEST),
}
#: As Transformers calls it.
_OTHER_NAMES: Final = {"max_new_tokens": "max_tokens"}


@dataclass
class Conversation:
    """What was asked and answered, oldest first; `forgotten` of them the model no longer reads."""

    turns: list[tuple[str, str]] = field(default_factory=list)
    forgotten: int = 0

    @property
    def earlier(self) -> tuple[tuple[str, str], ...]:
        return tuple(self.turns[self.forgotten :])

    def save(self, path: Path) -> None:
        """Replace `path`; `DocumentError` when the disk refuses."""
        messages = [
            {"role": role, "content": content}
            for turn in self.turns
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
        text = json.dumps(messages, ensure_ascii=False, indent=2)
        try:
            write_atomic(path, text.encode("utf-8", "replace") + b"\n")
        except StoreError as error:
            remedy = "check its folder and the disk, or name another file"
            raise DocumentError(str(path), error.problem, remedy) from error


def load(path: Path) -> Conversation:
    """The conversation in `path`, an empty one where there is no such file.

    Raises:
        DocumentError: it is no list of questions and answers in turn.
    """
    with disk_errors(path):
        if not path.exists():
            return Conversation()
        if path.stat().st_size > _MAX_BYTES:
            raise _not_ours(path, "it is too large")
        data = path.read_bytes()
    try:
        messages = json.loads(data.decode("utf-8"))
        roles = [message["role"] for message in messages]
        contents = [message["content"] for message in messages]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _not_ours(path, "it is not a list of messages") from error
    turns = list(zip(contents[::2], contents[1::2], strict=False))
    whole = roles == ["user", "assistant"] * len(turns)
    if not whole or not all(isinstance(content, str) for content in contents):
        raise _not_ours(path, "its messages are not questions and answers in turn")
    return Conversation(turns)


def _not_ours(path: Path, why: str) -> DocumentError:
    return DocumentError(str(path), f"is not a conversation: {why}", "name another file")


def version_of(word: str) -> int | Literal["base"] | None:
    """What `/version` was told; None for the current one, whichever that is."""
    if word == "base":
        return "base"
    if word == "current":
        return None
    if word.isdecimal() and int(word) > 0:
        return int(word)
    raise UsageError("/version", f"{word!r} is no version", "a number, base or current")
