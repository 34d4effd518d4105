"""What a tree of 50,000 small files costs a run: seen for the first time, and unchanged.

Run: `python -m tests.bench sources [COUNT]`. Each pass finds and judges the files, and turns
them into tokens with the tokenizer of the base, as a training run does before it trains; the
second finds both in the token cache. Printed are seconds, files read and rows tokenised.
Targets, on two cores that do nothing else: 60 s the first time, 3 s unchanged with no file
read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dlm_engine.document.frontmatter import Training

COUNT = 50_000
FIRST_SECONDS = 60.0
AGAIN_SECONDS = 3.0
_EACH_FOLDER = 100


def make_tree(folder: Path, count: int) -> None:
    for number in range(count):
        place = folder / f"part{number // _EACH_FOLDER:04}"
        if number % _EACH_FOLDER == 0:
            place.mkdir()
        (place / f"note{number}.md").write_text(
            f"# Note {number}\n\nThe lamp of pier {number} is lit at {number % 24} o'clock, and "
            f"its keeper writes line {number * 7919 % count} of the book.\n"
        )


def one_pass(document: Path, training: Training, home: Path) -> tuple[float, float, int, int]:
    """Seconds, those of processor time, files read, rows tokenised: what a run does first."""
    from dlm_engine.bases import obtain_weights, resolve
    from dlm_engine.data import Chat, encode_rows
    from dlm_engine.data.sources import expand, require_usable, source_rows
    from dlm_engine.data.token_cache import Limits, TokenCache
    from dlm_engine.store import token_cache_path

    spec = resolve("smollm2-135m", pinned_revision=None, home=home)
    weights = obtain_weights(spec, home, report=print)
    chat = Chat.of(weights, None)
    cache = TokenCache(token_cache_path(home))
    began, busy = time.perf_counter(), time.process_time()
    sources = expand(training, document, cache.files_under)
    require_usable(sources)
    rows = source_rows(sources)
    found = encode_rows(rows, chat, training.sequence_len, weights.sha256, cache)
    limits = Limits(training.cache.max_bytes, training.cache.prune_older_than_days)
    trouble = cache.keep(found.fresh, sources.fresh, found.used, sources.met, limits)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    if trouble:
        raise SystemExit(trouble)
    return seconds, busy, len(sources.fresh), len(found.fresh)


def main(arguments: Sequence[str]) -> int:
    count = int(arguments[0]) if arguments else COUNT
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notes").mkdir()
        make_tree(folder / "notes", count)
        # A file is trusted unread only if its last change is some seconds old when it is noted.
        time.sleep(2.5)
        training = Training.model_validate({"sources": [{"path": "notes"}]})
        missed = False
        for what, target in (("first", FIRST_SECONDS), ("unchanged", AGAIN_SECONDS)):
            seconds, busy, read, made = one_pass(folder / "d.dlm", training, folder / "home")
            missed |= seconds > target
            print(
                f"{what:10} {count} files: {seconds:6.2f} s (target {target:g} s), "
                f"{busy:.2f} s of processor time, {read} read, {made} tokenised",
                flush=True,
            )
        return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
