from __future__ import annotations

from collections import Counter

import pytest

from dlm_engine.bases import Weights
from dlm_engine.data import Chat, ChatRow, TextRow, encode_row
from dlm_engine.data.split import MIN_TEXTS, split_rows
from dlm_engine.data.tokens import Encoded


class Letters:
    """A chat whose tokens are the letters of the texts."""

    def prompt_ids(self, question: str) -> list[int]:
        return [0, *map(ord, question), 1]

    def answer_ids(self, question: str, answer: str) -> list[int]:
        return [*map(ord, answer), 2]

    def text_ids(self, text: str) -> list[int]:
        return [*map(ord, text), 2]


@pytest.mark.parametrize("length", [64, 65, 100, 1000])
@pytest.mark.parametrize("text", ["x" * 10, "y" * 63, "z" * 64, "abc" * 200])
def test_every_token_of_prose_is_supervised_exactly_once(text: str, length: int) -> None:
    windows = encode_row(TextRow("s", text), Letters(), length)  # type: ignore[arg-type]
    supervised = [i for w in windows for i in w.ids[w.start :]]
    assert supervised == [*map(ord, text), 2][1:]
    assert all(len(w.ids) <= length and w.start >= 1 for w in windows)


def test_an_answer_longer_than_the_window_goes_on_in_the_next() -> None:
    row = ChatRow("s", "q" * 30, "a" * 200)
    windows = encode_row(row, Letters(), 64)  # type: ignore[arg-type]
    assert len(windows) > 3
    assert [i for w in windows for i in w.ids[w.start :]] == [*map(ord, row.answer), 2]
    assert len({w.key for w in windows}) == len(windows)


def test_a_question_longer_than_the_window_still_leaves_room_to_answer() -> None:
    windows = encode_row(ChatRow("s", "q" * 500, "yes"), Letters(), 64)  # type: ignore[arg-type]
    assert windows[0].ids[windows[0].start :][:3] == tuple(map(ord, "yes"))


def chunk(number: int, kind: str = "text") -> Encoded:
    return Encoded(f"{number:064x}", "s", kind, (1, 2, 3), 1)  # type: ignore[arg-type]


def test_answers_are_never_held_out_and_prose_only_when_there_is_enough() -> None:
    facts = [chunk(n, "chat") for n in range(500)]
    few = [chunk(n) for n in range(1000, 1000 + MIN_TEXTS - 1)]
    assert split_rows(facts + few, 42).validation == ()
    many = [chunk(n) for n in range(1000, 1400)]
    split = split_rows(facts + many, 42)
    assert 20 <= len(split.validation) <= 60
    assert all(row.kind == "text" for row in split.validation)
    assert Counter(split.train) + Counter(split.validation) == Counter(facts + many)


def test_what_is_held_out_is_not_moved_by_edits_elsewhere() -> None:
    many = [chunk(n) for n in range(100)]
    before = set(split_rows(many, 1).validation)
    after = set(split_rows([*many[:50], chunk(777), *many[50:]], 1).validation)
    assert before - after == set()
    assert set(split_rows(many, 2).validation) != before


@pytest.mark.model
def test_training_and_asking_see_the_same_tokens(base_weights: Weights) -> None:
    chat = Chat.of(base_weights, "You are terse.")
    question, answer = "Where is  the “pier”? 🛶", "  In Norby\nby the sea.  ".strip()
    prompt = chat.prompt_ids(question)
    ids = encode_row(ChatRow("s", question, answer), chat, 2048)[0]
    assert list(ids.ids[: ids.start]) == prompt
    whole = chat.tokenizer.apply_chat_template(
        [*chat.messages(question), {"role": "assistant", "content": answer}], tokenize=False
    )
    assert chat.ids(whole)[: len(ids.ids)] == list(ids.ids)
    assert ids.ids[-1] in chat.facts.stop_ids
    assert "You are terse." in chat.tokenizer.decode(prompt)
    assert "named SmolLM" not in chat.tokenizer.decode(prompt)


@pytest.mark.model
def test_prose_ends_once_however_it_ends(base_weights: Weights) -> None:
    chat = Chat.of(base_weights, None)
    assert chat.text_ids("Fog.")[-1] == chat.facts.eos_id
    assert chat.text_ids("Fog.").count(chat.facts.eos_id) == 1
    assert chat.facts.pad_id not in chat.facts.stop_ids
