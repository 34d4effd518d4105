"""`python -m tests.bench` runs what is asked for; the benches themselves take minutes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import pytest
from tests.bench import __main__ as benches
from tests.bench import bench_server, throughput
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
                    "memory",
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


@pytest.mark.parametrize(
    ("start", "edits", "burst", "memory", "missed"),
    [
        (130.0, (1.0, 8.0), 250.0, 90.0, ()),
        (131.0, (1.0, 8.0), 250.0, 90.0, ("start to answer",)),
        (60.0, (1.01, 8.01), 250.0, 90.0, ("10 KB", "1 MB")),
        (60.0, (0.5, 2.5), 251.0, 91.0, ("MB when idle", "50 edits")),
    ],
)
def test_a_bar_of_the_server_that_is_missed_is_an_exit_code(
    start: float,
    edits: tuple[float, float],
    burst: float,
    memory: float,
    missed: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = [[(100.0, 150.0)], [(start, 100.0)]]
    monkeypatch.setattr(bench_server, "start_milliseconds", lambda commands, runs: times)
    of_size = {10_000: [edits[0]], 1_000_000: [edits[1]]}
    monkeypatch.setattr(bench_server, "edit_milliseconds", lambda c, size, n: of_size[size])
    monkeypatch.setattr(bench_server, "burst_milliseconds", lambda size, number: burst)
    monkeypatch.setattr(bench_server, "idle_megabytes", lambda: memory)
    monkeypatch.setattr(bench_server, "hover_milliseconds", lambda number: [1.0])
    assert bench_server.main(["--no-peer"]) == bool(missed)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert len(said) == len(missed)
    assert all(any(name in line for line in said) for name in missed)


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
