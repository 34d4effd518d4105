"""What of the version before is known still: told, and kept where it can be read again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import FACTS, document_text
from tests.training.sessions import Place, small_and_polite

from dlm_engine.cli.entry import main
from dlm_engine.jobs import Start
from dlm_engine.store import read_run

QUICK = "training:\n  learning_rate: 0.02\n"
QUESTIONS = sorted(question for question, _ in FACTS)


@pytest.fixture(scope="module")
def once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A document that was learned, and then, anew, hardly at all."""
    folder = tmp_path_factory.mktemp("forgetful")
    place = Place(folder / "facts.dlm", folder / "home")
    place.document.write_text(document_text(str(tiny_base), extra=QUICK))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        assert place.train().learned == len(FACTS)
        outcome = place.train(Start.FRESH, max_steps=1)
    assert sorted(outcome.lost) == QUESTIONS
    return place


@pytest.fixture
def forgetful(once: Place, tmp_path: Path) -> Place:
    shutil.copytree(once.document.parent, tmp_path / "own")
    return Place(tmp_path / "own" / "facts.dlm", tmp_path / "own" / "home")


def shown(place: Place, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--home", str(place.home), *arguments]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_what_is_lost_is_kept_in_the_metrics_and_the_summary_and_shown(
    forgetful: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place = forgetful
    figures = read_run(place.store.root)
    assert figures is not None
    (evaluation,) = figures.evaluations
    assert (evaluation.kept, len(figures.lost)) == (0, 3)
    said = "0 of 3 answers that the version before knew are kept; no longer known: "
    assert f"sft, {said}" in shown(place, capsys, "metrics", "show", str(place.document), "--run=2")
    assert f"kept {said}" in shown(place, capsys, "show", str(place.document))
    given = shown(place, capsys, "metrics", "show", str(place.document), "--run=2", "--json")
    facts: Any = json.loads(given)
    assert sorted(row["question"] for row in facts["lost"]) == QUESTIONS
    (kept,) = json.loads(shown(place, capsys, "show", str(place.document), "--json"))["store"][
        "retention"
    ]
    assert kept["kept"] == 0
    assert sorted(row["question"] for row in kept["lost"]) == QUESTIONS


def test_only_the_version_itself_holds_the_texts(forgetful: Place) -> None:
    """So that `dlm purge`, which deletes versions, has nothing else to look through."""
    root = forgetful.store.root
    for path in (*root.glob("metrics.sqlite*"), *(root / "logs").iterdir()):
        assert not [q for q in QUESTIONS if q.encode() in path.read_bytes()], path
    summary = json.loads(max((root / "logs").glob("*.summary.json")).read_text())
    assert (summary["kept"], len(summary["lost"])) == (0, 3)


def test_the_first_version_has_nothing_to_keep(
    trained: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = read_run(trained.store.root)
    assert figures is not None
    assert [row.kept for row in figures.evaluations] == [None]
    assert " kept" not in shown(trained, capsys, "show", str(trained.document))


def test_a_summary_of_an_older_form_is_read(
    forgetful: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    path = max((forgetful.store.root / "logs").glob("*.summary.json"))
    older: dict[str, Any] = {"retention_loss": None, "probes": []}
    path.write_text(json.dumps(json.loads(path.read_text()) | older))
    assert "0 of 3 answers" in shown(forgetful, capsys, "show", str(forgetful.document))
    path.write_text("{")
    assert "answers" not in shown(forgetful, capsys, "show", str(forgetful.document))
