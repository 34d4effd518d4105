from __future__ import annotations

import pytest
import torch
from tests.training.parts import lay, rows, trainee

from dlm_engine.data.packs import packs_of
from dlm_engine.training.aim import _directions, aim, survey


def moments(*axes: float) -> torch.Tensor:
    return torch.diag(torch.tensor(axes, dtype=torch.float64))


def test_directions_are_where_the_document_stands_out() -> None:
    own, rest = moments(9.0, 5.0, 5.0, 0.1), moments(9.0, 0.0, 5.0, 0.1)
    assert _directions(own, rest, 1)[0].abs().argmax() == 1


def test_directions_have_unit_energy_on_the_document() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    y = torch.randn(40, 12, generator=generator, dtype=torch.float64)
    own = x.t() @ x / 40
    found = _directions(own, y.t() @ y, 5)
    assert found.shape == (5, 12)
    torch.testing.assert_close(((found @ own) * found).sum(1), torch.ones(5, dtype=torch.float64))


def test_more_rank_than_inputs_gives_what_there_is() -> None:
    assert _directions(moments(1, 1, 1), moments(1, 2, 3), 8).shape == (3, 3)


def test_directions_that_the_document_does_not_use_stay_silent() -> None:
    found = _directions(moments(4.0, 1.0, 0.0, 0.0), moments(1.0, 1.0, 1.0, 1.0), 4)
    assert found.norm(dim=1).tolist() == pytest.approx([0.5, 1.0, 0.0, 0.0])


def test_an_aimed_adapter_hears_its_document_above_everyday_text() -> None:
    trained = trainee()
    own, everyday = lay(trained, packs_of(rows(6), 500)), lay(trained, packs_of(rows(9, 100), 500))
    before = loudness(trained, own, everyday)
    aim(trained, own, survey(trained, everyday))
    assert loudness(trained, own, everyday) > 3 * before
    assert all("lora_A" not in name for name in trained.parameters())


def test_the_bases_final_states_fall_out(  # they are what the anchors are held to
) -> None:
    trained = trainee()
    everyday = lay(trained, packs_of(rows(9, 100), 40))
    surveyed = survey(trained, everyday)
    aim(trained, lay(trained, packs_of(rows(6), 500)), surveyed)
    for (packed, trunk), base in zip(everyday, surveyed.hidden, strict=True):
        with torch.no_grad(), trained.model.disable_adapter():
            torch.testing.assert_close(trained.hidden(packed, trunk), base)


def loudness(trained, own, everyday) -> float:  # type: ignore[no-untyped-def]
    """Energy of what the last layer's query adapter hears: document over everyday, per token."""
    module = trained.adapted()["base_model.model.model.layers.5.self_attn.q_proj"]
    heard: list[torch.Tensor] = []
    hook = module.lora_A["default"].register_forward_hook(lambda m, i, o: heard.append(o.detach()))
    energy = []
    for laid in (own, everyday):
        heard.clear()
        for packed, trunk in laid:
            trained.hidden(packed, trunk)
        sound = torch.cat([h[0] for h in heard])
        energy.append(float(sound.pow(2).mean()))
    hook.remove()
    return energy[0] / energy[1]
