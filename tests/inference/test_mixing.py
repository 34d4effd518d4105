"""A mix of adapters: the weighted sum of their updates, whatever their ranks and modules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import make_model

from dlm_engine.errors import InferenceError, UsageError
from dlm_engine.inference.mixing import adapter_of
from dlm_engine.inference.model import Mix, MixMethod
from dlm_engine.store import Version, VersionState

BOUND = 1e-3


def version(folder: Path, name: str, **config: Any) -> Version:
    """An adapter with random A and B on the tiny base, as PEFT saves it."""
    from peft import LoraConfig, get_peft_model

    wanted: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], **config}
    model = get_peft_model(make_model(), LoraConfig(task_type="CAUSAL_LM", **wanted))
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder / name)
    return Version(1, folder / name, name, VersionState.COMPLETE, True)


def updates(folder: Path) -> dict[str, torch.Tensor]:
    """What PEFT itself adds to each weight for the adapter in `folder`."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(make_model(), str(folder))
    return {
        name: module.get_delta_weight("default").detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def error(made: Mapping[str, torch.Tensor], parts: list[tuple[Version, float]]) -> float:
    """The largest relative error of any module of `made` from the weighted sum of `parts`."""
    each = [(updates(part.path), weight) for part, weight in parts]
    wanted: dict[str, torch.Tensor] = {}
    for deltas, weight in each:
        for name, delta in deltas.items():
            wanted[name] = wanted.get(name, torch.zeros_like(delta)) + weight * delta
    assert set(made) == set(wanted)
    return max(float((made[n] - w).norm() / w.norm()) for n, w in wanted.items())


PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alike": ({}, {}),
    "other ranks and scales": ({"r": 2, "lora_alpha": 3}, {"r": 8, "lora_alpha": 64}),
    "other modules": ({}, {"target_modules": ["up_proj", "q_proj"]}),
    "other layers": ({"layers_to_transform": [4, 5]}, {"layers_to_transform": [5]}),
}


@pytest.mark.parametrize("method", list(MixMethod))
@pytest.mark.parametrize(("one", "other"), PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.5, 0.5)], ids=str)
def test_a_mix_is_the_weighted_sum_of_the_updates(
    tmp_path: Path,
    weights: tuple[float, float],
    one: dict[str, Any],
    other: dict[str, Any],
    method: MixMethod,
) -> None:
    versions = [version(tmp_path, "one", **one), version(tmp_path, "other", **other)]
    parts = list(zip(versions, weights, strict=True))
    with adapter_of(parts, method) as made:
        assert made.path is not None
        assert error(updates(made.path), parts) < BOUND
    assert not made.path.exists()


def test_what_peft_calls_linear_is_not_that_sum(tmp_path: Path) -> None:
    from peft import PeftModel

    versions = [version(tmp_path, "one"), version(tmp_path, "other")]
    model = PeftModel.from_pretrained(make_model(), str(versions[0].path), "one")
    model.load_adapter(str(versions[1].path), "other")
    model.add_weighted_adapter(["one", "other"], [0.5, 0.5], "mix", combination_type="linear")
    made = {
        name: module.get_delta_weight("mix").detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    assert error(made, [(v, 0.5) for v in versions]) > 0.5


def test_svd_leaves_out_what_the_adapters_share(tmp_path: Path) -> None:
    one = version(tmp_path, "one")
    with adapter_of([(one, 0.25), (one, 0.5)], MixMethod.SVD) as made:
        assert made.path is not None
        config = json.loads((made.path / "adapter_config.json").read_text())
        assert config["r"] == 4
        assert made.note.startswith("svd: rank 4 instead of 8, wrong by at most ")


def test_one_adapter_alone_is_itself(tmp_path: Path) -> None:
    one, other = version(tmp_path, "one"), version(tmp_path, "other")
    with adapter_of([(one, 1.0), (other, 0.0)], MixMethod.LINEAR) as made:
        assert made.path == one.path


def test_what_is_no_product_has_no_share(tmp_path: Path) -> None:
    versions = [version(tmp_path, "one"), version(tmp_path, "other", use_dora=True)]
    with (
        pytest.raises(InferenceError, match=r"adapter other: is not plain LoRA \(use_dora\)"),
        adapter_of([(v, 0.5) for v in versions], MixMethod.LINEAR),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "shares"),
    [("a=0.7,b=0.3", (("a", 0.7), ("b", 0.3))), (" a:1 , b:2", (("a", 1.0), ("b", 2.0)))],
)
def test_a_mix_as_it_is_written(text: str, shares: tuple[tuple[str, float], ...]) -> None:
    assert Mix.read(text).shares == shares


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "a=x", "a=-1", "a=nan", "a=inf", "a=1,a=2", "a=0,b=0"]
)
def test_what_is_no_mix(text: str) -> None:
    with pytest.raises(UsageError):
        Mix.read(text)
