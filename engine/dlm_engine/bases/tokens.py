"""Facts about a base's tokenizer that training, generation and export must agree on.

Invariant: stops are every id that ends a turn or a text for this base (generation config,
tokenizer, and what the chat template really writes after an answer), and the padding id is
none of them. Padding is picked among tokens that exist: growing the vocabulary would put
embeddings into the adapter. Masking is by length, so the choice never changes a loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlm_engine.bases.files import read_json
from dlm_engine.bases.spec import Weights
from dlm_engine.errors import BaseModelError

ANSWER = "zq answer zq"
QUESTION = "zq question zq"
SYSTEM = "zq system zq"

_PAD_NAMES = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|padding|>")
_RESERVED = ("reserved", "unused", "dummy", "extra_id", "empty")


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """Token ids of one base.

    `end_of_turn_ids` are what the template writes after an answer, in order, up to and
    with the special token; `stop_ids` are all ids that end generation, sorted;
    `adds_bos` is whether the tokenizer itself would put `bos_id` before a text, which
    must be off for rendered chats; `template_bos` whether the template writes it.
    """

    bos_id: int | None
    eos_id: int
    end_of_turn_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    pad_id: int
    pad_token: str
    adds_bos: bool
    template_bos: bool
    system_role: bool


def load_tokenizer(weights: Weights) -> Any:
    """The transformers tokenizer of `weights`: local files only, no remote code."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            str(weights.path), local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(
            str(weights.path), f"its tokenizer cannot be loaded ({error})"
        ) from error


def token_facts(weights: Weights, tokenizer: Any) -> TokenFacts:
    """Facts of `tokenizer`, as loaded by `load_tokenizer`.

    Raises `BaseModelError` where the base has no chat template, no end token, or nothing
    that could serve as padding.
    """
    has_system = renders(tokenizer, system_turn())
    rendered = render_ids(tokenizer, chat_turns(has_system))
    after = _after_answer(tokenizer, rendered)
    special = set(tokenizer.all_special_ids)
    ends = next((i for i, token in enumerate(after) if token in special), None)
    end_of_turn = tuple(after[: ends + 1]) if ends is not None else ()
    eos_ids = _eos_ids(weights, tokenizer)
    if not eos_ids and not end_of_turn:
        raise BaseModelError(weights.spec.key, "its tokenizer has no token that ends an answer")
    stops = {*eos_ids, *end_of_turn[-1:]}
    eos = tokenizer.eos_token_id
    pad_id = _pad_id(tokenizer, stops, rendered)
    if pad_id is None:
        raise BaseModelError(weights.spec.key, "its tokenizer has no token that could be padding")
    bos = tokenizer.bos_token_id
    plain = tokenizer("a")["input_ids"]
    return TokenFacts(
        bos_id=bos,
        eos_id=eos if eos is not None else min(stops),
        end_of_turn_ids=end_of_turn,
        stop_ids=tuple(sorted(stops)),
        pad_id=pad_id,
        pad_token=str(tokenizer.convert_ids_to_tokens(pad_id)),
        adds_bos=bos is not None and plain[:1] == [bos],
        template_bos=bos is not None and rendered[:1] == [bos] and _writes_bos(tokenizer),
        system_role=has_system,
    )


def system_turn() -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]


def chat_turns(with_system: object) -> list[dict[str, str]]:
    """A whole exchange; the system turn leaves out where the template has none."""
    turns = system_turn() if with_system else system_turn()[1:]
    return [*turns, {"role": "assistant", "content": ANSWER}]


def render(tokenizer: Any, turns: Sequence[dict[str, str]], **options: Any) -> str:
    """The chat template's text; `BaseModelError` when the template refuses the turns."""
    try:
        return str(tokenizer.apply_chat_template(list(turns), tokenize=False, **options))
    except Exception as error:
        # Templates raise whatever their author chose.
        raise BaseModelError(
            str(tokenizer.name_or_path), f"its chat template fails ({error})"
        ) from error


def renders(tokenizer: Any, turns: Sequence[dict[str, str]]) -> bool:
    """Whether the template accepts `turns` and every content shows in the text."""
    try:
        text = render(tokenizer, turns)
    except BaseModelError:
        return False
    return all(turn["content"] in text for turn in turns)


def render_ids(tokenizer: Any, turns: Sequence[dict[str, str]]) -> list[int]:
    """Token ids of the rendered chat, with no special tokens added by the tokenizer."""
    ids = tokenizer(render(tokenizer, turns), add_special_tokens=False)["input_ids"]
    return [int(token) for token in ids]


def _after_answer(tokenizer: Any, rendered: list[int]) -> list[int]:
    for count in range(1, len(rendered)):
        if ANSWER not in tokenizer.decode(rendered[-count:]):
            continue
        tail = rendered[-count:]
        head = next(size for size in range(1, count + 1) if ANSWER in tokenizer.decode(tail[:size]))
        return tail[head:]
    return []


def _eos_ids(weights: Weights, tokenizer: Any) -> set[int]:
    ids: set[int] = set()
    path = weights.path / "generation_config.json"
    declared = read_json(path).get("eos_token_id") if path.exists() else None
    for value in declared if isinstance(declared, list) else [declared]:
        if isinstance(value, int):
            ids.add(value)
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    return ids


def _pad_id(tokenizer: Any, stops: set[int], rendered: Iterable[int]) -> int | None:
    used = {*stops, *rendered, tokenizer.bos_token_id}
    vocabulary: dict[str, int] = tokenizer.get_added_vocab()
    shipped = tokenizer.pad_token_id
    if shipped is not None and shipped not in used:
        return int(shipped)
    free = sorted((token_id, name) for name, token_id in vocabulary.items() if token_id not in used)
    by_name = {name: token_id for token_id, name in free}
    for name in _PAD_NAMES:
        if name in by_name:
            return by_name[name]
    unknown = tokenizer.unk_token_id
    named = [token for token, name in free if "pad" in name.lower()]
    spare = [token for token, name in free if any(mark in name.lower() for mark in _RESERVED)]
    other = [token for token, _ in free if token != unknown]
    for candidates in (named, spare, other):
        if candidates:
            return candidates[-1]
    if unknown is not None and unknown not in stops:
        return int(unknown)
    return None


def _writes_bos(tokenizer: Any) -> bool:
    text = render(tokenizer, [{"role": "user", "content": QUESTION}])
    return bool(tokenizer.bos_token) and text.startswith(str(tokenizer.bos_token))
