"""Asking a document: which version answers, how, and what is said beside the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.training.sessions import Place, sha

from dlm_engine.errors import (
    InferenceError,
    StoreError,
)
from dlm_engine.jobs import (
    Ending,
    PromptRequest,
    prompt,
)


def test_an_untrained_document_has_no_answer_but_its_base_has(fresh: Place) -> None:
    with pytest.raises(InferenceError, match="dlm train") as caught:
        fresh.ask()
    assert "--base" in caught.value.remedy
    assert not fresh.home.exists()
    outcome = fresh.ask(version="base")
    assert outcome.version is None
    assert not fresh.store.exists()


def test_asking_the_base_leaves_the_adapter_out(trained: Place) -> None:
    ask: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 40}
    with_adapter, base = trained.ask(**ask), trained.ask(version="base", **ask)
    assert (with_adapter.version, base.version) == (1, None)
    assert with_adapter.answer != base.answer
    assert trained.ask(version=1, **ask).answer == with_adapter.answer


def test_a_version_that_is_not_there_is_named(trained: Place) -> None:
    with pytest.raises(StoreError, match="version 9"):
        trained.ask(version=9)


def test_a_blank_question_is_refused(trained: Place) -> None:
    with pytest.raises(InferenceError, match="is empty"):
        prompt(PromptRequest(trained.document, trained.home, "  \n"))


def test_a_seed_makes_a_drawn_answer_come_again(trained: Place) -> None:
    drawn = [trained.ask(temperature=1.5, seed=seed, max_tokens=40).answer for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_draw_of_one_token_is_the_likeliest_and_repeating_can_be_made_dear(
    trained: Place,
) -> None:
    likeliest = trained.ask(max_tokens=40).answer
    drawn: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 40}
    assert trained.ask(**drawn).answer != likeliest
    assert trained.ask(**drawn, top_k=1).answer == likeliest
    assert trained.ask(max_tokens=40, repetition_penalty=9.0).answer != likeliest


def test_without_temperature_an_answer_is_always_the_same(trained: Place) -> None:
    torch.manual_seed(1)
    first = trained.ask(max_tokens=40)
    torch.manual_seed(2)
    second = trained.ask(max_tokens=40)
    assert first.temperature == 0.0
    assert first.answer == second.answer


def test_the_pieces_of_an_answer_are_the_answer(trained: Place) -> None:
    """The tiny base draws bytes that are often no characters, the hardest case."""
    counts = []
    for seed in range(4):
        pieces: list[str] = []
        outcome = trained.ask(pieces, temperature=1.5, seed=seed, max_tokens=60)
        assert "".join(pieces) == outcome.answer
        counts.append(len(pieces))
    assert max(counts) > 1


def test_the_system_prompt_is_learned_with_and_asked_with(trained: Place) -> None:
    without, before = trained.fingerprint(), trained.ask()
    text = trained.document.read_text()
    trained.document.write_text(
        text.replace("training:", "system_prompt: You are brief.\ntraining:")
    )
    outcome = trained.train()
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 2)
    assert outcome.adapter_sha256 != sha(trained)
    assert trained.fingerprint() != without
    after = trained.ask()
    assert after.prompt_tokens > before.prompt_tokens
    longer = trained.ask(system="You are brief. You are exact.")
    assert longer.prompt_tokens == after.prompt_tokens + len(" You are exact.")


def test_a_document_that_moved_on_is_remarked(trained: Place) -> None:
    assert trained.ask().notes == ()
    trained.document.write_text(trained.document.read_text().replace("4417", "5528"))
    (note,) = trained.ask().notes
    assert "changed since version 1" in note
