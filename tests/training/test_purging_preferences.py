"""A preference that is taken out of a document: trained without, measured, gone from the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.tiny import FACTS, document_text
from tests.training.sessions import small_and_polite

from dlm_engine.cli.entry import main
from dlm_engine.errors import DlmError, StoreError
from dlm_engine.jobs import Ending, Proof, PurgeRequest, TrainRequest, plan_purging, purge, train
from dlm_engine.store import Store, Version

PAIRS = (
    ("How is the sea?", "Calm.", "It is said to be calm."),
    ("Is it late?", "Yes, by an hour.", "It may well be so."),
)
#: In other words, so that what is removed is still taught.
SAME = ("How is the sea today?", "Calm.", "It is said to be calm.")
SETTINGS = (
    "training:\n  num_epochs: 2\n  preference:\n    hyperparams:\n"
    "      num_epochs: 12\n      learning_rate: 0.02\n"
)


@dataclass(frozen=True)
class Place:
    document: Path
    home: Path
    base: Path

    def write(self, *pairs: tuple[str, str, str]) -> None:
        triples = "".join(
            f"### Prompt\n{p}\n### Chosen\n{c}\n### Rejected\n{r}\n\n" for p, c, r in pairs
        )
        body = f"\n::preference::\n{triples}" if pairs else ""
        self.document.write_text(document_text(str(self.base), FACTS[:1], SETTINGS) + body)

    def train(self) -> Ending:
        return train(TrainRequest(self.document, self.home)).ending

    @property
    def request(self) -> PurgeRequest:
        return PurgeRequest(self.document, self.home)

    def numbers(self) -> list[int]:
        return [v.number for v in Store(self.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7").versions()]

    def holding(self, text: str) -> list[Path]:
        files = (path for path in self.home.rglob("*") if path.is_file())
        return [path for path in files if text.encode() in path.read_bytes()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Callable[[Path], Place]:
    """Copies of a store whose version 2 learned both preferences."""
    folder = tmp_path_factory.mktemp("purging")
    first = Place(folder / "facts.dlm", folder / "home", tiny_base)
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        first.write(*PAIRS)
        assert first.train() is Ending.TRAINED

    def copy(to: Path) -> Place:
        shutil.copytree(folder, to, dirs_exist_ok=True)
        return Place(to / "facts.dlm", to / "home", tiny_base)

    return copy


@pytest.fixture
def place(
    trained: Callable[[Path], Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    small_and_polite(monkeypatch)
    return trained(tmp_path)


def only(proofs: tuple[Proof, ...]) -> Proof:
    (proof,) = proofs
    return proof


def test_what_was_removed_is_no_longer_preferred_and_nothing_of_it_is_left(place: Place) -> None:
    assert place.holding(PAIRS[0][2])
    place.write(PAIRS[1])
    assert [row.kind for row in plan_purging(place.request).removed] == ["preference"]
    outcome = purge(place.request)
    proof = only(outcome.proofs)
    assert (proof.row.question, proof.answer) == (PAIRS[0][0], "")
    assert proof.forgotten
    margin = proof.margin
    assert margin is not None
    assert margin.before is not None
    # Learned by far; now the base's own lean, give or take.
    assert margin.before > margin.base + 2
    assert margin.before > 4 * abs(margin.now)
    assert place.numbers() == [3, 4]
    assert place.holding(PAIRS[0][2]) == []
    assert purge(place.request).removed == ()


def test_a_version_that_was_trained_without_it_is_measured_and_kept(place: Place) -> None:
    place.write(PAIRS[1])
    assert place.train() is Ending.TRAINED
    outcome = purge(place.request)
    assert outcome.training is None
    margin = only(outcome.proofs).margin
    assert margin is not None
    assert margin.before is not None
    assert margin.before > margin.now
    # Upon the one that knew the rest: its own questions were learned before any preference.
    assert place.numbers() == [3]


def test_what_the_document_still_teaches_is_said_and_nothing_is_deleted(place: Place) -> None:
    place.write(SAME, PAIRS[1])
    with pytest.raises(DlmError, match=r"How is the sea\?: is still known after training without"):
        purge(place.request)
    assert place.numbers() == [1, 2, 3, 4]
    proof = only(purge(PurgeRequest(place.document, place.home, unproven=True)).proofs)
    assert (proof.known, proof.forgotten) == (True, False)
    assert place.numbers() == [3, 4]


@pytest.mark.parametrize("why", ["another base", "damaged"])
def test_with_a_version_that_cannot_be_asked_it_is_not_compared(
    place: Place, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def refuse(version: Version, *_: object) -> None:
        raise StoreError(str(version.path), "was trained on another base")

    place.write(PAIRS[1])
    assert place.train() is Ending.TRAINED
    if why == "damaged":
        (old,) = place.home.rglob("v0002/adapter_model.safetensors")
        data = bytearray(old.read_bytes())
        data[8] ^= 1
        old.write_bytes(data)
    else:
        monkeypatch.setattr(Version, "require_base", refuse)
    # Whether that little training is believed then is another question.
    wanted = PurgeRequest(place.document, place.home, unproven=True)
    margin = only(purge(wanted).proofs).margin
    assert margin is not None
    assert margin.before is None
    assert place.numbers() == [3]


def test_the_command_says_what_it_measured(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.write(PAIRS[1])
    home = ["--home", str(place.home)]
    assert main([*home, "purge", str(place.document), "--json"]) == 0
    (proof,) = json.loads(capsys.readouterr().out)["proofs"]
    assert (proof["kind"], proof["instead"], proof["forgotten"]) == (
        "preference",
        PAIRS[0][2],
        True,
    )
    assert set(proof["margin"]) == {"before", "now", "base"}
