"""`python -m tests.bench` runs what is asked for; the benches themselves take minutes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import pytest
from tests.bench import __main__ as benches
from tests.bench import throughput
from tests.bench.trainers import Beside, Products, Speed, needed

from dlm_engine.hardware import ModelShape


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Which benches ran with what; those stand-ins fail where `fail` is handed to them."""
    calls: list[tuple[str, list[str]]] = []

    def bench(name: str, arguments: Sequence[str]) -> int:
        calls.append((name, list(arguments)))
        return int("fail" in arguments)

    for name in benches.BENCHES:
        monkeypatch.setitem(benches.BENCHES, name, partial(bench, name))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return calls


@pytest.mark.parametrize(
    ("arguments", "ran", "code"),
    [
        (
            [],
            [
                (n, [])
                for n in (
                    "grammar",
                    "document",
                    "startup",
                    "server",
                    "throughput",
                    "learning",
                    "saves",
                    "sources",
                    "prose",
                )
            ],
            0,
        ),
        (["throughput"], [("throughput", [])], 0),
        (["learning", "--seeds", "1"], [("learning", ["--seeds", "1"])], 0),
        (["grammar", "fail"], [("grammar", ["fail"])], 1),
        (["speed"], [], 2),
    ],
)
def test_the_named_bench_runs_or_all(
    asked: list[tuple[str, list[str]]],
    arguments: list[str],
    ran: list[tuple[str, list[str]]],
    code: int,
) -> None:
    assert benches.main(arguments) == code
    assert asked == ran


@pytest.mark.parametrize(
    ("own", "every", "save", "theirs", "step", "code"),
    [
        (30.0, 8.0, 16.0, (10.0, 2.0), 2.0, 0),
        (29.0, 8.0, 16.0, (10.0, 2.0), 2.0, 1),
        (29.0, 40.0, 80.0, (2.0, 10.0), 2.0, 1),
        (30.0, 7.9, 16.0, (10.0, 2.0), 2.0, 1),
        (30.0, 8.0, 15.9, (10.0, 2.0), 2.0, 1),
        (30.0, 8.0, 16.0, (10.0, 2.0), 2.5, 1),
    ],
)
def test_a_missed_target_is_an_exit_code(
    own: float,
    every: float,
    save: float,
    theirs: tuple[float, float],
    step: float,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = {
        "dlm": own,
        "dlm-without-anchors": save,
        "dlm-top-six": save,
        "dlm-all-layers": 0.1,
        "dlm-all-layers-without-anchors": every,
        "trl-float32": theirs[0],
        "trl-defaults": theirs[1],
    }
    monkeypatch.setattr(throughput, "peak", lambda: Products(1.0, 1.0))
    monkeypatch.setattr(throughput, "speed", lambda trainer, most: Speed(rates[trainer], 1.0, 1))
    monkeypatch.setattr(throughput, "beside", lambda trainer: Beside(1.0, step, 1.0))
    assert throughput.main() == code


def test_the_operations_of_a_pass_are_counted_from_the_bases_sizes() -> None:
    shape = ModelShape(
        hidden=4,
        layers=3,
        intermediate=8,
        vocab=10,
        heads=2,
        kv_heads=1,
        head_dim=2,
        params=1,
        tied=True,
    )
    linear = 4 * 4 + 2 * (4 * 2) + 4 * 4 + 3 * (4 * 8)
    found = needed(shape, [5, 2], 2, adapter=30, trained=10, head_products=6)
    assert found == (
        7 * (4 * 2 * linear + 4 * 30 + 2 * 10) + 12 * 2 * (2 * 2) * (25 + 4) + 2 * 10 * 4 * 6
    )
