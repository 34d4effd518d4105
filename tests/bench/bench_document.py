"""What a keystroke costs a document against reading it afresh, from 10 KB to 1 MB.

Run: `python -m tests.bench document`. Prints, for each document, the time of a fresh
parse and the median of one-character edits, diagnostics included, in the frontmatter, in
the body and at the end, their ratio, and what a burst of edits takes; then the same for a
document that is one section. Times are processor time, so that a busy machine disturbs them
less. Targets, on an otherwise idle core: an edit 0.7 ms or less at 10 KB and 6 ms or less at
1 MB (30 ms where that is one section), a burst 200 ms at most, a fresh parse of 1 MB 300 ms
or less.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from statistics import median

from dlm_engine.document import LiveDocument

SIZES = (10_000, 1_048_576)
BURST = 50
HEAD = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 15
base_model: smollm2-135m # {mark}
training:
  adapter: lora
  lora_r: 8
  num_epochs: 3
---
# Generated corpus

The first paragraph.

"""


@dataclass(frozen=True)
class Timing:
    """Milliseconds; `edits` by where they are."""

    fresh: float
    edits: dict[str, float]
    burst: float

    @property
    def ratio(self) -> float:
        return self.fresh / max(self.edits.values())


def section(number: int) -> str:
    if number % 10 == 9:
        return (
            f"::preference::\n### Prompt\nExplain item {number} briefly.\n\n### Chosen\n"
            f"Item {number} is short and clear.\n\n### Rejected\nItem {number} goes on for far "
            "too long without ever reaching a point.\n\n"
        )
    answer = (
        f"It is the {number}th entry of a generated corpus. It matters because many sections of "
        "a believable length have to be read again when one of them is edited."
    )
    if number % 10 == 4:
        answer = f"```python\ndef item_{number}(x: int) -> int:\n    return x + {number}\n```"
    question = f"What does section number {number} describe, and why does it matter?"
    return f"::instruction::\n### Q\n{question}\n\n### A\n{answer}\n\n"


def one_section(text: str) -> str:
    """The same questions and answers under one fence."""
    first, *rest = text.split("::instruction::\n")
    asked = (part.partition("::preference::")[0] for part in rest)
    return "".join([first, "::instruction::\n", *asked])


def document(size: int, mark: str) -> str:
    """About `size` characters with the `mark` in every tenth section."""
    parts = [HEAD.format(mark=mark)]
    length = len(parts[0])
    while length < size:
        number = len(parts) - 1
        parts.append(section(number))
        if number % 10 == 0:
            parts[-1] = parts[-1].replace("entry", f"entry {mark}")
        length += len(parts[-1])
    return "".join(parts)


def places(text: str) -> dict[str, int]:
    middle = text.index("### Q\n", len(text) // 2) + len("### Q\nWhat")
    return {"frontmatter": text.index("smollm2"), "body": middle, "end": len(text)}


def milliseconds(since: int) -> float:
    return (time.process_time_ns() - since) / 1e6


def fresh_milliseconds(text: str) -> float:
    start = time.process_time_ns()
    live = LiveDocument.open(text)
    assert live.document.sections
    assert not live.diagnostics
    return milliseconds(start)


def edit_milliseconds(live: LiveDocument, at: int, number: int) -> Iterator[float]:
    """One character after the other, each with the diagnostics after it."""
    for n in range(number):
        start = time.process_time_ns()
        live = live.edit([(at + n, at + n, "x")])
        assert not live.diagnostics
        yield milliseconds(start)


def burst_milliseconds(live: LiveDocument, at: int) -> float:
    """Edits with no pause between them, and the diagnostics after the last."""
    start = time.process_time_ns()
    for n in range(BURST):
        live = live.edit([(at + n, at + n, "x")])
    assert not live.diagnostics
    return milliseconds(start)


def measure(text: str, number: int = 41) -> Timing:
    fresh = min(fresh_milliseconds(text) for _ in range(5))
    live = LiveDocument.open(text)
    where = places(text)
    edits = {name: median(edit_milliseconds(live, at, number)) for name, at in where.items()}
    return Timing(fresh, edits, burst_milliseconds(live, where["body"]))


def main() -> int:
    names = ("frontmatter", "body", "end")
    print(f"{'document':30} {'fresh ms':>9}", *(f"{name:>12}" for name in names), end="")
    print(f" {'ratio':>6} {'burst':>7}")
    for size, kind, mark in product(SIZES, ("", "one section, "), ("x", "é😀")):
        text = document(size, mark)
        if kind:
            text = one_section(text)
        timing = measure(text)
        name = f"{len(text):,} {kind}{'ascii' if text.isascii() else 'unicode'}"
        print(f"{name:30} {timing.fresh:9.1f}", end=" ")
        print(*(f"{timing.edits[name]:12.2f}" for name in names), end="")
        print(f" {timing.ratio:6.0f} {timing.burst:7.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
