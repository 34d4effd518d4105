"""What ended a run is told in summary, log and metrics; "early" is only what was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import document_text
from tests.training.sessions import SHORT, Place

from dlm_engine.cli.entry import main
from dlm_engine.jobs import EndedBy, TrainOutcome
from dlm_engine.store import read_log, read_run

QUICK = "training:\n  learning_rate: 0.02\n"
PROSE = "".join(f"\n::prose::\nBoat {n} lies at pier {n % 7}.\n" for n in range(30))

#: Lines of frontmatter, more of the document, and what the run is asked.
RUNS: dict[EndedBy, tuple[str, str, dict[str, Any]]] = {
    EndedBy.LEARNED: (QUICK, "", {}),
    EndedBy.CAP: (SHORT, "", {}),
    EndedBy.MAX_STEPS: (SHORT, "", {"max_steps": 1}),
    EndedBy.TIME_LIMIT: (SHORT, "", {"time_limit": 1e-9}),
    EndedBy.EARLY_STOP: (SHORT.replace("4", "9"), PROSE, {"early_stop": 1}),
}


def trained(place: Place, ended: EndedBy, monkeypatch: pytest.MonkeyPatch) -> TrainOutcome:
    if ended is EndedBy.EARLY_STOP:
        losses = iter([3.0, 4.0, 5.0])
        monkeypatch.setattr("dlm_engine.training.early.mean_loss", lambda *_: next(losses))
    return place.train(**RUNS[ended][2])


@pytest.mark.parametrize("ended", RUNS)
def test_what_ended_a_run_is_kept(
    small: None,
    tiny_base: Path,
    tmp_path: Path,
    ended: EndedBy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    extra, more, _ = RUNS[ended]
    place = Place(tmp_path / "facts.dlm", tmp_path / "home")
    place.document.write_text(document_text(str(tiny_base), extra=extra) + more)
    assert trained(place, ended, monkeypatch).ended_by is ended
    (log,) = (place.store.root / "logs").glob("*.jsonl")
    summary = json.loads(log.with_suffix(".summary.json").read_text())
    complete = list(read_log(log))[-1]
    for said in (summary, complete):
        assert (said["ended_by"], said["early_stopped"]) == (ended, ended is EndedBy.EARLY_STOP)
    figures = read_run(place.store.root)
    assert figures is not None
    assert {p.phase: p.ended_by for p in figures.phases}["sft"] == ended
    shown = ["--home", str(place.home), "metrics", "show", str(place.document), "--run", "1"]
    assert main(shown) == 0
    assert f"(version 1, ended by {ended})" in " ".join(capsys.readouterr().out.split())
