"""The one object that turns questions into token ids, for training, asking and checking.

Training and inference must see the same ids or nothing that was learned is found again,
so both come here. A chat is rendered by the base's own template and tokenised with
special tokens off (the template writes them); the answer's ids are those of the text
the template puts after the prompt, up to and with the token that ends the turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlm_engine.bases import TokenFacts, Weights, load_tokenizer, token_facts
from dlm_engine.errors import BaseModelError

#: A question and what was answered.
Turn = tuple[str, str]


@dataclass(frozen=True)
class Chat:
    """A base's tokenizer and template with one system prompt (None: the template's own)."""

    tokenizer: Any
    facts: TokenFacts
    system_prompt: str | None

    @classmethod
    def of(cls, weights: Weights, system_prompt: str | None) -> Chat:
        """Raises `BaseModelError` for a base without a usable tokenizer or template."""
        tokenizer = load_tokenizer(weights)
        system = system_prompt.strip() if system_prompt else None
        return cls(tokenizer, token_facts(weights, tokenizer), system or None)

    def messages(self, question: str, earlier: Sequence[Turn] = ()) -> list[dict[str, str]]:
        """The turns before the answer; `earlier` are those of the same conversation, in order.

        A template without a system role gets the system prompt at the head of the first
        question, as the authors of such bases recommend.
        """
        asked = [
            {"role": role, "content": content}
            for turn in earlier
            for role, content in (("user", turn[0]), ("assistant", turn[1]))
        ]
        turns = [*asked, {"role": "user", "content": question}]
        if self.system_prompt is None:
            return turns
        if self.facts.system_role:
            return [{"role": "system", "content": self.system_prompt}, *turns]
        turns[0]["content"] = f"{self.system_prompt}\n\n{turns[0]['content']}"
        return turns

    def prompt_ids(self, question: str, earlier: Sequence[Turn] = ()) -> list[int]:
        """Ids up to where the answer begins."""
        turns = self.messages(question, earlier)
        return self.ids(self._render(turns, add_generation_prompt=True))

    def answer_ids(self, question: str, answer: str) -> list[int]:
        """Ids that follow `prompt_ids(question)` in `answer`, end of turn included.

        Raises:
            BaseModelError: the template does not continue its own prompt, so no answer
                could be told from its question.
        """
        turns = self.messages(question)
        prompt = self._render(turns, add_generation_prompt=True)
        whole = self._render([*turns, {"role": "assistant", "content": answer}])
        if not whole.startswith(prompt):
            raise BaseModelError(
                str(self.tokenizer.name_or_path),
                "its chat template writes an answer elsewhere than after the prompt",
                "choose another base",
            )
        ids = self.ids(whole[len(prompt) :])
        end = max((i for i, token in enumerate(ids) if token in self.facts.stop_ids), default=None)
        if end is None:
            return [*ids, self.facts.stop_ids[0]]
        return ids[: end + 1]

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain prose: the base's own beginning and one end, however the text ends."""
        ids = [int(i) for i in self.tokenizer(text)["input_ids"]]
        if not ids or ids[-1] != self.facts.eos_id:
            ids.append(self.facts.eos_id)
        return ids

    def opening_ids(self, text: str) -> list[int]:
        """Ids of prose that goes on: as `text_ids` begins, without the end."""
        ids = [int(i) for i in self.tokenizer(text)["input_ids"]]
        return ids[:-1] if ids[-1:] == [self.facts.eos_id] else ids

    def closing_ids(self, text: str) -> list[int]:
        """Ids of prose that began before: as `text_ids` ends, without the beginning."""
        return [*self.ids(text), self.facts.eos_id]

    def ids(self, rendered: str) -> list[int]:
        return [int(i) for i in self.tokenizer(rendered, add_special_tokens=False)["input_ids"]]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _render(self, turns: list[dict[str, str]], **options: Any) -> str:
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, **options))
        except Exception as error:
            # Templates raise whatever their author chose.
            raise BaseModelError(
                str(self.tokenizer.name_or_path), f"its chat template fails ({error})"
            ) from error
