"""Detection: totals only, and bfloat16 on a CPU only where it is there and pays."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlm_engine.hardware import bf16_on_cpu, detect, detect_light, machine, measure_bf16_gain


@pytest.mark.parametrize(
    ("flags", "speedup", "native", "why"),
    [
        ({"avx512f", "avx512bw"}, 9.0, False, "no bfloat16 instructions"),
        (set(), None, False, "no bfloat16 instructions"),
        ({"avx512_bf16"}, None, True, "avx512_bf16"),
        ({"avx512_bf16"}, 1.0, True, "avx512_bf16"),
        ({"amx_bf16", "avx512_bf16"}, None, True, "amx_bf16"),
        ({"asimd", "bf16"}, None, False, "not measured"),
        ({"asimd", "bf16"}, 1.4, False, "only 1.4 times"),
        ({"asimd", "bf16"}, 2.0, True, "bf16"),
    ],
)
def test_bf16_needs_the_instruction_and_the_gain_where_that_is_not_sure(
    flags: set[str], speedup: float | None, native: bool, why: str
) -> None:
    decided, reason = bf16_on_cpu(flags, speedup)
    assert decided is native
    assert why in reason


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16\nflags : other\n", {"fpu", "avx512_bf16"}),
        ("Features\t: fp asimd BF16\n", {"fp", "asimd", "bf16"}),
        ("nothing here", set()),
    ],
)
def test_flags_come_from_the_first_processor(text: str, flags: set[str]) -> None:
    assert machine.flags_in(text) == flags


def test_the_gain_is_measured_by_the_fastest_of_several() -> None:
    # Each product takes two readings of the clock; float32 4 units at best, bfloat16 2.
    durations = [9, 4, 7, 5, 6, 8, 9, 3, 2, 5, 6, 8]
    readings = []
    now = 0
    for duration in durations:
        readings += [now, now + duration]
        now += duration
    clock = iter(readings)
    assert measure_bf16_gain(lambda: float(next(clock))) == 4 / 2


def test_this_machine_is_described_without_free_memory() -> None:
    import psutil

    found = detect()
    assert found == detect() or found.bf16_native
    assert 0 < found.ram <= psutil.virtual_memory().total
    assert found.cores >= 1
    assert dict(found.versions)["torch"]


def test_the_cgroup_limit_counts_as_total(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_text

    def read(self: Path, *args: str | None, **kwargs: str | None) -> str:
        return "123456789\n" if "cgroup" in str(self) else real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read)
    assert detect_light().total_memory == 123456789
