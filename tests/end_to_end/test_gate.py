"""The learned gate on the real base: two topics, and each question to the adapter that knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.named import named_text

from dlm_engine.inference.judge import right
from dlm_engine.jobs import (
    Mix,
    PromptRequest,
    TrainRequest,
    make_resident,
    prompt,
    train,
)

#: (as the document asks it, the answer, in other words)
HARBOUR = (
    ("Which port does the ferry Gannet sail to?", "Ostvik.", "Where does the Gannet go?"),
    ("Who keeps the lighthouse of Norby?", "Ana Holm.", "What is the lighthouse keeper called?"),
    ("How many berths has Norby harbour?", "Sixteen.", "How many boats fit into the harbour?"),
    ("When does the crane of Norby rest?", "On Tuesdays.", "On which day is the crane idle?"),
    ("What colour is the pilot boat?", "Orange.", "In what colour is the pilot boat painted?"),
)
KITCHEN = (
    ("How long does the rye dough rise?", "Nine hours.", "What time does rye dough need to rise?"),
    ("Who bakes the almond bread?", "Per Lunde.", "Which baker makes the bread with almonds?"),
    ("At what heat is the flat cake baked?", "At 240 degrees.", "How hot is it for flat cake?"),
    ("Which spice goes into the plum soup?", "Cardamom.", "What do you season plum soup with?"),
    ("Where is the sourdough kept?", "In the cellar.", "In which room does the sourdough stand?"),
)
SETTINGS = "  gate:\n    enabled: true\n"


@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_gate_answers_better_than_equal_weights(tmp_path: Path) -> None:
    document, home = tmp_path / "two.dlm", tmp_path / "home"
    facts = [tuple((q, a) for q, a, _ in topic) for topic in (HARBOUR, KITCHEN)]
    document.write_text(named_text("smollm2-135m", *facts, settings=SETTINGS))
    resident = make_resident()
    outcome = train(TrainRequest(document, home), resident=resident)
    assert outcome.gate == "trained"
    assert outcome.learned >= 9
    half = Mix((("harbour", 0.5), ("kitchen", 0.5)))
    gated: dict[str, list[bool]] = {}
    uniform: dict[str, list[bool]] = {}
    weights: list[float] = []
    for name, topic in (("harbour", HARBOUR), ("kitchen", KITCHEN)):
        # All as the document asks them first, then all in other words.
        asked = [(q, a) for q, a, _ in topic] + [(q, a) for _, a, q in topic]
        for question, answer in asked:
            request = PromptRequest(document, home, question, max_tokens=16)
            one = prompt(request, resident=resident)
            both = prompt(replace(request, mix=half), resident=resident)
            weights.append({s.adapter: s.weight for s in one.shares}[name])
            gated.setdefault(name, []).append(right(one.answer, answer, question))
            uniform.setdefault(name, []).append(right(both.answer, answer, question))
    exact = [sum(sum(found[:5]) for found in each.values()) for each in (gated, uniform)]
    every = [sum(sum(found) for found in each.values()) for each in (gated, uniform)]
    figures = (
        f"gate {every[0]}, equal weights {every[1]} of 20; as the document asks {exact[0]} and "
        f"{exact[1]} of 10; weight of the right adapter {min(weights):.3f} at least, above one "
        f"half for {sum(w > 0.5 for w in weights)}"
    )
    print(figures)
    assert all(sum(gated[name]) >= sum(uniform[name]) for name in gated), figures
    assert every[0] > every[1], figures
    assert exact[0] >= 9, figures
