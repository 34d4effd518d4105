"""`python -m tests.bench throughput`: dlm's training step against TRL's, and as a neighbour.

One after the other, each in a process of its own, with the same threads and rows. TRL runs
twice, as it comes and with bfloat16 and recomputing off, which suits a processor better;
the target counts against whichever of them is faster. Run it on an otherwise idle machine:
a busy one disturbs each of them at another moment. Takes a few minutes.

Targets: 3 times the supervised tokens per second of TRL; a step beside one busy process
takes at most 2.2 times as long, its share on two cores and a little for the changing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.trainers import Beside, Speed

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
RATIO = 3.0
SLOWDOWN = 2.2
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


def in_a_process(trainer: str) -> dict[str, float]:
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
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def speed(trainer: str) -> Speed:
    """Time `trainer` and print a line about it."""
    measured = in_a_process(trainer)
    found = Speed(measured["rate"], measured["processor"], int(measured["passes"]))
    print(
        f"{trainer:26} {found.rate:7.1f} supervised tokens/s, "
        f"{found.processor:6.1f} per second of processor time",
        flush=True,
    )
    return found


def beside(trainer: str) -> Beside:
    """Time `trainer` beside a neighbour and print a line about it."""
    found = Beside(**in_a_process(trainer))
    print(
        f"{trainer:26} step {found.alone:5.2f} s, beside a busy process {found.beside:5.2f} s "
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
    own = speed("dlm")
    speed("dlm-without-anchors")
    theirs = max((speed("trl-float32"), speed("trl-defaults")), key=lambda found: found.rate)
    ratio = own.rate / theirs.rate
    print(
        f"{'dlm to TRL':26} {ratio:7.2f} times (target {RATIO:g}), "
        f"{own.processor / theirs.processor:.2f} in processor time"
    )
    shared = beside("dlm-beside")
    beside("dlm-beside-standing-back")
    slowdown = shared.beside / shared.alone
    print(f"{'slowdown':26} {slowdown:7.2f} times (target at most {SLOWDOWN:g})")
    return 0 if ratio >= RATIO and slowdown <= SLOWDOWN else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
