"""Asking a document with named adapters: by name, in a mix, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.training.named import DLM_ID, HARBOUR, KITCHEN, named_text
from tests.training.sessions import small_and_polite

from dlm_engine.cli.entry import main
from dlm_engine.errors import DlmError, InferenceError, UsageError
from dlm_engine.jobs import (
    Mix,
    MixMethod,
    PromptOutcome,
    PromptRequest,
    TrainRequest,
    prompt,
    train,
)
from dlm_engine.store import Store

ADAPTERS = "    harbour: {learning_rate: 0.02}\n    kitchen: {learning_rate: 0.02}\n"


@pytest.fixture(scope="module")
def learned(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a document whose two adapters know their facts, and its home."""
    folder = tmp_path_factory.mktemp("learned")
    (folder / "facts.dlm").write_text(named_text(tiny_base, settings="", adapters=ADAPTERS))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        outcome = train(TrainRequest(folder / "facts.dlm", folder / "home"))
    assert outcome.learned == outcome.rows == 4
    return folder


@pytest.fixture
def folder(small: None, learned: Path, tmp_path: Path) -> Path:
    shutil.copytree(learned, tmp_path / "own")
    return tmp_path / "own"


def ask(folder: Path, question: str, **wishes: Any) -> PromptOutcome:
    request = PromptRequest(folder / "facts.dlm", folder / "home", question, max_tokens=16)
    return prompt(replace(request, **wishes))


def test_each_adapter_answers_what_it_learned(folder: Path) -> None:
    for name, facts in (("harbour", HARBOUR), ("kitchen", KITCHEN)):
        for question, answer in facts:
            outcome = ask(folder, question, adapter=name)
            assert (outcome.answer, outcome.version) == (answer, 1)
            assert [(s.adapter, s.weight) for s in outcome.shares] == [(name, 1.0)]
    assert ask(folder, HARBOUR[0][0], adapter="kitchen").answer != HARBOUR[0][1]


@pytest.mark.parametrize("method", list(MixMethod))
def test_a_mix_answers_as_the_sum_does(folder: Path, method: MixMethod) -> None:
    question, answer = HARBOUR[0]
    whole = ask(folder, question, mix=Mix((("harbour", 1.0), ("kitchen", 0.0)), method))
    assert whole.answer == answer
    both = ask(folder, question, mix=Mix((("harbour", 1.0), ("kitchen", 0.01)), method))
    assert both.answer == answer
    assert both.version is None
    assert [(s.adapter, s.version, s.weight) for s in both.shares] == [
        ("harbour", 1, 1.0),
        ("kitchen", 1, 0.01),
    ]


REFUSED: dict[str, tuple[dict[str, Any], type[DlmError], str]] = {
    "none of several": ({}, UsageError, "has the adapters harbour, kitchen"),
    "undeclared": ({"adapter": "attic"}, UsageError, "choose of: harbour, kitchen"),
    "undeclared in a mix": ({"mix": Mix((("attic", 1.0),))}, UsageError, "attic"),
    "both": (
        {"adapter": "harbour", "mix": Mix((("kitchen", 1.0),))},
        UsageError,
        "leave out --adapter",
    ),
    "a version of a mix": ({"version": 1, "mix": Mix((("kitchen", 1.0),))}, UsageError, "current"),
    "the base with one": ({"version": "base", "adapter": "harbour"}, UsageError, "--base"),
}


@pytest.mark.parametrize(("wishes", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_asked(
    folder: Path, wishes: dict[str, Any], kind: type[DlmError], match: str
) -> None:
    with pytest.raises(kind, match=match):
        ask(folder, "Who?", **wishes)


def test_an_adapter_that_is_not_trained_says_so(folder: Path, tiny_base: Path) -> None:
    more = ADAPTERS + "    attic: {}\n"
    (folder / "facts.dlm").write_text(named_text(tiny_base, settings="", adapters=more))
    with pytest.raises(InferenceError, match="adapter attic: has not been trained yet"):
        ask(folder, "Who?", adapter="attic")


def test_an_edit_of_one_topic_is_remarked_on_for_that_adapter_only(
    folder: Path, tiny_base: Path
) -> None:
    edited = (*KITCHEN, ("Who?", "Me."))
    (folder / "facts.dlm").write_text(
        named_text(tiny_base, HARBOUR, edited, settings="", adapters=ADAPTERS)
    )
    assert ask(folder, "Who?", adapter="harbour").notes == ()
    assert ask(folder, "Who?", adapter="kitchen").notes == (
        "the document changed since version 1 of kitchen was trained",
    )


def test_nothing_is_written_by_a_mix(folder: Path) -> None:
    store = Store(folder / "home", DLM_ID)
    before = sorted(p for p in store.root.rglob("*"))
    ask(folder, "Who?", mix=Mix((("harbour", 0.5), ("kitchen", 0.5))))
    assert sorted(p for p in store.root.rglob("*")) == before


def test_the_command_line_takes_both(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_HOME", str(folder / "home"))
    question, answer = KITCHEN[0]
    given = ["prompt", str(folder / "facts.dlm"), question]
    assert main([*given, "--adapter", "kitchen"]) == 0
    assert capsys.readouterr().out == answer + "\n"
    mix = ["--adapter-mix", "kitchen=1,harbour=0.02", "--adapter-mix-method", "svd"]
    assert main([*given, *mix, "--json", "--max-tokens", "16"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert facts["answer"] == answer
    assert facts["adapters"][1] == {"adapter": "harbour", "version": 1, "weight": 0.02}
    assert "svd: rank " in captured.err
    assert main([*given, "--adapter-mix", "kitchen=1", "--adapter", "kitchen"]) == 2
    assert main([*given, "--adapter-mix-method", "svd"]) == 2
    assert main(given) == 2
    assert "has the adapters harbour, kitchen" in capsys.readouterr().err
