"""The kinds of adapter besides plain LoRA: each learns, is asked as it was trained, and resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny import FACTS, document_text
from tests.training.sessions import Place

from dlm_engine import hardware
from dlm_engine.bases import Weights, resolve
from dlm_engine.inference.loading import load_base
from dlm_engine.jobs import Ending, PromptRequest, Start, prompt

KINDS = ("dora", "qlora")


def place(kind: str, base: Path, folder: Path) -> Place:
    folder.mkdir(exist_ok=True)
    path = folder / "facts.dlm"
    path.write_text(document_text(str(base), extra=f"training:\n  adapter: {kind}\n"))
    return Place(path, folder / "home")


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_answers(kind: str, small: None, tiny_base: Path, tmp_path: Path) -> None:
    at = place(kind, tiny_base, tmp_path)
    outcome = at.train()
    assert outcome.ending is Ending.TRAINED
    assert (outcome.learned, outcome.rows) == (len(FACTS), len(FACTS))
    for question, answer in FACTS:
        request = PromptRequest(at.document, at.home, question, temperature=0.0, max_tokens=24)
        assert prompt(request).answer == answer


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_where_it_stopped(
    kind: str, small: None, tiny_base: Path, tmp_path: Path
) -> None:
    straight = place(kind, tiny_base, tmp_path / "straight")
    whole = straight.train(max_steps=4)
    halved = place(kind, tiny_base, tmp_path / "halved")
    halved.train(max_steps=2)
    assert halved.train(Start.RESUME, max_steps=4).adapter_sha256 == whole.adapter_sha256


def test_without_the_package_for_four_bits_the_whole_base_answers_and_that_is_said(
    small: None, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = place("qlora", tiny_base, tmp_path)
    at.train(max_steps=1)
    assert at.ask().notes == ()
    without = replace(hardware.detect(), bitsandbytes=False)
    monkeypatch.setattr(hardware, "detect", lambda: without)
    (note,) = at.ask().notes
    assert "no bitsandbytes" in note


def test_gradients_pass_a_base_in_four_bits_after_it_was_asked(tiny_base: Path) -> None:
    from bitsandbytes.functional import dequantize_4bit

    spec = resolve(str(tiny_base), pinned_revision=None, home=tiny_base)
    weights = Weights(tiny_base, spec, spec.revision, spec.revision, "test")
    base = load_base(weights, "bf16", "sdpa", "cpu", "nf4")
    with torch.no_grad():
        base(input_ids=torch.tensor([[1, 5, 6]]))
    layer = base.model.layers[0].mlp.up_proj
    x = torch.ones(3, layer.in_features, dtype=torch.bfloat16, requires_grad=True)
    base.train()
    layer(x).sum().backward()
    whole = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0].float(), whole.sum(0), rtol=0.02, atol=0.02)
