from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dlm_engine.training import loss as module
from dlm_engine.training.loss import head_divergence, head_loss


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(11, 8, generator=generator, requires_grad=True)
    weight = torch.randn(50, 8, generator=generator)
    return hidden, weight, torch.randint(0, 50, (11,), generator=generator)


def capped(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    return logits if cap is None else torch.tanh(logits / cap) * cap


@pytest.mark.parametrize("cap", [None, 2.0])
def test_losses_and_gradients_are_those_of_cross_entropy(cap: float | None) -> None:
    hidden, weight, labels = tensors()
    upstream = torch.linspace(0.1, 2.0, 11)
    ours = head_loss(hidden, weight, labels, cap)
    (ours * upstream).sum().backward()
    assert hidden.grad is not None
    gradient, hidden.grad = hidden.grad.clone(), None
    theirs = functional.cross_entropy(capped(hidden @ weight.t(), cap), labels, reduction="none")
    (theirs * upstream).sum().backward()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradient, hidden.grad)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_divergence_and_its_gradient_are_those_of_kl(cap: float | None) -> None:
    hidden, weight, _ = tensors()
    base = (hidden + 0.3).detach()
    ours = head_divergence(hidden, base, weight, cap)
    ours.mean().backward()
    assert hidden.grad is not None
    gradient, hidden.grad = hidden.grad.clone(), None
    now = capped(hidden @ weight.t(), cap).log_softmax(-1)
    was = capped(base @ weight.t(), cap).log_softmax(-1)
    theirs = functional.kl_div(now, was, log_target=True, reduction="none").sum(-1)
    theirs.mean().backward()
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(gradient, hidden.grad, atol=1e-6, rtol=1e-4)
    assert float(head_divergence(base, base, weight, cap).abs().max()) < 1e-6
