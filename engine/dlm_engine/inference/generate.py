"""Base and adapter in memory, and answers from them, a piece at a time.

The prompt is the very ids that training used (`data.Chat`), generation ends at the
tokens that end a turn for this base, and nothing but the given seed decides a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from dlm_engine.data.chat import Chat, Turn
from dlm_engine.errors import InferenceError
from dlm_engine.inference.model import Sampling
from dlm_engine.inference.rows import settle_rows


@dataclass(frozen=True)
class Answer:
    text: str
    tokens: int
    stopped: Literal["end", "length", "cancelled"]


def attach(base: Any, adapter: Path) -> Any:
    """`base` with the PEFT adapter in `adapter`; raises `InferenceError` when they do not fit."""
    from peft import PeftModel

    try:
        model = PeftModel.from_pretrained(base, str(adapter), is_trainable=False).eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InferenceError(
            str(adapter), f"does not fit this base ({str(error)[:200]})", "train the document again"
        ) from error
    settle_rows(model)
    return model


def generate(
    model: Any,
    chat: Chat,
    question: str,
    sampling: Sampling,
    on_text: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] = lambda: False,
    earlier: Sequence[Turn] = (),
) -> Answer:
    """Ask one question; `on_text` gets the answer in pieces of whole characters.

    `earlier` are the turns before it, all of which the model reads. `cancelled` is asked after
    every token; when it says so the answer ends there.
    """
    ids = chat.prompt_ids(question, earlier)
    room = int(getattr(model.config, "max_position_embeddings", 1 << 30)) - len(ids)
    if room < 1:
        raise InferenceError(
            "the question", f"is {len(ids)} tokens long, more than the base can read", "shorten it"
        )
    streamer = _Pieces(chat, on_text)
    stop = _Stop(cancelled)
    output = _run(model, chat, [ids], sampling, min(sampling.max_tokens, room), streamer, [stop])[0]
    streamer.end()
    answer = _answer(chat, output)
    return replace(answer, stopped="cancelled") if stop.asked else answer


def fitting(chat: Chat, question: str, earlier: Sequence[Turn], room: int) -> tuple[Turn, ...]:
    """The newest turns of `earlier` that fit, whole, into `room` tokens with the question."""
    kept = tuple(earlier)
    while kept and len(chat.prompt_ids(question, kept)) > room:
        kept = kept[1:]
    return kept


def answers(
    model: Any, chat: Chat, questions: Sequence[str], max_tokens: int, batch: int = 32
) -> list[str]:
    """The likeliest answers to many questions, in order, several at a time."""
    found: list[str] = []
    for at in range(0, len(questions), batch):
        prompts = [chat.prompt_ids(question) for question in questions[at : at + batch]]
        outputs = _run(model, chat, prompts, Sampling(), max_tokens, None)
        found += [_answer(chat, output).text for output in outputs]
    return found


def _run(
    model: Any,
    chat: Chat,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    max_tokens: int,
    streamer: Any,
    stopping: Sequence[Callable[..., torch.Tensor]] = (),
) -> list[list[int]]:
    """New token ids of each prompt; shorter prompts are padded on the left and masked."""
    width = max(len(ids) for ids in prompts)
    input_ids = torch.full((len(prompts), width), chat.facts.pad_id)
    mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(prompts):
        input_ids[row, width - len(ids) :] = torch.tensor(ids)
        mask[row, width - len(ids) :] = 1
    drawing: dict[str, Any] = {
        "do_sample": False,
        "temperature": None,
        "top_p": None,
        "top_k": None,
    }
    if sampling.temperature > 0:
        drawing = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p or 1.0,
            "top_k": sampling.top_k or 0,
        }
    from transformers import StoppingCriteriaList

    device = next(model.parameters()).device
    with torch.inference_mode(), torch.random.fork_rng(enabled=sampling.seed is not None):
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        output = model.generate(
            input_ids=input_ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=max_tokens,
            pad_token_id=chat.facts.pad_id,
            eos_token_id=list(chat.facts.stop_ids),
            repetition_penalty=sampling.repetition_penalty,
            num_beams=1,
            streamer=streamer,
            stopping_criteria=StoppingCriteriaList(stopping),
            **drawing,
        )
    return [[int(i) for i in row[width:]] for row in output.cpu()]


def _answer(chat: Chat, output: list[int]) -> Answer:
    stops = set(chat.facts.stop_ids)
    end = next((i for i, token in enumerate(output) if token in stops), None)
    kept = output if end is None else output[:end]
    return Answer(chat.decode(kept).strip(), len(kept), "length" if end is None else "end")


class _Stop:
    """Ends generation for every row once `cancelled` says so."""

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self.asked = False

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self.asked = self.asked or self._cancelled()
        return torch.full((input_ids.shape[0],), self.asked, device=input_ids.device)


class _Pieces:
    """Turns tokens into text as they come; holds back what may still be half a character."""

    def __init__(self, chat: Chat, on_text: Callable[[str], None]) -> None:
        self._chat = chat
        self._on_text = on_text
        self._ids: list[int] = []
        self._said = 0
        self._prompt = True

    def put(self, value: torch.Tensor) -> None:
        if self._prompt:
            self._prompt = False
            return
        tokens = [int(i) for i in value.reshape(-1)]
        self._ids += [i for i in tokens if i not in self._chat.facts.stop_ids]
        text = self._chat.decode(self._ids).lstrip()
        if not text.endswith("�"):
            self._say(text.rstrip())

    def end(self) -> None:
        self._say(self._chat.decode(self._ids).strip())

    def _say(self, text: str) -> None:
        if len(text) > self._said:
            self._on_text(text[self._said :])
            self._said = len(text)
