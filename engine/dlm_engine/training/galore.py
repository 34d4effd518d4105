"""GaLore (Zhao et al. 2024, arXiv:2403.03507): AdamW that keeps moments of a few directions only.

Of the gradient of each matrix the leading singular vectors on its shorter side are kept as its
projector and renewed every few steps; the moments are of the gradient in those directions, and
their step is projected back. What is no matrix goes to AdamW whole. The invariants: equal
gradients give equal bits, with any number of threads and in every process of a run; and where a
gradient has nothing but zeros, the parameter stays as it is, bit for bit, as `further.py` needs.

Not galore-torch, which transformers takes too: of its one release (1.0, 2024) the 8-bit optimiser
needs CUDA and hands bitsandbytes of today its arguments in the wrong places, and projectors are
objects that only a pickle would keep.
The numbers here are for the matrices of an adapter, which are narrow and trained for dozens of
steps, not for whole weights over thousands; docs/learning.md has what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from dlm_engine.hardware import GALORE_SHARE
from dlm_engine.training import ranks
from dlm_engine.training.polite import one_thread

#: Steps that a projector lasts for.
LASTS: Final = 4
#: How much longer a step is than one of AdamW's whole: at 1 the harbour takes three more of them.
_LONGER: Final = 1.5
#: A direction with less than this share of the leading one's length is rounding.
_SILENCE: Final = 1e-6

#: What a state has of each matrix beside its moments.
KEPT: Final = ("projector", "age")

Inner = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def kept_of(shorter: int) -> int:
    """How many directions are kept of a matrix with `shorter` of them."""
    return max(1, shorter // GALORE_SHARE)


def scale_of(projector: torch.Tensor) -> float:
    """What a step in its directions is multiplied by: AdamW's is longer, as it has more of them."""
    return _LONGER * math.sqrt(projector.shape[0] / projector.shape[1])


class GaLore(torch.optim.Optimizer):
    """AdamW made by `inner` has the moments of each matrix as those of its `stand_in`.

    The state of a matrix is its `projector`, (shorter side, directions), and the `age` of that in
    steps.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], rate: float, inner: Inner) -> None:
        super().__init__(parameters, {"lr": rate})
        (group,) = self.param_groups
        self._stand_ins = {
            each: torch.nn.Parameter(_nothing(each)) for each in group["params"] if each.dim() == 2
        }
        self.inner = inner([self.stand_in(each) for each in group["params"]])

    def stand_in(self, parameter: torch.nn.Parameter) -> torch.nn.Parameter:
        """What `inner` knows as `parameter`; itself where that is no matrix."""
        return self._stand_ins.get(parameter, parameter)

    def kept(self, parameter: torch.nn.Parameter) -> dict[str, torch.Tensor]:
        """What moments of `parameter` are to be kept with; nothing before the first step."""
        state = self.state.get(parameter)
        return (
            {"projector": state["projector"], "age": torch.tensor([state["age"]])} if state else {}
        )

    @contextmanager
    def going_on(
        self, parameter: torch.nn.Parameter, kept: dict[str, torch.Tensor]
    ) -> Iterator[torch.nn.Parameter]:
        """Within, what is given back has the shape of the moments; `kept` is as it was then."""
        stand_in = self.stand_in(parameter)
        if stand_in is not parameter:
            projector = kept["projector"].to(parameter.device)
            self.state[parameter] = {"projector": projector, "age": int(kept["age"])}
            stand_in.data = _within(torch.zeros_like(parameter), projector)
        yield stand_in
        if stand_in is not parameter:
            stand_in.data = _nothing(parameter)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """As every optimiser's; the gradients of all matrices are there, or none is."""
        heard = [each for each in self._stand_ins if each.grad is not None]
        self._renew([each for each in heard if self.state[each].get("age", LASTS) >= LASTS])
        for matrix in heard:
            assert matrix.grad is not None
            stand_in = self._stand_ins[matrix]
            gradient = _within(matrix.grad, self.state[matrix]["projector"])
            stand_in.data, stand_in.grad = torch.zeros_like(gradient), gradient
        for group in self.inner.param_groups:
            group["lr"] = self.param_groups[0]["lr"]
        self.inner.step()
        for matrix in heard:
            state, stand_in = self.state[matrix], self._stand_ins[matrix]
            projector = state["projector"]
            matrix.add_(_back(stand_in, projector, matrix), alpha=scale_of(projector))
            state["age"] += 1
            stand_in.data, stand_in.grad = _nothing(matrix), None

    def _renew(self, due: list[torch.nn.Parameter]) -> None:
        """Find the projectors of these matrices anew."""
        if not due:
            return
        with one_thread():
            found = [projector_of(each.grad) for each in due if each.grad is not None]
        # Processors that differ may turn directions that are about as strong each their way.
        ranks.share(found)
        for matrix, projector in zip(due, found, strict=True):
            # Where nothing was to be heard yet, it is listened for again in the next step.
            age = 0 if projector.any() else LASTS
            self.state[matrix] = {"projector": projector.to(matrix.device), "age": age}


def projector_of(gradient: torch.Tensor) -> torch.Tensor:
    """(shorter side, directions) float32 on the CPU: the leading singular vectors of `gradient`,
    (m, n), on its shorter side; zeros beyond those that it has.

    They are the eigenvectors of the small product of the gradient with itself, here in float64.
    """
    whole = gradient.detach().to("cpu", torch.float64)
    whole = whole if whole.shape[0] < whole.shape[1] else whole.t()
    energy, directions = torch.linalg.eigh(whole @ whole.t())
    kept = kept_of(len(energy))
    energy, top = energy.flip(0)[:kept], directions.flip(1)[:, :kept]
    # An eigenvector's sign is arbitrary; fixed, so that it never depends on a library.
    top = top * torch.sign(top.gather(0, top.abs().argmax(0, keepdim=True)))
    top = torch.where(energy > _SILENCE**2 * energy[0], top, 0.0)
    # What is not in the gradient is not in its directions, whatever was rounded.
    top = torch.where((whole != 0).any(1)[:, None], top, 0.0)
    return top.float().contiguous()


def _within(gradient: torch.Tensor, projector: torch.Tensor) -> torch.Tensor:
    """`gradient`, (m, n), in the directions of its projector: (k, n), or (m, k)."""
    wide = gradient.shape[0] < gradient.shape[1]
    return projector.t() @ gradient if wide else gradient @ projector


def _back(step: torch.Tensor, projector: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """What `step` in those directions is as one of `matrix`."""
    wide = matrix.shape[0] < matrix.shape[1]
    return projector @ step if wide else step @ projector.t()


def _nothing(matrix: torch.Tensor) -> torch.Tensor:
    """What a stand-in holds between two steps."""
    return torch.zeros(0, dtype=matrix.dtype, device=matrix.device)
