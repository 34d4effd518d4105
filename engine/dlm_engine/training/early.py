"""Ending a run on its held-out prose: the adapter of the step that did best on it is kept.

Asked for, never by itself: to know a document word for word is what training is for, and
prose it has not seen says nothing of that. Every step is measured, as the held-out tenth costs
a forward pass of a few packs; and the best step is kept, not the last one, which by then has
been getting worse for as long as the patience lasted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dlm_engine.training.sft import Laid, Run, StepReport, mean_loss


class Best:
    """The best step of `run` so far; `patience` is in steps."""

    def __init__(self, run: Run, held_out: Sequence[Laid], patience: int) -> None:
        self._run = run
        self._held_out = held_out
        self._patience = patience
        self._loss = math.inf
        self._parameters: dict[str, torch.Tensor] = {}
        self.report: StepReport | None = None

    def look(self, report: StepReport) -> float:
        """The loss on held-out prose after the step of `report`, nats per token."""
        loss = mean_loss(self._run.portions, self._held_out)
        assert loss is not None
        if loss < self._loss:
            self._loss, self.report = loss, report
            self._parameters = {n: p.detach().clone() for n, p in self._run.parameters.items()}
        return loss

    @property
    def over(self) -> bool:
        """Whether it has not become better for as long as the patience lasts."""
        best = self.report.step if self.report else 0
        return self._run.step - best >= self._patience

    @torch.no_grad()
    def restore(self) -> None:
        """Put the adapter back to its best step, where the run ends."""
        if self.report is None:
            return
        for name, parameter in self._run.parameters.items():
            parameter.copy_(self._parameters[name])
        self._run.end_at(self.report.step, finished=self._run.finished or self.over)
