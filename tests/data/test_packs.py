from __future__ import annotations

import pytest
import torch
from tests.tiny import make_model

from dlm_engine.data.packs import pack, packs_of, shared_prefix
from dlm_engine.data.tokens import Encoded


def row(*ids: int, start: int, kind: str = "chat") -> Encoded:
    return Encoded("-".join(map(str, ids)), "s", kind, ids, start)  # type: ignore[arg-type]


ROWS = (
    row(9, 8, 7, 20, 21, 5, 30, 31, 2, start=6),
    row(9, 8, 7, 22, 5, 33, 2, start=5),
    row(9, 8, 7, 20, 23, 24, 5, 36, 37, 38, 2, start=7),
)


def test_the_prefix_is_what_all_rows_share() -> None:
    assert shared_prefix(ROWS) == 3
    assert shared_prefix(ROWS[:1]) == 5


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_each_row_of_a_pack_computes_what_it_would_alone(kind: str, attention: str) -> None:
    model = make_model(kind)
    model.set_attn_implementation(attention)
    packed = pack(ROWS)
    mask = torch.zeros(packed.mask.shape)
    mask.masked_fill_(~packed.mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        together = model(
            input_ids=packed.input_ids, position_ids=packed.positions, attention_mask=mask
        ).logits[0][packed.select]
        alone = [model(input_ids=torch.tensor([r.ids])).logits[0][r.start - 1 : -1] for r in ROWS]
    assert packed.tokens == 3 + sum(len(r.ids) - 3 for r in ROWS)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-5)
    assert packed.labels.tolist() == [i for r in ROWS for i in r.ids[r.start :]]
    assert packed.row_of.tolist() == [n for n, r in enumerate(ROWS) for _ in range(r.supervised)]


def test_packs_hold_to_their_budget_and_lose_no_row() -> None:
    rows = [row(9, 8, *range(100, 100 + n), 2, start=4) for n in range(5, 60)]
    packs = packs_of(rows, 120)
    assert all(p.tokens <= 120 for p in packs)
    assert sorted(r.key for p in packs for r in p.rows) == sorted(r.key for r in rows)
    assert max(len(p.rows) for p in packs_of(rows, 10_000, most_rows=4)) == 4


def test_packs_do_not_depend_on_the_order_of_the_document() -> None:
    rows = [row(9, n, n + 1, 2, start=2) for n in range(10, 40)]
    forwards = [[r.key for r in p.rows] for p in packs_of(rows, 40)]
    backwards = [[r.key for r in p.rows] for p in packs_of(rows[::-1], 40)]
    assert forwards == backwards


def test_prose_and_chats_are_never_in_one_pack() -> None:
    rows = [row(9, 8, 2, start=2), row(1, 4, 5, start=1, kind="text")]
    assert [p.rows[0].kind for p in packs_of(rows, 1000)] == ["chat", "text"]
