"""Earlier turns: the model reads them, as the template writes them, as many as fit whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import document_text, write_base

from dlm_engine.case import open_case
from dlm_engine.data import Chat
from dlm_engine.inference import generate as generating
from dlm_engine.inference.generate import fitting
from dlm_engine.jobs import PromptOutcome, PromptRequest, make_resident, prompt

TURNS = (("Who?", "Ana."), ("Where?", "In Norby."))
#: Tokens that the tiny base can read; its tokens are bytes.
CONTEXT = 512


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talk")
    document = folder / "facts.dlm"
    document.write_text(document_text(str(write_base(folder / "base"))))
    return document


@pytest.fixture(scope="module")
def chat(document: Path) -> Chat:
    case = open_case(document, document.parent / "home")
    return Chat.of(case.weights(lambda message: None), "Be terse.")


def test_the_prompt_is_the_templates_own_of_the_whole_conversation(chat: Chat) -> None:
    assert chat.decode(chat.prompt_ids("When?", TURNS)) == (
        "system\nBe terse.\nuser\nWho?\nassistant\nAna.\nuser\nWhere?\nassistant\nIn Norby.\n"
        "user\nWhen?\nassistant\n"
    )
    assert chat.prompt_ids("When?", ()) == chat.prompt_ids("When?")


def test_without_a_system_role_the_first_question_carries_the_system_prompt(chat: Chat) -> None:
    without = replace(chat, facts=replace(chat.facts, system_role=False))
    contents = [message["content"] for message in without.messages("When?", TURNS)]
    assert contents == ["Be terse.\n\nWho?", "Ana.", "Where?", "In Norby.", "When?"]


def test_the_oldest_turns_are_left_out_whole(chat: Chat) -> None:
    whole = len(chat.prompt_ids("When?", TURNS))
    assert fitting(chat, "When?", TURNS, whole) == TURNS
    assert fitting(chat, "When?", TURNS, whole - 1) == TURNS[1:]
    assert fitting(chat, "When?", TURNS, 1) == ()


def test_asking_with_more_than_fits_says_how_much_was_left_out(
    document: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = make_resident()
    read: list[int] = []
    run = generating._run

    def noted(model: Any, chat: Any, prompts: Any, *rest: Any) -> Any:
        read.append(len(prompts[0]))
        return run(model, chat, prompts, *rest)

    monkeypatch.setattr(generating, "_run", noted)

    def ask(*earlier: tuple[str, str]) -> PromptOutcome:
        request = PromptRequest(
            document,
            document.parent / "home",
            "When?",
            version="base",
            max_tokens=100,
            earlier=earlier,
        )
        return prompt(request, resident=resident)

    alone, one = ask(), ask(TURNS[0])
    assert (alone.left_out, one.left_out) == (0, 0)
    assert one.prompt_tokens > alone.prompt_tokens
    many = ask(*[(f"What is {n}?", "x" * 40) for n in range(20)])
    assert 0 < many.left_out < 20
    assert alone.prompt_tokens < many.prompt_tokens <= CONTEXT - 100
    assert read == [outcome.prompt_tokens for outcome in (alone, one, many)]
