"""Second moments take the memory of what they are of, and are the same to the bit."""

from __future__ import annotations

import torch

from dlm_engine.training.moments import Sum


def test_a_sum_is_the_same_whether_its_rows_are_kept_or_added_up() -> None:
    torch.manual_seed(3)
    few, many = Sum(), Sum()
    rows = [torch.randn(5, 16, dtype=torch.float32).to(torch.bfloat16) for _ in range(20)]
    total = torch.zeros(16, 16)
    for number, each in enumerate(rows):
        many.add(each)
        wide = each.float()
        total += wide.t() @ wide
        if number < 6:
            few.add(each)
            assert few.nbytes == 160 * (number + 1)
            expected = total.double()
            assert torch.equal(few.whole(), expected)
    assert many.nbytes == 4 * 16 * 16
    assert torch.equal(many.whole(), total.double())
