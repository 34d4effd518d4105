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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dlm_engine.data.packs import Pack
from dlm_engine.training import ranks
from dlm_engine.training.moments import Known, Moment, summed
from dlm_engine.training.network import Trainee
from dlm_engine.training.polite import one_thread

#: Ridge, as a share of the mean everyday energy per direction: below it, "never used by
#: everyday text" is only "not seen among the anchors".
RIDGE = 0.05


#: Rounds of subspace iteration; the leading directions have settled to 1e-3 after four.
_ROUNDS = 8
#: A direction with less than this share of the document's mean energy is not in it.
_SILENCE = 1e-4
_EXTRA = 16

Laid = tuple[Pack, torch.Tensor | None]


@dataclass(frozen=True)
class Everyday:
    """What a base does with everyday packs: a constant of base, prompt and adapted layers.

    `hidden`: its final hidden states of each pack, as `Trainee.hidden` gives them.
    `moments`: by group of adapted modules, of what feeds it; of a divided base those of the groups
    that are this process's.
    """

    packs: tuple[Laid, ...]
    hidden: tuple[torch.Tensor, ...]
    moments: Mapping[str, Moment | Known]

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in (*self.moments.values(), *self.hidden))


def survey(trainee: Trainee, everyday: Sequence[Laid]) -> Everyday:
    """Run the base over `everyday`, each pack with its trunk."""
    moments, hidden = _moments(trainee, _own_listeners(trainee), everyday)
    return Everyday(tuple(everyday), tuple(hidden), moments)


def summed_up(trainee: Trainee) -> int:
    """Bytes of a survey whose moments are all added up."""
    return sum(summed(modules[0].in_features) for modules in _listeners(trainee).values())


def aim(
    trainee: Trainee,
    document: Sequence[Laid],
    everyday: Everyday,
    kept: Sequence[Laid] = (),
    first: int = 0,
) -> None:
    """Set every lora_A from row `first` on from what the `document` packs compute beside
    `everyday` and, weighted alike, beside the packs `kept`; freeze all of it.

    Each pack comes with its trunk. The tokens a pack's rows share count as everyday.
    """
    own = _own_listeners(trainee)
    heard, _ = _moments(trainee, own, document)
    known, _ = _moments(trainee, own, kept)
    count = sum(pack.tokens - pack.prefix for pack, _ in document)
    for source, modules in own.items():
        # Popped, as all of them at once are more than the base.
        moment, before = heard.pop(source), known.pop(source, None)
        rest = _wide(everyday.moments[source]).add_(moment.shared.whole())
        if before is not None:
            rest = _scaled(rest).add_(_scaled(before.whole()))
        mean = moment.own.whole().div_(count)
        del moment, before
        with one_thread():
            found = _directions(mean, rest, trainee.wiring.rank - first)
        for module in modules:
            weight = module.lora_A["default"].weight
            with torch.no_grad():
                weight[first:].zero_()
                weight[first : first + found.shape[0]].copy_(found)
    for number, modules in enumerate(_by_size(trainee).values()):
        weights = [module.lora_A["default"].weight for module in modules]
        if trainee.divided:
            ranks.share([weight[first:] for weight in weights], number % ranks.world())
        for weight in weights:
            weight.requires_grad_(False)


def aim_further(
    trainee: Trainee,
    new: Sequence[Laid],
    kept: Sequence[Laid],
    everyday: Everyday,
    first: int,
) -> None:
    """Set the rows of every lora_A from row `first` on to where `new` stands out; freeze all.

    It stands out against `everyday` and, weighted alike, against the `kept` rows, so that
    what is learned through these rows is heard by neither: the port of one service is not
    told from another's by the words "port" and "listen". The new rows have few tokens n,
    so the eigenproblem of `aim` is solved in their span: the left singular vectors of
    L⁻¹Xᵀ, (d, n), where L Lᵀ is the penalty.
    """
    listeners = _listeners(trainee)
    spans = _inputs(trainee, listeners, new)
    known, _ = _moments(trainee, listeners, kept)
    for source, modules in listeners.items():
        penalty = _scaled(_wide(everyday.moments[source]))
        if source in known:
            penalty += _scaled(known[source].whole())
        penalty.diagonal().add_(RIDGE)
        with one_thread():
            found = _directions_in_span(spans[source], penalty, trainee.wiring.rank - first)
        for module in modules:
            weight = module.lora_A["default"].weight
            with torch.no_grad():
                weight[first:].zero_()
                weight[first : first + found.shape[0]].copy_(found)
            weight.requires_grad_(False)


