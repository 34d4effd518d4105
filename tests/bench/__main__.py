"""`python -m tests.bench [name] [...]`: one bench (see `BENCHES`), or all of them in turn.

Works in a home of its own that is removed afterwards; the converted base is that of the
checkout, as in the tests. What follows a bench's name is handed to it.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def grammar(arguments: Sequence[str]) -> int:
    from tests.bench import bench_grammar

    return _without_arguments("grammar", arguments) or bench_grammar.main()


def document(arguments: Sequence[str]) -> int:
    from tests.bench import bench_document

    return _without_arguments("document", arguments) or bench_document.main()


def startup(arguments: Sequence[str]) -> int:
    from tests.bench import bench_startup

    return _without_arguments("startup", arguments) or bench_startup.main()


def server(arguments: Sequence[str]) -> int:
    from tests.bench import bench_server

    return bench_server.main(arguments)


def _without_arguments(name: str, arguments: Sequence[str]) -> int:
    if arguments:
        print(f"{name} takes no arguments: {' '.join(arguments)}", file=sys.stderr)
        return 2
    return 0


def throughput(arguments: Sequence[str]) -> int:
    from tests.bench.throughput import main

    return main(arguments)


def learning(arguments: Sequence[str]) -> int:
    from tests.bench.learning.__main__ import main

    return main(arguments)


def sources(arguments: Sequence[str]) -> int:
    from tests.bench.bench_sources import main

    return main(arguments)


def saves(arguments: Sequence[str]) -> int:
    from tests.bench.learning.saves import main

    return main(arguments)


def prose(arguments: Sequence[str]) -> int:
    from tests.bench.learning.prose import main

    return main(arguments)


def memory(arguments: Sequence[str]) -> int:
    from tests.bench.memory import main

    return main(arguments)


BENCHES: dict[str, Callable[[Sequence[str]], int]] = {
    "grammar": grammar,
    "document": document,
    "startup": startup,
    "server": server,
    "throughput": throughput,
    "learning": learning,
    "saves": saves,
    "sources": sources,
    "prose": prose,
    "memory": memory,
}


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; the worst exit code of the benches, 2 for an unknown name."""
    if arguments and arguments[0] not in BENCHES:
        print(f"no such bench: {arguments[0]} (there are: {', '.join(BENCHES)})", file=sys.stderr)
        return 2
    names, rest = (arguments[:1], arguments[1:]) if arguments else (list(BENCHES), [])
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("DLM_CACHE_DIR", str(ROOT / ".cache" / "dlm"))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    worst = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["DLM_HOME"] = home
        for name in names:
            print(f"--- {name}", flush=True)
            worst = max(worst, BENCHES[name](rest))
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
