"""From the document to the run: what is written is what the steps are taken with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from tests.tiny import FACTS, document_text
from tests.training.sessions import Place

from dlm_engine.hardware import Hardware, Workload, detect_light, estimate, shape_of
from dlm_engine.jobs import Choice, Event, Progress
from dlm_engine.training import building, given
from dlm_engine.training.sft import Run

RATE = 0.01


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were built."""
    found: list[Run] = []
    build = building.build

    def noted(*arguments: Any) -> building.Built:
        built = build(*arguments)
        found.append(built.run)
        return built

    monkeypatch.setattr(building, "build", noted)
    return found


def write(place: Place, settings: str, base: Path, facts: tuple[tuple[str, str], ...]) -> None:
    extra = f"training:\n  learning_rate: {RATE}\n  num_epochs: 4\n{settings}"
    place.document.write_text(document_text(str(base), facts, extra))


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ("lr_scheduler: constant\n  warmup_ratio: 0.5", [0.5, 1, 1, 1]),
        ("lr_scheduler: linear\n  warmup_ratio: 0", [1, 0.775, 0.55, 0.325]),
        ("lr_scheduler: cosine\n  warmup_ratio: 0", [1, 0.868, 0.55, 0.232]),
    ],
)
def test_the_rate_is_the_authors(
    fresh: Place, tiny_base: Path, settings: str, rates: list[float]
) -> None:
    write(fresh, f"  {settings}\n", tiny_base, FACTS)
    told: list[Event] = []
    fresh.train(tell=told.append)
    found = [event.rate / RATE for event in told if isinstance(event, Progress)]
    assert found == pytest.approx(rates, rel=1e-2)


def test_the_optimiser_is_the_authors(fresh: Place, tiny_base: Path, runs: list[Run]) -> None:
    pytest.importorskip("bitsandbytes")
    for name in ("adamw_bnb_8bit", "galore_adamw"):
        write(fresh, f"  optimizer: {name}\n", tiny_base, FACTS)
        fresh.train(max_steps=1)
    write(fresh, "", tiny_base, FACTS)
    fresh.train(max_steps=1)
    assert [type(run.optimiser).__name__ for run in runs] == ["AdamW8bit", "GaLore", "AdamW"]


# --- the plan -----------------------------------------------------------------------------------


def machine(base: Path, tokens: int, switch: Literal["off", "on"]) -> Hardware:
    """A CPU whose memory lasts for a step on a sequence of so many tokens, and hardly more."""
    shape = shape_of(json.loads((base / "config.json").read_text()))
    layers = shape.layers // 3
    rank, kind = shape.lora_params(16) // 3, "adamw_torch"
    work = Workload(
        shape, "fp32", "sdpa", tokens, rank, kind, "none", "no", "cpu", 1.0, layers=layers
    )
    return replace(detect_light(), total_memory=round(estimate(work, 1, switch).total / 0.6) + 9)


@pytest.mark.parametrize(
    ("room", "switch", "packs", "settings", "said"),
    [
        (640, "off", 1, "", "up to 640 tokens at a time"),
        (90, "off", 3, "", "up to 80 tokens at a time"),
        (60, "on", 3, "", " tokens at a time"),
        (640, "off", 2, "  micro_batch_size: 2\n", "up to 2 rows, "),
    ],
)
def test_what_is_planned_is_what_goes_through(
    fresh: Place,
    tiny_base: Path,
    runs: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
    switch: Literal["off", "on"],
    packs: int,
    settings: str,
    said: str,
) -> None:
    monkeypatch.setattr(given, "detect", lambda: machine(tiny_base, room, switch))
    write(fresh, settings, tiny_base, FACTS)
    told: list[Event] = []
    fresh.train(tell=told.append, max_steps=1)
    (run,) = runs
    assert len(run.packs) == packs
    plans = [event.value for event in told if isinstance(event, Choice) and event.name == "plan"]
    (batch,) = (plan for plan in plans if said in plan)
    tokens = int(batch.split(" tokens")[0].split()[-1])
    assert (
        max(laid.pack.tokens for laid in run.packs) <= tokens <= max(room, 640 if settings else 0)
    )
    # Everyday questions, preferences and saves keep to it too.
    assert run.settings.pack_tokens == (640 if settings else tokens)
    checkpointing = f"gradient checkpointing {switch}"
    assert checkpointing in plans
    assert run.trainee.inner.layers[0].gradient_checkpointing is (switch == "on")
