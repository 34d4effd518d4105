"""Second moments of what feeds a layer, in the least memory that they can be had in.

The sum of x xᵀ over a document is (d, d) numbers for every group of adapted layers, together more
than the base has; the tokens themselves are often fewer than d. So what was added is kept until
the sum is smaller, and the sum is the same to the bit either way: the same products in the same
order.
"""

from __future__ import annotations

import torch


class Sum:
    """Sum of xᵀ x, (d, d) float32, over the (n, d) rows that are added."""

    def __init__(self, total: torch.Tensor | None = None) -> None:
        self._rows: list[torch.Tensor] = []
        self._total = total

    def add(self, rows: torch.Tensor) -> None:
        self._rows.append(rows)
        if self._total is not None or sum(map(_size, self._rows)) > summed(rows.shape[1]):
            self._total, self._rows = self._folded(), []

    @property
    def nbytes(self) -> int:
        every = self._rows if self._total is None else [self._total]
        return sum(map(_size, every))

    def whole(self) -> torch.Tensor:
        """(d, d) float64 on the CPU, of the caller's own."""
        return self._folded().to("cpu", torch.float64)

    def _folded(self) -> torch.Tensor:
        total = self._total
        for rows in self._rows:
            wide = rows.float()
            product = wide.t() @ wide
            total = product if total is None else total.add_(product)
        assert total is not None
        return total


class Moment:
    """Two such sums: over the rows' own tokens, and over those that all rows of a pack share."""

    def __init__(self) -> None:
        self.own, self.shared = Sum(), Sum()

    def add(self, rows: torch.Tensor, prefix: int) -> None:
        """Add (n, d) rows, of which the first `prefix` are shared."""
        self.own.add(rows[prefix:])
        # A copy: a view would keep the rest as well.
        self.shared.add(rows[:prefix].clone())

    @property
    def nbytes(self) -> int:
        return self.own.nbytes + self.shared.nbytes

    def whole(self) -> torch.Tensor:
        """(d, d) float64 on the CPU over all tokens, of the caller's own."""
        return self.own.whole().add_(self.shared.whole())

    def rounded(self) -> torch.Tensor:
        """(d, d) float32 on the CPU over all tokens: what is kept on disk."""
        return self.whole().float()


class Known:
    """A moment that was made earlier."""

    def __init__(self, total: torch.Tensor) -> None:
        self._total = total

    @property
    def nbytes(self) -> int:
        return _size(self._total)

    def rounded(self) -> torch.Tensor:
        return self._total


def summed(width: int) -> int:
    """Bytes of a sum over what is so wide."""
    return 4 * width**2


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
