"""A process never has the whole base: what it reads of it, and what it holds."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.tiny import make_model, write_base

from dlm_engine.bases import Stored, Weights, stored_tensors
from dlm_engine.errors import BaseModelError
from dlm_engine.inference import hollow
from dlm_engine.inference.loading import load_base
from dlm_engine.training import ranks
from dlm_engine.training.divided import divide, divided_of


def loaded(folder: Path, precision: str, attention: str = "sdpa") -> Any:
    weights = cast(Weights, SimpleNamespace(path=folder))
    return load_base(weights, precision, attention, "cpu", place=divide)


def held_by(base: Any) -> int:
    """Bytes behind everything that a base consists of."""
    parts = divided_of(base)
    assert parts is not None
    tensors = chain(base.parameters(), base.buffers(), (unit.part for unit in parts._units))
    storages = {each.untyped_storage() for each in tensors}
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "tied"), [("llama", True), ("llama", False), ("gemma2", True), ("qwen3", True)]
)
def test_each_process_reads_and_holds_its_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, tied: bool, precision: str
) -> None:
    folder = write_base(tmp_path, kind, tied=tied)
    attention = "eager" if kind == "gemma2" else "sdpa"
    read: list[int] = []
    read_into = Stored.read_into

    def counted(self: Stored, buffer: memoryview, offset: int) -> None:
        read.append(len(buffer))
        read_into(self, buffer, offset)

    monkeypatch.setattr(Stored, "read_into", counted)
    size = sum(torch.Size(each.shape).numel() for each in stored_tensors(folder).values())
    for rank in range(3):
        monkeypatch.setattr(ranks, "_here", ranks.Place(rank, 3, rank, 3))
        read.clear()
        base = loaded(folder, precision, attention)
        # Beyond its part: the last norm, rotations, and where weights begin.
        assert 0.9 * 4 * size / 3 < sum(read) < 4 * size / 3 + 4096
        assert held_by(base) < (4 if precision == "fp32" else 2) * size / 3 + 8192
        whole = make_model(kind, tied=tied).to(base.dtype)
        found, expected = divided_of(base), divided_of(divide(whole, {}, "cpu"))
        assert found is not None
        assert expected is not None
        for one, other in zip(found._units, expected._units, strict=True):
            assert torch.equal(one.part, other.part)
        assert torch.equal(base.model.norm.weight, whole.model.norm.weight)
        # Without a folder PEFT asks a hub for one.
        assert base.name_or_path == str(folder)


def test_a_base_in_several_files_is_read_from_all(tmp_path: Path) -> None:
    write_base(tmp_path)
    model = make_model()
    (tmp_path / "model.safetensors").unlink()
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    found, expected = (
        divided_of(base) for base in (loaded(tmp_path, "fp32"), divide(model, {}, "cpu"))
    )
    assert found is not None
    assert expected is not None
    for one, other in zip(found._units, expected._units, strict=True):
        assert torch.equal(one.part, other.part)


def test_a_base_that_cannot_be_read_in_parts_is_read_whole_and_divided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = write_base(tmp_path)
    monkeypatch.setattr(ranks, "_here", ranks.Place(1, 3, 1, 3))
    expected = divided_of(loaded(folder, "fp32"))
    monkeypatch.setattr(hollow, "_DTYPES", {})
    monkeypatch.delattr(Stored, "read_into")
    found = divided_of(loaded(folder, "fp32"))
    assert found is not None
    assert expected is not None
    for one, other in zip(found._units, expected._units, strict=True):
        assert torch.equal(one.part, other.part)


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    every = stored_tensors(write_base(tmp_path))
    last = max(every.values(), key=lambda each: each.start)
    size = last.path.stat().st_size
    with last.path.open("r+b") as stream:
        stream.truncate(size - 4)
    with pytest.raises(BaseModelError, match="not whole"):
        last.read_into(memoryview(bytearray(size - last.start)), 0)
