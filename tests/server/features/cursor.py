"""Documents with the cursor or a selection written into them.

`‸` is the cursor; `⟦…⟧` a selection or an expected place. `HEAD` and `document` save each
test from repeating the frontmatter.
"""

from __future__ import annotations

import re

from dlm_engine.document import LiveDocument, Span

HEAD = """\
---
dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7
dlm_version: 15
base_model: smollm2-135m
---
"""


def declared(*names: str) -> str:
    """A frontmatter that declares these adapters."""
    lines = "".join(f"    {name}:\n      lora_r: 8\n" for name in names)
    return HEAD.removesuffix("---\n") + f"training:\n  adapters:\n{lines}---\n"


def at_cursor(marked: str) -> tuple[LiveDocument, int]:
    """The document without its one `‸`, and where that stood."""
    assert marked.count("‸") == 1, marked
    return LiveDocument.open(marked.replace("‸", "")), marked.index("‸")


def selected(marked: str) -> tuple[LiveDocument, Span]:
    """The document without `⟦⟧`, and the place between them."""
    live, spans = places(marked)
    assert len(spans) == 1, marked
    return live, spans[0]


def places(marked: str) -> tuple[LiveDocument, list[Span]]:
    """The document without its marks, and every marked place."""
    spans: list[Span] = []
    parts: list[str] = []
    at = length = 0
    for match in re.finditer(r"⟦([^⟧]*)⟧", marked):
        parts += (marked[at : match.start()], match[1])
        length += match.start() - at
        spans.append(Span(length, length + len(match[1])))
        length, at = length + len(match[1]), match.end()
    return LiveDocument.open("".join(parts) + marked[at:]), spans
