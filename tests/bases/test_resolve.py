"""Names to specs: the registry, paths, pins, and clear refusals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.bases import (
    ARCHITECTURES,
    NOT_OFFERED,
    REGISTRY,
    Origin,
    find_weights,
    obtain_weights,
    pin_for,
    resolve,
    verify_weights,
)
from dlm_engine.bases.resolve import dialect_of
from dlm_engine.errors import BaseModelError

CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"]})


def quiet(message: str) -> None:
    return


def refused(name: str, home: Path, **options: Any) -> BaseModelError:
    with pytest.raises(BaseModelError) as caught:
        resolve(name, **{"pinned_revision": None, "home": home, **options})
    return caught.value


def test_the_registry_and_what_is_not_offered_are_the_27_known_names() -> None:
    assert len(REGISTRY) == 20
    assert len(NOT_OFFERED) == 7
    assert not set(REGISTRY) & set(NOT_OFFERED)


@pytest.mark.parametrize("key", sorted(REGISTRY))
def test_every_entry_is_pinned_and_supported(key: str) -> None:
    spec = REGISTRY[key]
    assert re.fullmatch(r"[0-9a-f]{40}", spec.revision)
    assert spec.architecture in ARCHITECTURES
    assert spec.gguf_arch == ARCHITECTURES[spec.architecture].gguf_arch
    assert spec.requires_acceptance or spec.redistributable
    assert spec.license_url.startswith("https://")
    assert spec.recommended_seq_len <= spec.effective_context


def test_phi_has_fused_modules_and_the_rest_the_usual_ones() -> None:
    assert "qkv_proj" in REGISTRY["phi-3.5-mini"].target_modules
    assert REGISTRY["smollm2-135m"].target_modules[:2] == ("q_proj", "k_proj")


def test_two_names_of_the_same_weights_share_one_folder() -> None:
    assert REGISTRY["qwen3-1.7b"].slug == REGISTRY["qwen3-1.7b-thinking"].slug


@pytest.mark.parametrize("key", sorted(NOT_OFFERED))
def test_a_base_that_cannot_work_is_refused_with_its_reason(key: str, tmp_path: Path) -> None:
    assert NOT_OFFERED[key] in refused(key, tmp_path).problem


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("smollm2-135", "smollm2-135m"),
        ("SmolLM2-135M", "smollm2-135m"),
        ("zzz", "qwen2.5-0.5b"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "hf:HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("hf:justaname", ""),
        ("hf:a/b/c", ""),
        ("hf:../etc", ""),
        ("hf:a/..", ""),
        ("hf:", ""),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str, tmp_path: Path) -> None:
    assert hint in refused(name, tmp_path).remedy


@pytest.mark.parametrize("pin", ["main", "", "A" * 40, "../../x"])
def test_a_pin_that_is_no_commit_is_refused(pin: str, tmp_path: Path) -> None:
    assert "not a commit" in refused("smollm2-135m", tmp_path, pinned_revision=pin).problem


def test_a_pin_wins_over_the_registry(tmp_path: Path) -> None:
    pin = "b" * 40
    assert resolve("smollm2-135m", pinned_revision=pin, home=tmp_path).revision == pin


def test_an_adapter_stays_on_the_base_it_was_trained_on() -> None:
    assert pin_for("smollm2-135m", None, None) is None
    assert pin_for("smollm2-135m", "smollm2-135m", "r") == "r"
    with pytest.raises(BaseModelError, match="made with smollm2-135m"):
        pin_for("qwen2.5-0.5b", "smollm2-135m", "r")


def test_a_local_base_is_its_content(tiny_base: Path, cache: Path, tmp_path: Path) -> None:
    spec = resolve("./tiny", pinned_revision=None, home=tmp_path, relative_to=tmp_path)
    assert (spec.origin, spec.path) == (Origin.LOCAL, tiny_base.resolve())
    weights = obtain_weights(spec, tmp_path, report=quiet)
    assert weights.sha256 == weights.revision == spec.revision
    assert find_weights(spec, tmp_path) == weights
    again = resolve(str(tiny_base), pinned_revision=spec.revision, home=tmp_path)
    assert again.revision == spec.revision
    verify_weights(weights)


def test_a_local_base_that_changed_is_refused(tiny_base: Path, cache: Path, tmp_path: Path) -> None:
    spec = resolve(str(tiny_base), pinned_revision=None, home=tmp_path)
    obtain_weights(spec, tmp_path, report=quiet)
    config = tiny_base / "config.json"
    config.write_text(config.read_text() + "\n")
    pinned = resolve(str(tiny_base), pinned_revision=spec.revision, home=tmp_path)
    with pytest.raises(BaseModelError, match="changed since the document was initialised"):
        find_weights(pinned, tmp_path)


def test_a_home_path_is_expanded(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~/tiny", pinned_revision=None, home=tmp_path).path == tiny_base.resolve()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: None, "nothing at"),
        (lambda folder: folder.write_text("x"), "it is a file"),
        (lambda folder: folder.mkdir(), "no config.json"),
        (lambda folder: write(folder, "adapter_config.json", "{}"), "an adapter, not a base"),
        (lambda folder: write(folder, "config.json", "{"), "not JSON"),
        (lambda folder: write(folder, "config.json", "[]"), "not a JSON object"),
        (lambda folder: write(folder, "config.json", CONFIG), "no weights in safetensors"),
        (lambda folder: pickled(folder), "no weights in safetensors"),
        (lambda folder: header(folder, (1 << 62).to_bytes(8, "little")), "not a whole"),
        (lambda folder: header(folder, b"\x02\0\0\0\0\0\0\0{]"), "header is damaged"),
        (lambda folder: header(folder, b"\x02\0\0\0\0\0\0\0{}tail"), "where its header says"),
        (lambda folder: header(folder, b""), "not a whole"),
    ],
)
def test_a_path_that_is_no_base_says_what_it_is(make: Any, problem: str, tmp_path: Path) -> None:
    make(tmp_path / "it")
    assert problem in refused("./it", tmp_path, relative_to=tmp_path).problem


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir()
    (folder / name).write_text(text)


def pickled(folder: Path) -> None:
    write(folder, "config.json", CONFIG)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def header(folder: Path, data: bytes) -> None:
    write(folder, "config.json", CONFIG)
    # Eight bytes of length, unless the case is a file too short for even that.
    (folder / "model.safetensors").write_bytes(data or b"\x09\0\0\0\0\0\0\0")


@pytest.mark.parametrize(
    ("template", "architecture", "name", "dialect"),
    [
        ("<|im_start|>", "LlamaForCausalLM", "any", "chatml"),
        ("<|start_header_id|>", "LlamaForCausalLM", "any", "llama3"),
        ("<start_of_turn>", "Gemma2ForCausalLM", "any", "gemma2"),
        ("[INST]", "MistralForCausalLM", "any", "mistral"),
        ("<|user|><|end|>", "Phi3ForCausalLM", "any", "phi3"),
        ("<|user|><|end|>", "Phi3ForCausalLM", "Phi-4-mini-x", "phi4mini"),
        ("<|im_start|>", "SmolLM3ForCausalLM", "any", "smollm3"),
        (None, "Olmo2ForCausalLM", "any", "olmo2"),
        (None, "LlamaForCausalLM", "Llama-3.1-8B", "llama3"),
        (None, "Qwen2ForCausalLM", "any", "chatml"),
    ],
)
def test_the_dialect_is_read_from_the_template(
    template: str | None, architecture: str, name: str, dialect: str
) -> None:
    assert dialect_of(template, architecture, name) == dialect
