"""What TRL is given is what dlm is given, it is trained for real, and both are measured alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.bench.learning import __main__ as learning
from tests.bench.learning import against
from tests.bench.learning.facts import LATER, WORLDS, Lesson, lesson_of
from tests.bench.learning.measure import Found, Score, Trained, margins, text_loss
from tests.bench.learning.usual import RECIPES, Recipe, train
from tests.tiny import write_base

from dlm_engine.bases import Weights, resolve

#: stands for the base where nothing is computed
NONE: Any = None


@pytest.mark.parametrize(
    ("name", "facts", "pairs", "texts"),
    [
        ("harbour", 12, 0, 0),
        ("station", 60, 0, 0),
        ("hut", 6, 8, 0),
        ("radio", 0, 6, 0),
        ("tree", 0, 0, 2),
        ("edited", 12, 0, 0),
        ("edit", 1, 0, 0),
    ],
)
def test_a_lesson_is_what_its_world_teaches(name: str, facts: int, pairs: int, texts: int) -> None:
    lesson = lesson_of(name)
    assert (len(lesson.facts), len(lesson.pairs), len(lesson.texts)) == (facts, pairs, texts)


def test_the_edited_harbour_differs_in_the_first_edit_and_the_next_is_another() -> None:
    edited = lesson_of("edited").facts
    assert [f for f in edited if f not in WORLDS["harbour"]] == [LATER["edits"][0]]
    assert lesson_of("edit").facts == (LATER["edits"][1],)


@pytest.mark.parametrize(
    ("recipe", "rows", "epochs"),
    [
        ("usual", 12, 3),
        ("usual", 2000, 3),
        ("strong", 12, 20),
        ("strong", 60, 15),
        ("strong", 2000, 3),
    ],
)
def test_many_rows_are_passed_over_less_often(recipe: str, rows: int, epochs: int) -> None:
    assert RECIPES[recipe].epochs_of(rows) == epochs


def test_trl_trains_facts_then_preferences_and_goes_on_with_texts(tmp_path: Path) -> None:
    base, first, further = (tmp_path / name for name in ("base", "first", "further"))
    write_base(base)
    spec = resolve(str(base), pinned_revision=None, home=tmp_path)
    weights = Weights(base, spec, spec.revision, spec.revision, "test")
    recipe = Recipe(4, "all-linear", 1e-2, 3, True, 1e-2)
    facts, pairs = WORLDS["harbour"][:2], lesson_of("radio").pairs[:2]
    assert train(recipe, Lesson(facts, pairs), base, first) == (6, 6)
    before, after = (margins(weights, adapter, pairs) for adapter in (None, first))
    assert sum(after) > sum(before)
    texts = ("Low water is at six.", "Boats wait for the lantern.")
    assert train(recipe, Lesson(texts=texts), base, further, first) == (3, 3)
    assert text_loss(weights, further, texts) < text_loss(weights, first, texts)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What TRL was asked to train; the strong recipe knows ten facts and the usual one none."""
    asked: list[tuple[str, ...]] = []

    def run(command: Sequence[str], **options: Any) -> Any:
        recipe, name, folder, *more = command[3:]
        asked.append((recipe, name, *("further" for _ in more[1:])))
        Path(folder).mkdir(exist_ok=True)
        known = 10 if recipe == "strong" else 0
        text = json.dumps([15 * known, 20 * known] if known else [3, 3])
        (Path(folder) / "steps.json").write_text(text)
        return SimpleNamespace(returncode=0, stderr="")

    def find(seconds: float, steps: int, lesson: Any, weights: Any, adapter: Path | None) -> Found:
        known = 10 if steps == 150 else 0
        margins = tuple(known - 5.0 for _ in lesson.pairs)
        nats = 2.0 if known else 4.0
        return Found(seconds, steps, Score(known, known, 40 - known, 5, ()), margins, nats)

    monkeypatch.setattr("subprocess.run", run)
    monkeypatch.setattr(against, "find", find)
    return asked


@pytest.mark.parametrize(("known", "met"), [(10, True), (9, False)])
def test_a_world_is_beaten_by_the_better_of_both_recipes(
    known: int, met: bool, trained: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    own = Found(20.0, 9, Score(known, 10, 30, 5, ()), (1.0,) * 8)
    bar, margin = against.world("hut", own, NONE)
    assert trained == [("usual", "hut"), ("strong", "hut")]
    assert bar.met is met
    assert f"hut, right of 60 beside the better of TRL's: {48 + known}, at least 58" in str(bar)
    assert "hut, nats a token beside the better of TRL's: 1, at least 5" in str(margin)
    said = capsys.readouterr().out
    assert "8/8 wanted answers likelier, all by +5.00 nats a token" in said
    assert said.count("all 20 epochs would take about") == 1


@pytest.mark.parametrize(("nats", "wanted"), [(2.1, 30), (1.9, 0), (4.0, 40)])
def test_who_read_a_text_less_well_is_not_compared(
    nats: float, wanted: int, trained: list[tuple[str, ...]]
) -> None:
    (bar,) = against.world("tree", Found(20.0, 9, Score(0, 0, 38, 5, ()), nats=nats), NONE)
    assert (bar.found, bar.wanted) == (38, wanted)


@pytest.mark.parametrize(("seconds", "missed"), [(0.0, 0), (1000.0, 1)])
def test_an_edit_is_learned_anew_and_the_next_by_going_on(
    seconds: float, missed: int, trained: list[tuple[str, ...]]
) -> None:
    bars = against.edits(Found(seconds, 4, Score(12, 12, 38, 5, ())), NONE)
    assert trained == [
        (recipe, *lesson) for recipe in RECIPES for lesson in (("edited",), ("edit", "further"))
    ]
    assert [bar.met for bar in bars] == [True, not missed]


def test_all_that_is_asked_for_is_compared_and_seeds_are_summed_up(
    trained: list[tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def train_world(world: str, folder: Path, *options: str, training: str = "") -> Trained:
        seed = int(options[1])
        return Trained(folder, 10.0 * seed, {"path": "version", "steps": 9 + seed})

    def find(s: float, steps: int, lesson: Lesson, weights: Any, adapter: Path | None) -> Found:
        return Found(s, steps, Score(12, 12, 39, 5, ()), (2.0,) * len(lesson.pairs), 1.0)

    monkeypatch.setattr(learning, "train_world", train_world)
    monkeypatch.setattr(learning, "train_file", lambda *arguments: train_world("", Path(), "", "0"))
    monkeypatch.setattr(learning, "find", find)
    monkeypatch.setattr("dlm_engine.bases.resolve", lambda *arguments, **named: None)
    monkeypatch.setattr("dlm_engine.bases.obtain_weights", lambda *arguments, **named: None)
    options = ["--seeds", "3", "--worlds", "hut", "station", "--without", "edits"]
    learning.main([*options, "--against-trl"])
    assert [name for _, name in trained] == ["hut", "hut", "station", "station", "tree", "tree"]
    said = capsys.readouterr().out
    assert said.count("3 seeds, least/median/most: seconds 0/10/20  steps 9/10/11") == 2
    assert "hut, right of 60 beside the better of TRL's" in said
    assert "station, right of 160 beside the better of TRL's" in said
    assert "tree, general of 40 beside the best of TRL's" in said
