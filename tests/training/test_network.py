from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import make_model
from tests.training.parts import WIRING, make_run, rows, trainee

from dlm_engine.bases import Weights, resolve
from dlm_engine.data.packs import pack
from dlm_engine.training.network import adapter_files


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("layers", [1, 3, None])
def test_trunk_and_top_together_are_the_whole_model(kind: str, layers: int | None) -> None:
    trained = trainee(replace(WIRING, layers=layers), kind)
    packed = pack(rows(4))
    with torch.no_grad():
        cut = trained.hidden(packed, trained.trunk(packed))
        whole = trained.hidden(packed, None)
    assert trained.cut == (6 - layers if layers else 0)
    torch.testing.assert_close(cut, whole)


def test_a_family_that_is_more_than_its_layers_is_trained_whole() -> None:
    trained = trainee(kind="gemma2")
    assert trained.cut == 0
    assert trained.trunk(pack(rows(2))) is None
    assert len(trained.adapted()) == 6 * 7


def test_the_adapters_first_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = {n: p.detach().clone() for n, p in trainee().parameters().items()}
    torch.manual_seed(2)
    torch.rand(17)
    again = trainee().parameters()
    other = trainee(replace(WIRING, seed=2)).parameters()
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_plain_peft_loads_the_adapter_and_computes_the_same(
    kind: str, tmp_path: Path, tiny_base: Path
) -> None:
    from peft import PeftModel

    run = make_run(replace(WIRING, kind=kind), cap=4)
    list(run.steps())
    spec = resolve(str(tiny_base), pinned_revision=None, home=tmp_path)
    weights = Weights(tiny_base, spec, spec.revision, spec.revision, "test")
    for name, data in adapter_files(run.trainee, weights).items():
        (tmp_path / name).write_bytes(data)
    loaded = PeftModel.from_pretrained(make_model(), str(tmp_path)).eval()
    ids = torch.tensor([[1, 5, 6, 12, 7]])
    run.trainee.model.eval()
    with torch.no_grad():
        ours, theirs = run.trainee.model(input_ids=ids).logits, loaded(input_ids=ids).logits
        base = make_model()(input_ids=ids).logits
    assert torch.equal(ours, theirs)
    assert not torch.allclose(ours, base)
    assert str(tiny_base.parent) not in (tmp_path / "adapter_config.json").read_text()


def test_equal_tensors_are_equal_files(tmp_path: Path, tiny_base: Path) -> None:
    spec = resolve(str(tiny_base), pinned_revision=None, home=tmp_path)
    weights = Weights(tiny_base, spec, spec.revision, spec.revision, "test")
    files = [adapter_files(make_run(cap=1).trainee, weights) for _ in range(2)]
    assert files[0] == files[1]
