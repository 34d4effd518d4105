"""What is taken out of a document is forgotten, shown to be, and leaves nothing on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.tiny import FACTS, document_text

from dlm_engine.cli.entry import main
from dlm_engine.data.token_cache import TokenCache
from dlm_engine.errors import DlmError, StoreError, TrainingError
from dlm_engine.jobs import (
    Ending,
    PurgeOutcome,
    PurgeRequest,
    Start,
    TrainRequest,
    plan_purging,
    purge,
    train,
)
from dlm_engine.store import Garbage, Store, learned_by, purge_store, token_cache_path
from dlm_engine.store.atomic import remove_tree
from dlm_engine.training import proving

QUICK = "training:\n  learning_rate: 0.02\n"
PROSE = "\n\nThe lamp is lit at dusk.\n"


@dataclass(frozen=True)
class Place:
    document: Path
    home: Path
    base: Path

    def write(self, *facts: tuple[str, str], prose: str = "") -> None:
        text = document_text(str(self.base), facts, QUICK).replace("---\n\n::", f"---\n{prose}\n::")
        self.document.write_text(text)

    def train(self, start: Start = Start.AUTO) -> Ending:
        return train(TrainRequest(self.document, self.home, start)).ending

    @property
    def store(self) -> Store:
        return Store(self.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")

    @property
    def request(self) -> PurgeRequest:
        return PurgeRequest(self.document, self.home)

    def numbers(self) -> list[int]:
        return [version.number for version in self.store.versions()]

    def holding(self, text: str) -> list[Path]:
        files = (path for path in self.home.rglob("*") if path.is_file())
        return [path for path in files if text.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Callable[[Path], Place]:
    """Copies of a store whose version 1 learned `FACTS` and a line of prose."""
    import shutil

    folder = tmp_path_factory.mktemp("purging")
    first = Place(folder / "facts.dlm", folder / "home", tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        _quicken(patch)
        first.write(*FACTS, prose=PROSE)
        assert first.train() is Ending.TRAINED

    def copy(to: Path) -> Place:
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return Place(to / "facts.dlm", to / "home", tiny_base)

    return copy


def _quicken(patch: pytest.MonkeyPatch) -> None:
    from dlm_engine.training import anchors

    patch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    patch.setenv("DLM_THREADS", "1")


@pytest.fixture
def place(
    trained: Callable[[Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    _quicken(monkeypatch)
    return trained(tmp_path)


def test_a_version_says_what_it_was_taught(place: Place) -> None:
    current = place.store.current()
    assert current is not None
    rows = learned_by(current)
    assert rows is not None
    assert {(r.kind, r.question, r.text) for r in rows} == {
        ("text", "", PROSE.strip()),
        *(("chat", question, answer) for question, answer in FACTS),
    }


def test_what_was_removed_is_forgotten_and_nothing_of_it_is_left(place: Place) -> None:
    export = place.store.root / "exports" / "Q8_0"
    export.mkdir(parents=True)
    (export / "export_manifest.json").write_text('{"adapter_version": 1, "asked": "It is 4417."}')
    place.write(*FACTS[:2])
    tokens = TokenCache(token_cache_path(place.home))
    assert tokens.facts().texts
    assert place.holding(FACTS[2][1])
    outcome = purge(place.request)
    assert outcome.training is not None
    assert outcome.training.ending is Ending.TRAINED
    assert {row.text for row in outcome.removed} == {FACTS[2][1], PROSE.strip()}
    assert len(outcome.proofs) == 2
    assert all(proof.forgotten for proof in outcome.proofs)
    assert place.numbers() == [2]
    assert place.holding(FACTS[2][1]) == []
    assert place.holding("lit at dusk") == []
    assert not export.exists()
    assert not tokens.facts().texts
    assert purge(place.request).removed == ()
    assert place.train() is Ending.UNCHANGED


def test_looking_says_it_all_and_does_nothing(place: Place) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    before = sorted(place.home.rglob("*"))
    plan = plan_purging(place.request)
    assert [row.question for row in plan.removed] == [FACTS[2][0]]
    assert plan.trains
    assert [item.path.name for item in plan.garbage.items] == ["v0001"]
    assert sorted(place.home.rglob("*")) == before


def test_a_version_that_was_trained_without_it_is_asked_and_kept(place: Place) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    assert place.train() is Ending.TRAINED
    outcome = purge(place.request)
    assert outcome.training is None
    assert place.numbers() == [2]
    assert [proof.row.question for proof in outcome.proofs] == [FACTS[2][0]]


def test_an_answer_that_was_changed_is_forgotten(place: Place) -> None:
    place.write(*FACTS[:2], (FACTS[2][0], "It is 9021."), prose=PROSE)
    outcome = purge(place.request)
    assert [row.text for row in outcome.removed] == [FACTS[2][1]]
    assert "9021" in outcome.proofs[0].answer
    assert place.holding(FACTS[2][1]) == []


def test_what_is_still_known_is_said_and_nothing_is_deleted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    assert place.train() is Ending.TRAINED
    asked = iter([proving.Said("It is 4417.", True), proving.Said("?", False)] * 2)
    monkeypatch.setattr(proving, "_said", lambda *_: next(asked))
    with pytest.raises(DlmError, match="still known after training without it"):
        purge(place.request)
    assert place.numbers() == [1, 2]
    request = PurgeRequest(place.document, place.home, unproven=True)
    assert not purge(request).proofs[0].forgotten
    assert place.numbers() == [2]


def test_a_source_that_is_not_there_now_was_not_removed(place: Place) -> None:
    notes = place.document.parent / "notes"
    notes.mkdir()
    (notes / "harbour.md").write_text("The harbour freezes in January.\n")
    text = place.document.read_text().replace(QUICK, f"{QUICK}  sources:\n    - path: notes\n")
    place.document.write_text(text)
    assert place.train() is Ending.TRAINED
    away = notes.rename(notes.with_name("away"))
    for job in (plan_purging, purge):
        with pytest.raises(TrainingError, match=r"training\.sources: notes"):
            job(place.request)
    assert place.numbers() == [1, 2]
    away.rename(notes)
    assert plan_purging(place.request).removed == ()


def test_nothing_removed_is_nothing_done(place: Place) -> None:
    assert purge(place.request) == PurgeOutcome((), (), None, Garbage(()))
    assert place.numbers() == [1]


def test_a_store_keeps_its_current_version_whatever_it_knows(place: Place) -> None:
    current = place.store.current()
    assert current is not None
    rows = learned_by(current)
    assert rows
    with pytest.raises(StoreError, match="was taught what is to be forgotten"):
        purge_store(place.store, {rows[0].key})
    assert place.numbers() == [1]


def test_stopped_training_deletes_nothing(place: Place) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    outcome = purge(place.request, cancelled=lambda: True)
    assert outcome.cancelled
    assert place.numbers() == [1]


class Killed(BaseException):
    """As a process that is gone: nothing after it runs."""


@pytest.mark.parametrize("deletions", [0, 1, 2, 3])
def test_killed_while_it_deletes_it_can_be_run_again(
    place: Place, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    """Of an export, two versions: the first `deletions` are through, the next is half done."""
    assert place.train(Start.FRESH) is Ending.TRAINED
    export = place.store.root / "exports" / "Q8_0"
    export.mkdir(parents=True)
    (export / "export_manifest.json").write_text('{"adapter_version": 1, "asked": "It is 4417."}')
    place.write(*FACTS[:2], prose=PROSE)
    gone: list[Path] = []

    def remove(path: Path) -> None:
        if len(gone) == deletions:
            raise Killed
        gone.append(path)
        remove_tree(path)

    with monkeypatch.context() as patch:
        patch.setattr("dlm_engine.store.upkeep.remove_tree", remove)
        if deletions < 3:
            with pytest.raises(Killed):
                purge(place.request)
        else:
            purge(place.request)
    purge(place.request)
    assert place.numbers() == [3]
    assert place.holding(FACTS[2][1]) == []
    assert not TokenCache(token_cache_path(place.home)).facts().texts


def test_a_gate_beside_other_versions_goes_too(place: Place) -> None:
    gate = place.store.root / "adapter" / "_gate"
    gate.mkdir()
    (gate / "gate_config.json").write_text('{"adapter_versions": {"harbour": 1}}')
    place.write(*FACTS[:2], prose=PROSE)
    purge(place.request)
    assert not gate.exists()


def test_numbers_are_not_given_twice(place: Place) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    purge(place.request)
    place.write(*FACTS, prose=PROSE)
    place.train()
    assert place.numbers() == [2, 3]


def test_the_command_says_what_it_asked_and_what_was_answered(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(*FACTS[:2], prose=PROSE)
    home = ["--home", str(place.home)]
    assert main([*home, "purge", str(place.document), "--dry-run"]) == 0
    said = capsys.readouterr()
    assert FACTS[2][0] in said.out
    assert "would be trained without it" in said.err
    assert main([*home, "purge", str(place.document), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["trained"] == 2
    assert [(p["question"], p["forgotten"]) for p in facts["proofs"]] == [(FACTS[2][0], True)]
    assert main([*home, "purge", str(place.document)]) == 0
    assert "no version learned anything that is no longer in it" in capsys.readouterr().err
