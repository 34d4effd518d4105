"""Types follow llama.cpp's mix; values stay within their bounds; damage is seen."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dlm_engine.errors import ExportError
from dlm_engine.export import checks, engines
from dlm_engine.export.gguf_file import GgufFile, TensorInfo, type_name
from dlm_engine.export.model import Quant
from dlm_engine.export.quantise import choose_types, quantise

QUANTS = [Quant.Q8_0, Quant.Q6_K, Quant.Q5_K_M, Quant.Q4_K_M]


def model(layers: int, hidden: int, inner: int, *, tied: bool) -> dict[str, TensorInfo]:
    shapes = {"token_embd.weight": (100, hidden), "output_norm.weight": (hidden,)}
    if not tied:
        shapes["output.weight"] = (100, hidden)
    for i in range(layers):
        shapes |= {f"blk.{i}.attn_{n}.weight": (hidden, hidden) for n in ("q", "k", "v", "output")}
        shapes |= {
            f"blk.{i}.ffn_up.weight": (inner, hidden),
            f"blk.{i}.ffn_down.weight": (hidden, inner),
            f"blk.{i}.ffn_norm.weight": (hidden,),
        }
    kinds = {n: 1 if len(s) == 2 else 0 for n, s in shapes.items()}
    return {n: TensorInfo(n, s, kinds[n], 0, 0) for n, s in shapes.items()}


def test_smollm2s_q4_k_m_is_llama_cpps() -> None:
    """576 does not divide by 256: most tensors fall back. Counts as llama-quantize's."""
    types = choose_types(model(30, 576, 1536, tied=True), Quant.Q4_K_M, 0)
    assert types["token_embd.weight"] == "Q8_0"
    assert types["blk.0.ffn_down.weight"] == "Q6_K"
    assert types["blk.3.ffn_down.weight"] == "Q4_K"
    assert types["blk.0.attn_v.weight"] == "Q8_0"
    assert types["blk.3.attn_v.weight"] == "Q5_0"
    assert types["blk.0.ffn_norm.weight"] == "F32"
    downs = Counter(t for n, t in types.items() if "ffn_down" in n)
    assert downs == {"Q6_K": 14, "Q4_K": 16}


def test_rows_that_divide_get_k_types_and_the_output_more_bits() -> None:
    types = choose_types(model(8, 512, 1024, tied=False), Quant.Q4_K_M, 0)
    assert types["output.weight"] == "Q6_K"
    assert types["token_embd.weight"] == "Q4_K"
    assert {types[f"blk.{i}.attn_v.weight"] for i in (0, 3, 7)} == {"Q6_K"}
    assert types["blk.1.attn_v.weight"] == "Q4_K"
    assert (
        choose_types(model(8, 512, 1024, tied=False), Quant.Q5_K_M, 0)["blk.1.ffn_up.weight"]
        == "Q5_K"
    )


def test_eight_experts_keep_keys_and_values_in_eight_bits() -> None:
    types = choose_types(model(8, 512, 1024, tied=False), Quant.Q4_K_M, 8)
    assert types["blk.1.attn_k.weight"] == types["blk.1.attn_v.weight"] == "Q8_0"
    assert types["blk.1.attn_output.weight"] == "Q5_K"


def test_rows_that_fit_no_block_stay_in_sixteen_bits() -> None:
    types = choose_types(model(1, 40, 80, tied=True), Quant.Q4_K_M, 0)
    assert types["blk.0.attn_q.weight"] == "F16"


@pytest.mark.parametrize("quant", QUANTS)
def test_every_tensor_stays_within_its_bound(quant: Quant, tiny_gguf: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.gguf"
    quantise(tiny_gguf, out, quant, engines.find_quantiser())
    with GgufFile(tiny_gguf) as file:
        expected = choose_types(file.tensors, quant, 0)
    assert checks.same_after_quantising(out, tiny_gguf, expected)[-1].passed
    assert checks.readable(out, expected).passed
    with GgufFile(out) as file:
        assert file.values["general.name"] == "täst"
        kinds = {type_name(t.type_id) for t in file.tensors.values()}
    assert kinds == {"F32", *{k for n, k in expected.items() if not n.endswith("norm.weight")}}


def test_the_same_file_twice_has_the_same_bytes(tiny_gguf: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        quantise(tiny_gguf, tmp_path / name, Quant.Q4_K_M, engines.find_quantiser())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tampering_is_caught(tiny_gguf: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.gguf"
    quantise(tiny_gguf, out, Quant.Q8_0, engines.find_quantiser())
    with GgufFile(out) as file:
        info = file.tensors["blk.1.ffn_up.weight"]
    data = bytearray(out.read_bytes())
    data[info.offset : info.offset + 3400] = bytes(3400)
    out.write_bytes(data)
    found = checks.same_after_quantising(out, tiny_gguf, {})
    assert found[-1].passed is False
    assert "blk.1.ffn_up" in found[-1].detail
    with pytest.raises(ExportError, match="nothing was published"):
        checks.require_passed(found)


def test_a_tensor_of_another_type_is_caught(tiny_gguf: Path, tmp_path: Path) -> None:
    out = tmp_path / "q.gguf"
    quantise(tiny_gguf, out, Quant.Q4_K_M, engines.find_quantiser())
    with GgufFile(tiny_gguf) as file:
        expected = choose_types(file.tensors, Quant.Q6_K, 0)
    assert checks.same_after_quantising(out, tiny_gguf, expected)[0].passed is False
    assert checks.readable(out, expected).passed is False


def test_the_base_is_compared_with_its_source(tiny: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    files = [tiny / "model.safetensors"]
    good = checks.same_as_source(tiny_gguf, files)
    assert good.passed
    assert "15 of 20" in good.detail
    with GgufFile(tiny_gguf) as file:
        info = file.tensors["blk.0.attn_k.weight"]
        rows = np.ascontiguousarray(file.rows(info.name)[::-1]).astype(np.float16)
    data = bytearray(tiny_gguf.read_bytes())
    data[info.offset : info.offset + info.size] = rows.tobytes()
    (tmp_path / "odd.gguf").write_bytes(data)
    assert checks.same_as_source(tmp_path / "odd.gguf", files).passed is False


def test_a_llama_quantize_on_path_wins(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = engines.find_quantiser()
    program = tmp_path / "bin" / "llama-quantize"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncp "$1" "$2"\necho "$3" > "$2.quant"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    theirs = engines.find_quantiser()
    assert theirs.binary == program
    assert theirs.identity != ours.identity
    quantise(tiny_gguf, tmp_path / "q.gguf", Quant.Q6_K, theirs)
    assert (tmp_path / "q.gguf.quant").read_text() == "Q6_K\n"
