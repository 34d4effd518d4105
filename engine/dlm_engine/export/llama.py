"""Running a GGUF in llama.cpp: one child process, one request with all the questions in it.

The model is loaded once per request, in a process of its own (`llama_child`) with two
threads and a time limit, so that a crash in the native library is a message here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlm_engine.errors import ExportError
from dlm_engine.export import engines
from dlm_engine.export.model import Message

_THREADS = 2
_CONTEXT_STEP = 256


@dataclass(frozen=True, slots=True)
class Text:
    """A text to tokenise; `special` lets llama.cpp add its beginning-of-text token."""

    text: str
    special: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    """Token ids: what stands before, and what is scored, token by token."""

    context: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """Answers in the order of the questions; `scores` are natural log-probabilities."""

    tokens: tuple[tuple[int, ...], ...]
    prompts: tuple[Prompt, ...]
    scores: tuple[tuple[float, ...], ...]
    answers: tuple[str, ...]


def run_gguf(
    base: Path,
    adapter: Path | None,
    *,
    tokenize: Sequence[Text] = (),
    prompts: Sequence[Sequence[Message]] = (),
    score: Sequence[Scored] = (),
    ask: Sequence[Sequence[Message]] = (),
    max_tokens: int = 64,
    chat_template: str | None = None,
    context: int = 2048,
    seconds: float | None = None,
) -> Reply:
    """Load a GGUF, with an adapter or without, and answer everything in one go.

    `chat_template` replaces the Jinja template inside the file. Answers are greedy
    (temperature 0) and at most `max_tokens` long. `seconds` limits the whole run.

    Raises:
        ExportError: xllamacpp is missing, or llama.cpp refused the files, crashed or hung.
    """
    engines.require_packages("xllamacpp")
    longest = max((len(s.context) + len(s.target) for s in score), default=0)
    request: dict[str, Any] = {
        "base": str(base),
        "adapter": str(adapter) if adapter else None,
        "chat_template": chat_template,
        "context": max(context, longest + _CONTEXT_STEP),
        "threads": max(1, min(_THREADS, os.cpu_count() or 1)),
        "tokenize": [{"text": t.text, "special": t.special} for t in tokenize],
        "prompts": [[dict(m) for m in messages] for messages in prompts],
        "score": [{"context": s.context, "target": s.target} for s in score],
        "ask": [[dict(m) for m in messages] for messages in ask],
        "max_tokens": max_tokens,
    }
    output = engines.run_child(
        "llama.cpp",
        engines.python_module("dlm_engine.export.llama_child"),
        seconds=seconds or engines.time_limit(base.stat().st_size),
        stdin=json.dumps(request).encode(),
    )
    try:
        told = json.loads(output)
        return Reply(
            tuple(tuple(t) for t in told["tokens"]),
            tuple(Prompt(p["text"], tuple(p["tokens"])) for p in told["prompts"]),
            tuple(tuple(s) for s in told["scores"]),
            tuple(told["answers"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError("llama.cpp", f"gave no readable answer ({error})", "") from error


def ask_gguf(
    base_gguf: Path,
    adapter_gguf: Path | None,
    conversations: Sequence[Sequence[Message]],
    max_tokens: int = 64,
    *,
    chat_template: str | None = None,
    context: int = 2048,
    seconds: float | None = None,
) -> list[str]:
    """Greedy answers of an exported model, one per conversation, all in one process start.

    Each conversation is a list of `{"role", "content"}` messages; put the document's
    system prompt first where it has one. Raises `ExportError` as `run_gguf` does.
    """
    reply = run_gguf(
        base_gguf,
        adapter_gguf,
        ask=conversations,
        max_tokens=max_tokens,
        chat_template=chat_template,
        context=context,
        seconds=seconds,
    )
    return list(reply.answers)
