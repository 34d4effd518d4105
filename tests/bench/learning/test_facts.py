"""The worlds say what the bench takes them to say, and its bars miss what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.bench.learning import __main__ as learning
from tests.bench.learning import saves
from tests.bench.learning.bars import bars_of
from tests.bench.learning.facts import IDS, LATER, WORLDS, Fact, document_of, put
from tests.bench.learning.measure import Found, Score, Trained

from dlm_engine.document import parse

KNOWN = Score(12, 9, 38, 0, ())
TRAINED = Trained(Path("a.dlm"), 1.0, {"path": "version", "steps": 8})
EVERY = [(name, facts) for name, facts in {**WORLDS, **LATER}.items() if facts]


@pytest.mark.parametrize(("name", "facts"), EVERY, ids=[name for name, _ in EVERY])
def test_each_fact_is_asked_once_and_its_key_is_only_in_the_answer(
    name: str, facts: tuple[Fact, ...]
) -> None:
    asked = [words for fact in facts for words in (fact.question, fact.reworded)]
    assert len(set(asked)) == len(asked)
    for fact in facts:
        assert fact.key in fact.answer.lower(), fact
        assert fact.key not in fact.reworded.lower(), fact


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_a_world_is_a_document_of_its_facts(world: str) -> None:
    document, problems = parse(document_of(world))
    assert not problems
    assert [(p.question, p.answer) for s in document.sections for p in s.pairs] == [
        (fact.question, fact.answer) for fact in WORLDS[world]
    ]
    assert world not in IDS or IDS[world] in document_of(world)


def test_an_edit_takes_the_place_of_the_answer_and_an_addition_comes_last() -> None:
    text = document_of("harbour")
    before = {fact.question: fact.answer for fact in WORLDS["harbour"]}
    for fact in (*LATER["edits"], *LATER["unlike"]):
        text = put(text, fact)
        before[fact.question] = fact.answer
    document, problems = parse(text)
    assert not problems
    assert {p.question: p.answer for s in document.sections for p in s.pairs} == before


@pytest.mark.parametrize(
    ("found", "seconds", "missed"),
    [
        (Score(12, 9, 38, 0, (), 12), 30.0, []),
        (Score(11, 8, 37, 5, (), 12), 30.1, ["word for word", "in other", "general", "seconds"]),
        (Score(57, 45, 36, 0, (), 60), 999.0, []),
        (Score(56, 45, 35, 0, (), 60), 1.0, ["word for word", "general"]),
        (Score(0, 0, 34, 0, (), 0), 1.0, ["general"]),
    ],
)
def test_a_bar_says_what_it_misses(found: Score, seconds: float, missed: list[str]) -> None:
    said = [str(bar) for bar in bars_of("world", found, seconds) if not bar.met]
    assert len(said) == len(missed)
    assert all(part in line and "MISSED" in line for part, line in zip(missed, said, strict=True))


@pytest.fixture(autouse=True)
def no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlm_engine.bases.resolve", lambda *arguments, **named: None)
    monkeypatch.setattr("dlm_engine.bases.obtain_weights", lambda *arguments, **named: None)


@pytest.mark.parametrize(("after", "code"), [(2.0, 0), (2.1, 1), (4.0, 1)])
def test_a_source_tree_that_taught_little_misses(
    after: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find(s: float, n: int, lesson: Any, weights: Any, adapter: Path | None) -> Found:
        return Found(s, n, KNOWN, nats=4.0 if adapter is None else after)

    monkeypatch.setattr(learning, "train_file", lambda *arguments: TRAINED)
    monkeypatch.setattr(learning, "find", find)
    assert learning.main(["--worlds", "--without", "edits"]) == code
    assert ("MISSED  source tree, nats a token" in capsys.readouterr().out) == bool(code)


@pytest.mark.parametrize(
    ("seconds", "missed"),
    [
        ((4.0, 3.0, 6.0), []),
        ((4.1, 4.1, 1.0), ["median"]),
        ((1.0, 1.0, 6.1), ["longest"]),
        ((5.0, 5.0, 7.0), ["median", "longest"]),
    ],
)
def test_saves_that_take_long_miss(
    seconds: tuple[float, ...],
    missed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = saves.Saves(
        20.0,
        {"a key": [0.001, 0.002]},
        tuple(saves.Save("Who?", each, True) for each in seconds),
        KNOWN,
        (),
    )
    monkeypatch.setattr(saves, "run", lambda facts, folder: found)
    assert saves.main(["--sets", "edits"]) == int(bool(missed))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert all(part in line for part, line in zip(missed, lines, strict=True))
    assert learning.main(["--worlds", "--without", "tree"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert [part for part in ("median", "longest") if any(part in line for line in lines)] == missed
