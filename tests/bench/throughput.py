"""`python -m tests.bench throughput`: dlm's training step against TRL's, and as a neighbour.

One after the other, each in a process of its own, with the same threads and rows. TRL runs
twice, as it comes and with bfloat16 and recomputing off, which suits a processor better.
Run it on an otherwise idle machine: a busy one disturbs each of them at another moment.
Takes a few minutes. Each line says how many operations a second its tokens need (`needed` in
`trainers`), as a share of what products of the base's own matrices reach here.

Targets, in supervised tokens per second: a whole run 3 times TRL, whichever of the two is
faster; every layer adapted, and nothing besides that TRL does not do, 4 times TRL as it comes;
the last layers over the kept trunk, as a save trains them, 8 times. A step beside one busy
process takes at most 2.2 times as long, its share on two cores and a little for the changing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench.trainers import Beside, Products, Speed

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
RATIO = 3.0
#: Trainers that are compared with TRL as it comes, and the target of those that have one.
AGAINST_DEFAULTS = {
    "dlm": None,
    "dlm-without-anchors": 8.0,
    "dlm-all-layers": None,
    "dlm-all-layers-without-anchors": 4.0,
    "dlm-top-six": 8.0,
}
SLOWDOWN = 2.2
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


def in_a_process(trainer: str) -> dict[str, Any]:
    """What `trainer` measured; `RuntimeError` with what it wrote when it failed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.trainers", trainer],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{trainer}: {done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def peak() -> Products:
    """What the machine can do, and a line about it."""
    found = Products(**in_a_process("products"))
    print(
        f"{'products of the layers':31} {found.bf16 / 1e9:.0f} GFLOP/s in bf16, "
        f"{found.fp32 / 1e9:.0f} in fp32",
        flush=True,
    )
    return found


def speed(trainer: str, most: Products) -> Speed:
    """Time `trainer` and print a line about it."""
    found = Speed(**in_a_process(trainer))
    share = found.operations / getattr(most, found.precision)
    print(
        f"{trainer:31} {found.rate:7.1f} supervised tokens/s, {found.tokens:7.1f} in all, "
        f"{found.processor:6.1f} per second of processor time, "
        f"{share:4.0%} of the {found.precision} products' rate",
        flush=True,
    )
    return found


def beside(trainer: str) -> Beside:
    """Time `trainer` beside a neighbour and print a line about it."""
    found = Beside(**in_a_process(trainer))
    print(
        f"{trainer:31} step {found.alone:5.2f} s, beside a busy process {found.beside:5.2f} s "
        f"({found.beside / found.alone:.2f} times), which has {found.neighbour:.0%} of a core",
        flush=True,
    )
    return found


def main(arguments: Sequence[str] = ()) -> int:
    """Print every figure; 1 when a target is missed."""
    if arguments:
        print(f"throughput takes no arguments: {' '.join(arguments)}", file=sys.stderr)
        return 2
    print(f"{THREADS} threads; load before: {os.getloadavg()[0]:.2f}")
    most = peak()
    defaults = speed("trl-defaults", most)
    theirs = max((speed("trl-float32", most), defaults), key=lambda found: found.rate)
    ours = {trainer: speed(trainer, most) for trainer in AGAINST_DEFAULTS}
    ratio = ours["dlm"].rate / theirs.rate
    print(
        f"{'dlm to the faster TRL':31} {ratio:7.2f} times ({_verdict(ratio, RATIO)}), "
        f"{ours['dlm'].processor / theirs.processor:.2f} in processor time"
    )
    met = ratio >= RATIO
    for trainer, target in AGAINST_DEFAULTS.items():
        found = ours[trainer].rate / defaults.rate
        said = "" if target is None else f" ({_verdict(found, target)})"
        print(f"{trainer + ' to trl-defaults':46} {found:7.2f} times{said}")
        met = met and (target is None or found >= target)
    shared = beside("dlm-beside")
    beside("dlm-beside-standing-back")
    slowdown = shared.beside / shared.alone
    print(f"{'slowdown':31} {slowdown:7.2f} times (target at most {SLOWDOWN:g})")
    return 0 if met and slowdown <= SLOWDOWN else 1


def _verdict(found: float, target: float) -> str:
    return f"target {target:g}: {'met' if found >= target else 'missed'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
