"""The promise of a preference, kept by the real base: it answers so, and forgets nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bench.learning.facts import WORLDS
from tests.bench.learning.measure import asker, score, train_world

from dlm_engine.bases import Weights
from dlm_engine.document import read_document


@pytest.mark.model
@pytest.mark.timeout(900)
def test_short_answers_are_preferred_and_the_facts_are_known(
    base_weights: Weights, tmp_path: Path
) -> None:
    trained = train_world("hut", tmp_path)
    found = trained.result["preference"]
    assert isinstance(found, dict)
    assert found["pairs"] == 8
    assert found["accuracy_before"] < 0.5
    assert found["accuracy_after"] == 1.0
    assert found["margin_after"] > found["margin_before"] + 1
    facts = WORLDS["hut"]
    ask = asker(base_weights, Path(str(trained.result["path"])))
    kept = score(facts, ask)
    assert kept.exact == len(facts), kept
    assert kept.general >= 35, kept
    document, _ = read_document(trained.document)
    assert [(p.question, p.answer) for s in document.sections for p in s.pairs] == [
        (fact.question, fact.answer) for fact in facts
    ]
    triples = [triple for section in document.sections for triple in section.triples]
    said = ask([triple.prompt for triple in triples])
    short = sum(len(answer.split()) <= 15 for answer in said)
    assert short >= 6, said