def _wide(moment: Moment | Known) -> torch.Tensor:
    """(d, d) float64 of float32: equal bytes whether it was made just now or in an earlier run."""
    return moment.rounded().to("cpu", torch.float64)


def _scaled(moment: torch.Tensor) -> torch.Tensor:
    """`moment`, which becomes it, with a mean energy of one per direction."""
    return moment.div_(moment.diagonal().mean().clamp_min(1e-30))


def _directions_in_span(own: torch.Tensor, penalty: torch.Tensor, count: int) -> torch.Tensor:
    """(at most `count`, d) rows where the tokens `own`, (n, d), are large and `penalty` small.

    Of unit energy on `own`, the most telling first; all float64.
    """
    lower = torch.linalg.cholesky(penalty)
    whitened = torch.linalg.solve_triangular(lower, own.t(), upper=False)
    left, strength, _ = torch.linalg.svd(whitened, full_matrices=False)
    heard = int((strength > _SILENCE * strength[0]).sum()) if len(strength) else 0
    top = left[:, : min(count, heard)]
    # An eigenvector's sign is arbitrary; fixed, so that it never depends on a library.
    top = top * torch.sign(top.gather(0, top.abs().argmax(0, keepdim=True)))
    rows = torch.linalg.solve_triangular(lower.t(), top, upper=True).t()
    energy = (own @ rows.t()).square().mean(0).clamp_min(1e-30)
    scaled: torch.Tensor = rows / energy.sqrt()[:, None]
    return scaled


def _directions(own: torch.Tensor, rest: torch.Tensor, rank: int) -> torch.Tensor:
    """(r, d) rows along which `own` is large and `rest` small, of unit energy on `own`.

    `own`: (d, d) mean of x xᵀ, `rest`: any multiple of one, both float64; `rest` is lost. r is
    `rank`, or d where that is less.
    """
    d = own.shape[0]
    rest.div_(rest.diagonal().mean()).diagonal().add_(RIDGE)
    lower = torch.linalg.cholesky(rest)

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


def _by_size(trainee: Trainee) -> dict[str, list[Any]]:
    """Them with what is widest first."""
    found = _listeners(trainee).items()
    return dict(sorted(found, key=lambda each: (-each[1][0].in_features, each[0])))


def _own_listeners(trainee: Trainee) -> dict[str, list[Any]]:
    """Those that this process looks at: with a divided base others look at the rest, as what they
    say is more than the base."""
    if not trainee.divided:
        return _listeners(trainee)
    return dict(ranks.mine(list(_by_size(trainee).items())))


@torch.no_grad()
def _moments(
    trainee: Trainee,
    listeners: dict[str, list[Any]],
    laid: Sequence[Laid],
) -> tuple[dict[str, Moment], list[torch.Tensor]]:
    """Of what feeds each group, and the packs' ends: the base's final hidden states as
    `Trainee.hidden` gives them."""
    moments: dict[str, Moment] = {}

    def add(source: str, whole: torch.Tensor, prefix: int) -> None:
        moments.setdefault(source, Moment()).add(whole, prefix)

    hidden = _listen(trainee, listeners, laid, add)
    return moments, hidden


@torch.no_grad()
def _inputs(
    trainee: Trainee, listeners: dict[str, list[Any]], laid: Sequence[Laid]
) -> dict[str, torch.Tensor]:
    """(n, d) float64 on the CPU: what feeds each group at the rows' own tokens."""
    found: dict[str, list[torch.Tensor]] = {source: [] for source in listeners}

    def take(source: str, whole: torch.Tensor, prefix: int) -> None:
        found[source].append(whole[prefix:].to("cpu", torch.float64))

    _listen(trainee, listeners, laid, take)
    return {source: torch.cat(each) for source, each in found.items()}


def _listen(
    trainee: Trainee,
    listeners: dict[str, list[Any]],
    laid: Sequence[Laid],
    take: Callable[[str, torch.Tensor, int], None],
) -> list[torch.Tensor]:
    """Run the base over packs; `take` gets group, (N, d) what feeds it, and the prefix's length.

    Returns the final hidden states of each pack.
    """
    hidden: list[torch.Tensor] = []
    now: list[Pack] = []

    def hook(source: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        return lambda _, inputs: take(source, inputs[0][0], now[0].prefix)

    hooks = [
        modules[0].register_forward_pre_hook(hook(source)) for source, modules in listeners.items()
    ]
    try:
        with trainee.base_alone():
            for pack, trunk in laid:
                now[:] = [pack]
                hidden.append(trainee.hidden(pack, trunk))
    finally:
        for handle in hooks:
            handle.remove()
    return hidden
