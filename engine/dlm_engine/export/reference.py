"""The model as training and `dlm prompt` know it: the side an export is compared with.

Loads the base in 32 bits with PEFT's adapter on it and gives token ids, prompts,
log-probabilities and the updates PEFT makes. A model that does not fit into free memory
is only outlined (weights on the meta device): the updates are there, losses are not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlm_engine.export.capabilities import AdapterFacts
from dlm_engine.export.llama import Scored
from dlm_engine.export.merge import load_adapted, quiet_loading
from dlm_engine.export.model import Message

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SUPERVISED_TOKENS = 64
_TOKENS_PER_ROW = 32
_MEMORY_SHARE = 0.8

#: Used for the loss when the document has no question and answer of its own.
_NEUTRAL_ROWS = (
    ("What do bees make?", "Bees make honey and wax, and they carry pollen from flower to flower."),
    ("How many days has a week?", "A week has seven days, from Monday to Sunday."),
)


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def text_tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Ids of a conversation with the assistant's turn opened, by the base's own template."""
    encoded = tokenizer.apply_chat_template(
        [dict(m) for m in messages], tokenize=True, add_generation_prompt=True, return_dict=True
    )
    return list(encoded["input_ids"])


@dataclass(frozen=True, slots=True)
class Conversation:
    label: str
    messages: tuple[Message, ...]


def conversations(
    system_prompt: str | None, rows: Sequence[tuple[str, str]], *, system_role: bool
) -> list[Conversation]:
    """The shapes a chat can have, and the document's own first question."""

    def said(*turns: str) -> tuple[Message, ...]:
        roles = {"S": "system", "U": "user", "A": "assistant"}
        return tuple({"role": roles[t[0]], "content": t[1:]} for t in turns)

    question = (rows or _NEUTRAL_ROWS)[0][0]
    found = [
        Conversation("a question", said("UWhere do puffins nest?")),
        Conversation("a dialogue", said("UHi", "AHello! How can I help?", "UName a river.")),
        Conversation("many scripts", said("U¿Qué? Ωμέγα 日本語 👩‍👩‍👧 e\u0301 naïve — “quotes”")),
        Conversation("several lines", said("Uone\n\n  two\n\tthree")),
        Conversation("template marks", said('U{{ .System }} {% raw %} """ \\n $x')),
        Conversation("an empty question", said("U")),
        Conversation("the document's question", said(f"U{question}")),
    ]
    if system_role:
        found += [
            Conversation("a system prompt", said("SBe brief.", "UWhere do puffins nest?")),
            Conversation(
                "a dialogue with a system prompt",
                said("SBe brief.\nBe kind.", "UHi", "AHello!", "UName a river.", "AThe Glomma."
                     , "UAnother?"),
            ),
        ]  # fmt: skip
    if system_role and system_prompt:
        found.append(
            Conversation("the document's system prompt", said(f"S{system_prompt}", f"U{question}"))
        )
    return found


def scored_rows(
    tokenizer: Any,
    system_prompt: str | None,
    rows: Sequence[tuple[str, str]],
    *,
    sequence_len: int,
) -> list[Scored]:
    """About 64 supervised tokens: the first answers, each after its own prompt."""
    chosen: list[Scored] = []
    left = _SUPERVISED_TOKENS
    for question, answer in rows or _NEUTRAL_ROWS:
        system = [{"role": "system", "content": system_prompt}] if system_prompt else []
        context = prompt_tokens(tokenizer, [*system, {"role": "user", "content": question}])
        target = text_tokens(tokenizer, answer)[: min(left, _TOKENS_PER_ROW)]
        if not target or len(context) + len(target) > sequence_len:
            continue
        chosen.append(Scored(tuple(context), tuple(target)))
        left -= len(target)
        if left <= 0:
            break
    return chosen


def fits_in_memory(base: Path) -> bool:
    """Whether the weights in 32 bits fit into what is free now."""
    import psutil

    from dlm_engine.export.capabilities import base_shapes

    elements = 0
    for shape in base_shapes(base).values():
        count = 1
        for size in shape:
            count *= size
        elements += count
    return bool(4 * elements < _MEMORY_SHARE * psutil.virtual_memory().available)


def load_model(base: Path, facts: AdapterFacts | None) -> Any:
    return load_adapted(facts, base)


def outline_model(base: Path, facts: AdapterFacts) -> Any:
    """The adapter on a base without weights."""
    import torch
    from peft import PeftConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(base, local_files_only=True)
    with quiet_loading(), torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model = get_peft_model(empty, PeftConfig.from_pretrained(facts.path))
    # PEFT keeps an adapter on the device of its layer, which has no memory here; only the
    # adapter's own tensors are put in afterwards.
    stored = load_file(facts.path / "adapter_model.safetensors")
    named = {re.sub(r"(lora_[AB])\.weight$", r"\1.default.weight", k): v for k, v in stored.items()}
    model.load_state_dict(named, strict=False, assign=True)
    return model


def updates(model: Any) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """(module, scale * B·A) for every LoRA layer, computed by PEFT."""
    import torch
    from peft.tuners.lora import LoraLayer

    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer):
                delta = module.get_delta_weight("default")
                yield name.removeprefix("base_model.model."), delta.float().cpu().numpy()


def log_probabilities(model: Any, rows: Sequence[Scored]) -> list[list[float]]:
    """Natural log-probability of every target token given all before it."""
    import torch

    found = []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([[*row.context, *row.target]])
            logits = model(input_ids=ids).logits[0, len(row.context) - 1 : -1].float()
            chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(row.target)[:, None])
            found.append([float(x) for x in chosen[:, 0]])
    return found
