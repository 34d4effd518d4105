"""Losses over pairs of answers, as functions of log-probabilities alone.

For each prompt x there is an answer wanted, w, and one not wanted, l. What a policy thinks of
them is the sum of its tokens' log-probabilities; `Thought` holds those sums with the numbers
of tokens. Each loss gives one value per pair, (B,) float32, differentiable in the policy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

#: Log-probability per token beyond which the odds of an answer no longer grow.
_SURE = -1e-6


@dataclass(frozen=True, slots=True)
class Thought:
    """Log-probabilities of the chosen and the rejected answers in nats, and their tokens: (B,)."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    @property
    def mean_chosen(self) -> torch.Tensor:
        return self.chosen / self.chosen_tokens

    @property
    def mean_rejected(self) -> torch.Tensor:
        return self.rejected / self.rejected_tokens

    @property
    def margins(self) -> torch.Tensor:
        """How much likelier the chosen answer is, per token: (B,) nats.

        Per token, as an answer is not preferred for being short.
        """
        return self.mean_chosen - self.mean_rejected

    @classmethod
    def of(cls, losses: torch.Tensor, tokens: Sequence[int]) -> Thought:
        """From (M,) nats of each token; `tokens` of each row: chosen, rejected, chosen, …"""
        sums = torch.stack([-part.sum() for part in losses.split(list(tokens))])
        counts = torch.tensor(tokens, dtype=sums.dtype, device=sums.device)
        return cls(sums[0::2], sums[1::2], counts[0::2], counts[1::2])


def sigmoid(policy: Thought, reference: Thought, beta: float) -> torch.Tensor:
    """DPO: -log σ(β·h), where h is how much more than the reference the policy prefers w.

    Rafailov et al. 2023, "Direct Preference Optimization", equation 7.
    """
    return -logsigmoid(beta * _gain(policy, reference))


def hinge(policy: Thought, reference: Thought, beta: float) -> torch.Tensor:
    """max(0, 1 - β·h): the calibration of SLiC-HF (Zhao et al. 2023) over DPO's h.

    Liu et al. 2023, "Statistical Rejection Sampling Improves Preference Optimization",
    its hinge-norm loss with γ = β.
    """
    return torch.relu(1 - beta * _gain(policy, reference))


def ipo(policy: Thought, reference: Thought, beta: float) -> torch.Tensor:
    """(h - 1/(2β))², with h per token of each answer and β the paper's τ.

    Azar et al. 2023, "A General Theoretical Paradigm to Understand Learning from Human
    Preferences", equation 17. A sum would grow with the answers' lengths while its goal
    stays; the authors' own results are of the mean.
    """
    gain = policy.margins - reference.margins
    return (gain - 1 / (2 * beta)).square()


def orpo(policy: Thought, alpha: float) -> torch.Tensor:
    """-log P(w) per token plus α times -log σ of the log odds ratio of w to l. No reference.

    Hong et al. 2024, "ORPO: Monolithic Preference Optimization without Reference Model",
    equations 6 and 7; P is the geometric mean over an answer's tokens, α the paper's λ.
    """
    chosen, rejected = policy.mean_chosen, policy.mean_rejected
    odds = (chosen - rejected) - (_log1mexp(chosen) - _log1mexp(rejected))
    return -chosen - alpha * logsigmoid(odds)


def _gain(policy: Thought, reference: Thought) -> torch.Tensor:
    return (policy.chosen - reference.chosen) - (policy.rejected - reference.rejected)


def _log1mexp(x: torch.Tensor) -> torch.Tensor:
    """log(1 - exp(x)) for x < 0, exact at both ends (Mächler 2012)."""
    x = x.clamp(max=_SURE)
    near = x > -0.6931472
    # The branch not taken must be finite too, or its gradient is not a number.
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, x, -1.0))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, x))),
    )
