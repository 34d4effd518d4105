"""The losses over pairs, against TRL's on the same log-probabilities, and at their edges."""

from __future__ import annotations

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dlm_engine.training import preference
from dlm_engine.training.preference import Thought

LENGTHS = (3, 7, 1, 12, 5, 2, 9, 4)


def thought(seed: int) -> tuple[Thought, list[torch.Tensor]]:
    """Four pairs with answers of `LENGTHS`, and the log-probabilities of their tokens."""
    generator = torch.Generator().manual_seed(seed)
    tokens = [-3 * torch.rand(n, generator=generator) - 0.01 for n in LENGTHS]
    return Thought.of(-torch.cat(tokens), LENGTHS), tokens


def theirs(loss_type: str, beta: float, policy: list[torch.Tensor], reference: Thought) -> float:
    """What TRL's DPOTrainer makes of the same tokens: its own code, handed them as outputs."""
    from trl import DPOTrainer

    ordered = [*policy[0::2], *policy[1::2]]
    width = max(LENGTHS)
    log_probs, mask = torch.zeros(8, width), torch.zeros(8, width + 1)
    for row, tokens in enumerate(ordered):
        log_probs[row, : len(tokens)] = tokens
        mask[row, 1 : len(tokens) + 1] = 1
    nothing = torch.zeros(8, width)
    outputs = SimpleNamespace(
        log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool()
    )
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda x: x, gather_for_metrics=lambda x: x
    )
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        label_smoothing=0.0,
        beta=beta,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros(8, width + 1, dtype=torch.long),
        "attention_mask": torch.ones(8, width + 1),
        "completion_mask": mask,
        "ref_chosen_logps": reference.chosen,
        "ref_rejected_logps": reference.rejected,
    }

    def model(**given: Any) -> SimpleNamespace:
        return outputs

    return float(DPOTrainer._compute_loss(trainer, model, inputs, False))


OURS = {"sigmoid": preference.sigmoid, "hinge": preference.hinge, "ipo": preference.ipo}


@pytest.mark.parametrize("loss_type", OURS)
@pytest.mark.parametrize("beta", [0.05, 0.1, 0.5])
def test_dpo_is_trls(loss_type: str, beta: float) -> None:
    policy, tokens = thought(1)
    reference, _ = thought(2)
    ours = float(OURS[loss_type](policy, reference, beta).mean())
    assert ours == pytest.approx(theirs(loss_type, beta, tokens, reference), abs=1e-5, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.1, 0.4])
def test_orpo_is_trls(alpha: float) -> None:
    from trl.experimental.orpo import ORPOTrainer

    policy, _ = thought(3)
    trainer = SimpleNamespace(beta=alpha, accelerator=SimpleNamespace(device=torch.device("cpu")))
    odds = ORPOTrainer.odds_ratio_loss(trainer, policy.mean_chosen, policy.mean_rejected)[0]
    whole = -policy.mean_chosen - odds
    torch.testing.assert_close(preference.orpo(policy, alpha), whole, atol=1e-5, rtol=1e-5)


def test_a_policy_that_is_its_reference_gains_nothing() -> None:
    policy, _ = thought(1)
    torch.testing.assert_close(
        preference.sigmoid(policy, policy, 0.1), torch.full((4,), math.log(2))
    )
    torch.testing.assert_close(preference.hinge(policy, policy, 0.1), torch.ones(4))
    torch.testing.assert_close(preference.ipo(policy, policy, 0.1), torch.full((4,), 25.0))


@pytest.mark.parametrize("nats", [0.0, 1e-7, 0.6931, 1.0, 60.0, 500.0])
def test_orpo_stays_a_number_at_every_probability(nats: float) -> None:
    losses = torch.tensor([nats, 1.0], requires_grad=True)
    policy = Thought.of(losses, (1, 1))
    value = preference.orpo(policy, 0.1).sum()
    value.backward()
    assert math.isfinite(value.item())
    assert losses.grad is not None
    assert bool(torch.isfinite(losses.grad).all())


def test_a_margin_is_per_token() -> None:
    policy = Thought.of(torch.tensor([1.0, 1.0, 2.0]), (2, 1))
    assert policy.margins.tolist() == [1.0]
    assert policy.chosen.tolist() == [-2.0]
