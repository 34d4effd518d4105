"""Where the adapter listens: directions in which the document's words stand out.

A LoRA adapter adds B·(A·x) to a linear layer. Its usual A is random, so whatever B learns
for a new fact also answers to everything else ("the capital of France is Tromso"), and a
penalty has to push that back afterwards. Here A is computed instead: among all
directions in a layer's input, the r ones along which the document's tokens have the most
energy for each unit of energy that everyday questions have there (`anchors.py`). That is
the generalised eigenproblem F v = λ (G + εI) v of the two second-moment matrices, as in
linear discriminant analysis; Fang et al. 2024 (AlphaEdit) project edits off the space of
preserved knowledge for the same reason, Tang et al. 2025 (LoRA-Null) start A there. A then
stays as it is and only B is trained: half the parameters, and no step can turn the
adapter towards the rest of the world again.

Measured on SmolLM2-135M (12 facts, last 10 layers, no other penalty): 9 steps where a
random A needs about 20, all facts in other words where it had 10 of 12, and 51 of 63 general
answers kept after 24 steps where it kept 13. More anchors and stopping when learned
do the rest; docs/learning.md has the table.

Nothing here is random, and matrices are solved in float64 by one thread (their last bits
depend on how many there are), so the directions of a document are the same bytes on every
run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dlm_engine.data.packs import Pack
from dlm_engine.training.network import Trainee

#: Ridge, as a share of the mean everyday energy per direction: below it, "never used by
#: everyday text" is only "not seen among the anchors".
RIDGE = 0.05


#: Rounds of subspace iteration; the leading directions have settled to 1e-3 after four.
_ROUNDS = 8
#: A direction with less than this share of the document's mean energy is not in it.
_SILENCE = 1e-4
_EXTRA = 16

Laid = tuple[Pack, torch.Tensor | None]


def aim(trainee: Trainee, document: Sequence[Laid], everyday: Sequence[Laid]) -> list[torch.Tensor]:
    """Set and freeze every lora_A from what `document` and `everyday` packs compute.

    Each pack comes with its trunk. The tokens a pack's rows share count as everyday.
    Returns the base's final hidden states of each `everyday` pack, which fall out.
    """
    listeners = _listeners(trainee)
    (own, shared), _ = _moments(trainee, listeners, document)
    (rest, rest_shared), hidden = _moments(trainee, listeners, everyday)
    count = sum(pack.tokens - pack.prefix for pack, _ in document)
    with _one_thread():
        directions = {
            source: _directions(
                own[source] / count,
                rest[source] + rest_shared[source] + shared[source],
                trainee.wiring.rank,
            )
            for source in listeners
        }
    for source, modules in listeners.items():
        found = directions[source]
        for module in modules:
            weight = module.lora_A["default"].weight
            with torch.no_grad():
                weight[: found.shape[0]].copy_(found)
                weight[found.shape[0] :].zero_()
            weight.requires_grad_(False)
    return hidden


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _directions(own: torch.Tensor, rest: torch.Tensor, rank: int) -> torch.Tensor:
    """(r, d) rows along which `own` is large and `rest` small, of unit energy on `own`.

    `own`: (d, d) mean of x xᵀ, `rest`: any multiple of one, both float64. r is `rank`, or
    d where that is less.
    """
    d = own.shape[0]
    eye = torch.eye(d, dtype=own.dtype)
    rest = rest / rest.diagonal().mean()
    lower = torch.linalg.cholesky(rest + RIDGE * eye)

    def whitened(basis: torch.Tensor) -> torch.Tensor:
        spread = own @ torch.linalg.solve_triangular(lower.t(), basis, upper=True)
        mapped: torch.Tensor = torch.linalg.solve_triangular(lower, spread, upper=False)
        return mapped

    top = _leading_eigenvectors(whitened, d, min(rank, d))
    rows = torch.linalg.solve_triangular(lower.t(), top, upper=True).t()
    energy = ((rows @ own) * rows).sum(1, keepdim=True)
    # A short document spans fewer directions than a large rank asks for. The rest hear
    # rounding errors only; scaled to unit energy those would be all that is heard.
    heard = energy > _SILENCE * own.diagonal().mean() * rows.square().sum(1, keepdim=True)
    scaled: torch.Tensor = torch.where(heard, rows / energy.clamp_min(1e-30).sqrt(), 0.0)
    return scaled


def _leading_eigenvectors(
    matrix: Callable[[torch.Tensor], torch.Tensor], d: int, count: int
) -> torch.Tensor:
    """(d, count) leading eigenvectors of the symmetric map `matrix`, (d, k) to (d, k).

    By subspace iteration from a fixed start: a full decomposition of 1,536 columns takes
    a second and more, this a twentieth of it.
    """
    width = min(d, count + _EXTRA)
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(d, width, generator=generator, dtype=torch.float64)
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(matrix(basis)).Q
    small = basis.t() @ matrix(basis)
    _, inner = torch.linalg.eigh((small + small.t()) / 2)
    top = basis @ inner.flip(1)[:, :count]
    # An eigenvector's sign is arbitrary; fixed, so that it never depends on a library.
    signed: torch.Tensor = top * torch.sign(top.gather(0, top.abs().argmax(0, keepdim=True)))
    return signed


def _listeners(trainee: Trainee) -> dict[str, list[Any]]:
    """Adapted modules by what feeds them: q, k and v see one tensor, gate and up another."""
    fed_alike = {"q_proj": "in", "k_proj": "in", "v_proj": "in", "gate_proj": "in", "up_proj": "in"}
    groups: dict[str, list[Any]] = {}
    for name, module in trainee.adapted().items():
        parent, _, own = name.rpartition(".")
        groups.setdefault(f"{parent}.{fed_alike.get(own, own)}", []).append(module)
    return groups


@torch.no_grad()
def _moments(
    trainee: Trainee,
    listeners: dict[str, list[Any]],
    laid: Sequence[Laid],
) -> tuple[tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]], list[torch.Tensor]]:
    """Sums of x xᵀ, (d, d) float64 on the CPU, of what feeds each group, and the packs' ends.

    Two sums: over the rows' own tokens, and over those that all rows of a pack share. The
    ends are the base's final hidden states as `Trainee.hidden` gives them.
    """
    sums: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    hidden: list[torch.Tensor] = []
    now: list[Pack] = []

    def hook(source: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def add(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            whole, prefix = inputs[0][0].float(), now[0].prefix
            for total, x in zip(sums, (whole[prefix:], whole[:prefix]), strict=True):
                moment = x.t() @ x
                total[source] = total[source].add_(moment) if source in total else moment

        return add

    hooks = [
        modules[0].register_forward_pre_hook(hook(source)) for source, modules in listeners.items()
    ]
    try:
        with trainee.model.disable_adapter():
            for pack, trunk in laid:
                now[:] = [pack]
                hidden.append(trainee.hidden(pack, trunk))
    finally:
        for handle in hooks:
            handle.remove()
    own, shared = ({s: m.to("cpu", torch.float64) for s, m in each.items()} for each in sums)
    return (own, shared), hidden
