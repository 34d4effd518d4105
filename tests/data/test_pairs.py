"""Preferences as rows and tokens: the template of training and asking, pairs that stay together."""

from __future__ import annotations

import pytest
from tests.tiny import make_tokenizer

from dlm_engine.bases import TokenFacts
from dlm_engine.data import Chat
from dlm_engine.data.pairs import (
    Pair,
    PreferenceRow,
    encode_pair,
    pair_packs_of,
    preferences_of,
)
from dlm_engine.document import parse

ROW = PreferenceRow("s", "How is the sea?", "Calm.", "It is said to be calm.")


@pytest.fixture(scope="module")
def chat() -> Chat:
    facts = TokenFacts(1, 2, (2,), (2,), 3, "<|reserved|>", False, False, True)
    return Chat(make_tokenizer(), facts, None)


def triple(prompt: str, chosen: str, rejected: str) -> str:
    return f"### Prompt\n{prompt}\n### Chosen\n{chosen}\n### Rejected\n{rejected}\n\n"


def test_the_preferences_of_a_document_each_once() -> None:
    body = (
        "::preference::\n"
        + triple("a?", "b", "c")
        + triple("d?", "e", "f")
        + triple("g?", "same", "same")
        + "::preference::\n"
        + triple("a?", "b", "c")
    )
    head = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\nbase_model: x\n---\n\n"
    document, _ = parse(head + body)
    rows = preferences_of(document)
    assert [(r.prompt, r.chosen, r.rejected) for r in rows] == [("a?", "b", "c"), ("d?", "e", "f")]


def test_both_sides_are_what_the_chat_template_writes(chat: Chat) -> None:
    pair = encode_pair(ROW, chat, 512)
    assert pair is not None
    prompt = chat.prompt_ids(ROW.prompt)
    for side, answer in ((pair.chosen, ROW.chosen), (pair.rejected, ROW.rejected)):
        assert list(side.ids) == prompt + chat.answer_ids(ROW.prompt, answer)
        assert side.start == len(prompt)
        assert side.ids[-1] == 2
    assert not pair.cut


def test_what_is_cut_says_so_and_what_then_says_nothing_is_no_pair(chat: Chat) -> None:
    prompt = len(chat.prompt_ids(ROW.prompt))
    pair = encode_pair(ROW, chat, prompt + 8)
    assert pair is not None
    assert pair.cut
    assert max(len(pair.chosen.ids), len(pair.rejected.ids)) == prompt + 8
    assert encode_pair(ROW, chat, prompt) is None
    alike = PreferenceRow("s", "a?", "one two three", "one two four")
    assert encode_pair(alike, chat, len(chat.prompt_ids("a?")) + 8) is None


@pytest.mark.parametrize("most_rows", [None, 1, 4, 5])
def test_a_pack_holds_whole_pairs(chat: Chat, most_rows: int | None) -> None:
    rows = [PreferenceRow("s", f"Who is {n}?", "x" * n, "y" * (9 - n)) for n in range(1, 8)]
    pairs = [pair for row in rows if (pair := encode_pair(row, chat, 512))]
    packs = pair_packs_of(pairs, 200, most_rows)
    again = pair_packs_of(pairs[::-1], 200, most_rows)
    assert [group for _, group in packs] == [group for _, group in again]
    keys = [pair.key for _, group in packs for pair in group]
    assert sorted(keys) == sorted(pair.key for pair in pairs)
    for pack, group in packs:
        assert [row.key for row in pack.rows] == [
            f"{pair.key}:{side}" for pair in group for side in ("chosen", "rejected")
        ]
        assert pack.tokens <= 200
        if most_rows is not None:
            assert len(group) == max(1, min(len(group), most_rows // 2))
    assert len(packs) > 1


def test_no_pairs_no_packs() -> None:
    none: list[Pair] = []
    assert pair_packs_of(none, 300) == []
