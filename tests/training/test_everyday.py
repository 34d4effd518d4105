"""A survey that is kept is the one that would be made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from tests.tiny import FACTS, document_text
from tests.training.parts import lay, rows, trainee

from dlm_engine.data.packs import packs_of
from dlm_engine.jobs import Start, Status, TrainRequest, train
from dlm_engine.training import everyday
from dlm_engine.training.aim import Everyday
from dlm_engine.training.everyday import surveyed

PACKS = packs_of(rows(9, 100), 40)


class Surveys:
    """One trainee that surveys `PACKS` with what `folder` keeps, and how often it had to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0
        self.trainee = trainee()

    def take(self, **conditions: object) -> Everyday:
        def making() -> None:
            self.made += 1

        return surveyed(
            self.folder,
            conditions,
            self.trainee,
            PACKS,
            lambda packs: lay(self.trainee, list(packs)),
            making,
        )

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def surveys(tmp_path: Path) -> Surveys:
    return Surveys(tmp_path / "everyday")


def assert_equal(one: Everyday, other: Everyday) -> None:
    assert one.moments.keys() == other.moments.keys()
    assert all(
        torch.equal(moment.rounded(), other.moments[name].rounded())
        for name, moment in one.moments.items()
    )
    assert all(torch.equal(a, b) for a, b in zip(one.hidden, other.hidden, strict=True))
    for (pack, trunk), (like, alike) in zip(one.packs, other.packs, strict=True):
        assert torch.equal(pack.mask, like.mask)
        assert trunk is not None
        assert alike is not None
        assert torch.equal(trunk, alike)


def test_the_second_time_it_is_read(surveys: Surveys) -> None:
    made, read = surveys.take(base="a"), surveys.take(base="a")
    assert surveys.made == 1
    assert_equal(made, read)


def test_under_other_conditions_it_is_made_anew(surveys: Surveys) -> None:
    surveys.take(base="a")
    surveys.take(base="b")
    assert surveys.made == 2
    assert len(surveys.files()) == 2


def test_a_damaged_one_is_made_anew_and_put_in_its_place(surveys: Surveys) -> None:
    made = surveys.take()
    (path,) = surveys.files()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert_equal(surveys.take(), made)
    assert surveys.made == 2
    assert surveys.files() == [path]
    surveys.take()
    assert surveys.made == 2


def test_a_disk_that_refuses_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    surveys = Surveys(tmp_path / "file")
    assert_equal(surveys.take(), surveys.take())
    assert surveys.made == 2


def test_what_was_used_last_is_kept(surveys: Surveys, monkeypatch: pytest.MonkeyPatch) -> None:
    surveys.take(base="a")
    (first,) = surveys.files()
    monkeypatch.setattr(everyday, "MOST_KEPT", first.stat().st_size * 5 // 2)
    surveys.take(base="b")
    for path in surveys.files():
        os.utime(path, (1, 2 if path == first else 3))
    surveys.take(base="a")
    abandoned = surveys.folder / f".{first.name}.tmp-999999999-00000000"
    abandoned.write_bytes(b"half")
    surveys.take(base="c")
    assert first in surveys.files()
    assert len(surveys.files()) == 2
    surveys.take(base="a")
    assert surveys.made == 3


def test_a_run_that_reads_one_ends_in_the_same_bytes(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_CACHE_DIR", str(tmp_path / "cache"))
    document = tmp_path / "notes.dlm"
    document.write_text(document_text(str(tiny_base), FACTS[:4]), encoding="utf-8")
    told: list[str] = []

    def run() -> str | None:
        request = TrainRequest(document, tmp_path / "home", start=Start.FRESH)
        outcome = train(request, lambda e: told.append(e.message) if type(e) is Status else None)
        return outcome.adapter_sha256

    one, two = run(), run()
    assert one == two is not None
    assert sum("everyday" in message for message in told) == 1
