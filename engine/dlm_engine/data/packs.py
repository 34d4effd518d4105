"""Rows laid side by side in one sequence, sharing what they all begin with.

Rows of a chat open with the same tokens (system prompt, the user's header): about half
of a short question. A pack holds that prefix once and every row's rest behind it; a mask
lets each row see the prefix and itself only, and positions restart after the prefix, so
each row's logits are what they would be alone. Padding is gone as well. Measured on 12
questions of about 57 tokens: 342 tokens a step where a padded batch has 720. The usual
block-diagonal packing loses on a CPU at this length (attention over one long row costs
more than it saves); the shared prefix is what turns that round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from dlm_engine.data.tokens import Encoded


@dataclass(frozen=True)
class Pack:
    """One sequence of N tokens holding several rows.

    `input_ids`, `positions`: (1, N) int64. `mask`: (1, 1, N, N) bool, True where a query
    (row) may see a key (column). `select`: (M,) positions whose next token is supervised;
    `labels`: (M,) those tokens; `row_of`: (M,) index into `rows`.
    """

    rows: tuple[Encoded, ...]
    input_ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    select: torch.Tensor
    labels: torch.Tensor
    row_of: torch.Tensor
    #: how many leading tokens the rows share
    prefix: int
    #: (M,) how often the loss of each supervised token counts; None where each counts once
    weights: torch.Tensor | None = None

    @property
    def kind(self) -> Literal["chat", "text"]:
        """Of all its rows: `packs_of` puts none of another kind beside them."""
        return self.rows[0].kind

    @property
    def tokens(self) -> int:
        return int(self.input_ids.shape[1])

    @property
    def supervised(self) -> int:
        return int(self.labels.shape[0])

    def to(self, device: torch.device) -> Pack:
        return Pack(
            self.rows,
            self.input_ids.to(device),
            self.positions.to(device),
            self.mask.to(device),
            self.select.to(device),
            self.labels.to(device),
            self.row_of.to(device),
            self.prefix,
            None if self.weights is None else self.weights.to(device),
        )


def shared_prefix(rows: Sequence[Encoded]) -> int:
    """How many leading tokens all rows share, never reaching a supervised one's predecessor."""
    limit = min(row.start - 1 for row in rows)
    first = rows[0].ids
    length = 0
    while length < limit and all(row.ids[length] == first[length] for row in rows):
        length += 1
    return length


def pack(rows: Sequence[Encoded]) -> Pack:
    """Lay `rows` (at least one) behind their shared prefix."""
    prefix = shared_prefix(rows)
    ids = list(rows[0].ids[:prefix])
    positions = list(range(prefix))
    owner = [-1] * prefix
    select: list[int] = []
    labels: list[int] = []
    row_of: list[int] = []
    for number, row in enumerate(rows):
        at = len(ids)
        ids += row.ids[prefix:]
        positions += range(prefix, len(row.ids))
        owner += [number] * (len(row.ids) - prefix)
        first = at + row.start - prefix - 1
        select += range(first, first + row.supervised)
        labels += row.ids[row.start :]
        row_of += [number] * row.supervised
    owners = torch.tensor(owner)
    same = (owners[:, None] == owners[None, :]) | (owners[None, :] == -1)
    mask = torch.ones(len(ids), len(ids), dtype=torch.bool).tril() & same
    weights = None
    if any(row.weight != 1.0 for row in rows):
        weights = torch.tensor([rows[number].weight for number in row_of], dtype=torch.float32)
    return Pack(
        tuple(rows),
        torch.tensor([ids]),
        torch.tensor([positions]),
        mask[None, None],
        torch.tensor(select),
        torch.tensor(labels),
        torch.tensor(row_of),
        prefix,
        weights,
    )


def packs_of(rows: Sequence[Encoded], budget: int, most_rows: int | None = None) -> list[Pack]:
    """Rows gathered into packs of at most `budget` tokens and `most_rows` rows.

    Chats and prose go apart (they share no prefix), each kind sorted by length so that
    a pack's rows are alike, ties by key: the result does not depend on document order. A
    row longer than the budget has a pack to itself.
    """
    packs: list[Pack] = []
    for kind in ("chat", "text"):
        group: list[Encoded] = []
        size = 0
        ordered = sorted((r for r in rows if r.kind == kind), key=lambda r: (len(r.ids), r.key))
        common = shared_prefix(ordered) if ordered else 0
        for row in ordered:
            own = len(row.ids) - common
            full = size + own + common > budget or len(group) == most_rows
            if group and full:
                packs.append(pack(group))
                group, size = [], 0
            group.append(row)
            size += own
        if group:
            packs.append(pack(group))
    return packs
