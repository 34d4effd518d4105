"""The `dlm` script: the shortest way from the interpreter's start to an answer.

Version is answered here, before Typer is imported: editors and scripts ask for it at
every start, and importing the command line would take ten times as long as the answer.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `dlm` and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from dlm_engine import __version__

        print(f"dlm {__version__}")
        return 0
    try:
        from dlm_engine.cli.app import run
    except KeyboardInterrupt:
        return 130
    return run(given)


if __name__ == "__main__":
    raise SystemExit(main())
