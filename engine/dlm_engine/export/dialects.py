"""From the base's own chat template to the Go template that Ollama needs.

The base's Jinja template is what training and `dlm prompt` use, so it is the only truth.
The Go template is derived from it: conversations with marker texts are rendered, and the
text between the markers is what stands around each turn, including a default system
message that the base adds when none is given, or a date. A table of templates written
by hand would be wrong for the second base of a dialect (SmolLM2 and Qwen2.5 are both
`chatml` and add different system messages). What a derived template cannot express is
found by `checks.same_prompts`, which renders both sides and compares them byte for byte.
The registry's dialect name contributes the stop texts and top_p.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlm_engine.errors import ExportError
from dlm_engine.export.gotemplate import literal, quote
from dlm_engine.export.model import Message

#: messages, with the opening of the assistant's turn or without, to prompt text
Render = Callable[[Sequence[Message], bool], str]

_SYSTEM, _USER, _ASSISTANT, _AGAIN = "S0systemS0", "U0userU0", "A0assistantA0", "U1againU1"
_CUT_MARK = re.compile(r"[<\[][^>\]]*$")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What the template text does not say: texts that end a turn, and a sampling default."""

    stops: tuple[str, ...]
    top_p: float


_CHATML_STOPS = ("<|im_end|>", "<|endoftext|>", "<|im_start|>")
_PHI_STOPS = ("<|end|>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")

DIALECTS: Mapping[str, Dialect] = {
    "chatml": Dialect(_CHATML_STOPS, 0.9),
    "qwen3thinking": Dialect(_CHATML_STOPS, 0.95),
    "gemma2": Dialect(("<end_of_turn>", "<eos>", "<start_of_turn>"), 0.9),
    "smollm3": Dialect(("<|im_end|>", "<|end_of_text|>", "<|im_start|>"), 0.95),
    "olmo2": Dialect(("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>"), 0.9),
    "llama3": Dialect(("<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>", "<|eom_id|>"), 0.9),
    "phi3": Dialect(_PHI_STOPS, 0.9),
    "phi4mini": Dialect(_PHI_STOPS, 0.9),
    "mistral": Dialect(("</s>", "[/INST]", "[INST]"), 0.9),
}


@dataclass(frozen=True, slots=True)
class Turns:
    """The text that stands around the contents of a conversation.

    Args:
        opening: before a first message that is not a system message.
        system_open, system_close: around a system message; the first is None when the
            base has no system role.
        joins_user: the system text lies inside the first user turn, whose own opening is
            then not written again.
        empty_system: what an empty system message leaves behind; None when it is written
            like any other.
        prompt: opens the assistant's turn that is to be generated.
    """

    opening: str
    system_open: str | None
    system_close: str
    joins_user: bool
    empty_system: str | None
    user_open: str
    user_close: str
    assistant_open: str
    assistant_close: str
    prompt: str


def prompt_renderer(tokenizer: Any, *, adds_bos: bool) -> Render:
    """The base's own template as a function of text.

    `adds_bos`: the runtime puts the beginning-of-text token in front by itself, so it is
    taken off here.
    """
    bos = tokenizer.bos_token if adds_bos else None

    def render(messages: Sequence[Message], generate: bool) -> str:
        text: str = tokenizer.apply_chat_template(
            [dict(m) for m in messages], tokenize=False, add_generation_prompt=generate
        )
        return text.removeprefix(bos) if bos else text

    return render


def has_system_role(render: Render) -> bool:
    """Whether the template accepts a system message and shows it."""
    try:
        return _SYSTEM in render([_message("system", _SYSTEM), _message("user", _USER)], True)
    except Exception:  # the template's own raise_exception, or whatever Jinja makes of it
        return False


def read_turns(render: Render) -> Turns:
    """Find the texts around the turns.

    Raises:
        ExportError: the template does not show each message once, in order.
    """
    user, answer = _message("user", _USER), _message("assistant", _ASSISTANT)
    opening, rest = _split(render([user], True), _USER)
    dialogue = _split(
        render([user, answer, _message("user", _AGAIN)], True), _USER, _ASSISTANT, _AGAIN
    )
    user_close = _common_start(rest, dialogue[1], _split(render([user], False), _USER)[1])
    user_open = _common_end(opening, dialogue[2])
    # A default system message ends like an answer does, and the common end of the two then
    # holds that ending as well; where an answer is last shows what the ending is.
    ending = _split(render([user, answer], False), _USER, _ASSISTANT)[2]
    close = dialogue[2][: len(dialogue[2]) - len(user_open)]
    if len(close) < len(ending) and dialogue[2].startswith(ending):
        user_open, close = dialogue[2][len(ending) :], ending
    opening = opening[: len(opening) - len(user_open)]
    system = _read_system(render, user_open, rest)
    return Turns(
        opening=opening,
        system_open=system[0],
        system_close=system[1],
        joins_user=system[2],
        empty_system=system[3],
        user_open=user_open,
        user_close=user_close,
        assistant_open=dialogue[1][len(user_close) :],
        assistant_close=close,
        prompt=rest[len(user_close) :],
    )


