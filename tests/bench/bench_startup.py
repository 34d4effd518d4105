"""How long `dlm --version` and `dlm --help` take, beside what typer takes to be imported.

Run: `python -m tests.bench startup`. Each time is the best of several, taken in turns. Targets:
`--version` in 0.15 s and sooner than `import typer`, `--help` in 0.25 s and less than twice that.
"""

from __future__ import annotations

import subprocess
import sys
import time

RUNS = 9
COMMANDS = {
    "import typer": ("-c", "import typer"),
    "dlm --version": ("-m", "dlm_engine", "--version"),
    "dlm --help": ("-m", "dlm_engine", "--help"),
}
#: seconds, and times what typer takes
TARGETS = {"dlm --version": (0.15, 1.0), "dlm --help": (0.25, 2.0)}


def main() -> int:
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=True)
            times[name].append(time.perf_counter() - began)
    peer = min(times["import typer"])
    print(f"import typer   {1000 * peer:6.0f} ms")
    missed = False
    for name, (seconds, ratio) in TARGETS.items():
        took = min(times[name])
        met = took <= seconds and took <= ratio * peer
        missed = missed or not met
        print(
            f"{name:14} {1000 * took:6.0f} ms  {took / peer:4.2f} x  {'met' if met else 'MISSED'}"
        )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
