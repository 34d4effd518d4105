"""Our GGUF container against the `gguf` package's own reader and writer."""

from __future__ import annotations

import random
from pathlib import Path

import gguf
import numpy as np
import pytest

from dlm_engine.bases.gguf_read import Gguf
from dlm_engine.errors import BaseModelError, ExportError
from dlm_engine.export.gguf_file import GgufFile, PlannedTensor, encode, write_gguf


def test_what_gguf_writes_we_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_token_list(["a", "ß", "🙂"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_bool("yes", True)
    writer.add_float32("half", 0.5)
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    writer.add_tensor("one", weights)
    writer.add_tensor("two", weights.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with GgufFile(path) as file:
        assert file.architecture == "llama"
        assert file.number("block_count") == 2
        assert file.values["yes"] is True
        assert file.values["half"] == 0.5
        assert [t.shape for t in file.tensors.values()] == [(2, 3), (2, 3)]
        for name in ("one", "two"):
            np.testing.assert_array_equal(file.rows(name), weights)
            np.testing.assert_array_equal(file.rows(name, 2, 1), weights[1:2])


def test_what_we_write_gguf_reads(tmp_path: Path) -> None:
    path = tmp_path / "b.gguf"
    weights = np.arange(70, dtype=np.float32).reshape(7, 10)
    keys = {"general.architecture": encode("llama"), "x": encode(7), "y": encode(1.5)}
    planned = [PlannedTensor("w", (7, 10), 0), PlannedTensor("v", (7,), 0)]
    write_gguf(path, keys, planned, iter([weights, weights[:, 0].copy()]))
    reader = gguf.GGUFReader(path)
    assert reader.fields["x"].contents() == 7
    assert reader.fields["y"].contents() == 1.5
    np.testing.assert_array_equal(reader.tensors[0].data, weights)
    np.testing.assert_array_equal(reader.tensors[1].data, weights[:, 0])


def test_keys_survive_a_rewrite_byte_for_byte(tiny_gguf: Path, tmp_path: Path) -> None:
    with GgufFile(tiny_gguf) as file:
        write_gguf(tmp_path / "c.gguf", file.raw, [], iter([]))
        with GgufFile(tmp_path / "c.gguf") as copy:
            assert copy.raw == file.raw
            assert copy.values["general.name"] == "täst"


@pytest.mark.parametrize("keep", [0, 3, 30, 200, -1])
def test_a_cut_or_foreign_file_is_one_clear_error(
    tiny_gguf: Path, tmp_path: Path, keep: int
) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:keep])
    with pytest.raises(ExportError, match=r"GGUF|empty|cut short"):
        GgufFile(path)


def test_a_damaged_header_is_read_or_refused_in_words(tiny_gguf: Path, tmp_path: Path) -> None:
    """By both readers of it, whatever the damage: nothing but their own errors."""
    chance = random.Random(11)
    whole = bytearray(tiny_gguf.read_bytes())
    head = min(tensor.offset for tensor in Gguf(tiny_gguf).tensors)
    path = tmp_path / "damaged.gguf"
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole[: head + 64])
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(24, head)] = chance.choice((0, 1, 127, 255))
        path.write_bytes(damaged)
        for read, error in ((Gguf, BaseModelError), (GgufFile, ExportError)):
            try:
                read(path)
            except error:
                refused += 1
    assert refused > 300


def test_a_tensor_of_the_wrong_size_is_never_written(tmp_path: Path) -> None:
    short = iter([np.zeros(3, np.float32)])
    with pytest.raises(ValueError, match="12 bytes"):
        write_gguf(tmp_path / "d.gguf", {}, [PlannedTensor("w", (4,), 0)], short)