def _read_system(
    render: Render, user_open: str, rest: str
) -> tuple[str | None, str, bool, str | None]:
    system, user = _message("system", _SYSTEM), _message("user", _USER)
    if not has_system_role(render):
        return None, "", False, None
    before, between, _ = _split(render([system, user], True), _SYSTEM, _USER)
    if not between.endswith(user_open):
        return before, between, True, None
    close = between[: len(between) - len(user_open)]
    empty = render([_message("system", ""), user], True)
    end = user_open + _USER + rest
    if empty == before + close + end or not empty.endswith(end):
        return before, close, False, None
    return before, close, False, empty[: len(empty) - len(end)]


def go_template(turns: Turns, default_system: str | None = None) -> str:
    """A TEMPLATE that renders conversations as the base does.

    It walks the messages and nothing else: Ollama hands the system prompt over both as
    `.System` and as the first message, so a template that prints both says it twice.
    `default_system` is used when a conversation brings no system message; it is for texts
    that a Modelfile's SYSTEM cannot hold.
    """
    first = literal(turns.opening)
    opened_by_system = ['and (eq $i 1) (eq $before "system")'] if turns.joins_user else []
    if default_system is not None and turns.system_open is not None:
        first = literal(turns.system_open) + "{{ " + quote(default_system) + " }}"
        first += literal(turns.system_close)
        opened_by_system += ["eq $i 0"] if turns.joins_user else []
    opening = '{{ if and (eq $i 0) (ne .Role "system") }}' + first + "{{ end }}" if first else ""
    user_open = literal(turns.user_open)
    if opened_by_system:
        joined = " ".join(f"({condition})" for condition in opened_by_system)
        user_open = "{{ if not (or " + joined + ") }}" + user_open + "{{ end }}"
    track = "{{ $before = .Role }}" if turns.joins_user else ""
    return (
        ('{{ $before := "" }}' if turns.joins_user else "")
        + "{{ range $i, $m := .Messages }}" + opening
        + '{{ if eq .Role "system" }}' + _system_turn(turns)
        + '{{ else if eq .Role "assistant" }}' + literal(turns.assistant_open)
        + "{{ .Content }}" + literal(turns.assistant_close)
        + "{{ else }}" + user_open + "{{ .Content }}" + literal(turns.user_close)
        + "{{ end }}" + track + "{{ end }}" + literal(turns.prompt)
    )  # fmt: skip


def _system_turn(turns: Turns) -> str:
    if turns.system_open is None:
        return ""
    turn = literal(turns.system_open) + "{{ .Content }}" + literal(turns.system_close)
    if turns.empty_system is None:
        return turn
    otherwise = "{{ else }}" + literal(turns.empty_system) if turns.empty_system else ""
    return "{{ if .Content }}" + turn + otherwise + "{{ end }}"


def stop_texts(dialect: Dialect, ends: Sequence[str], known: Callable[[str], bool]) -> list[str]:
    """What ends an answer: the model's own end tokens, and the dialect's marks that this
    vocabulary has. Not every special token: those are hundreds, and stop nothing."""
    return list(dict.fromkeys([*ends, *(s for s in dialect.stops if known(s))]))


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _split(text: str, *markers: str) -> list[str]:
    parts = []
    for marker in markers:
        before, found, text = text.partition(marker)
        if not found or marker in text:
            raise ExportError(
                "the base's chat template",
                "does not show every message exactly once, in order",
                "export with --target gguf; llama.cpp uses the template as it is",
            )
        parts.append(before)
    return [*parts, text]


def _common_end(left: str, right: str) -> str:
    count = 0
    while count < min(len(left), len(right)) and left[-1 - count] == right[-1 - count]:
        count += 1
    return left[len(left) - count :]


def _common_start(*texts: str) -> str:
    start = ""
    for characters in zip(*texts, strict=False):
        if len(set(characters)) > 1:
            break
        start += characters[0]
    # Not in the middle of a mark such as <|end|>: the parts should be readable.
    return start if start in texts else _CUT_MARK.sub("", start)
