"""What Enter adds for the writer: the first header under a fence that has nothing yet.

After Enter at the end of `::instruction::` the line `### Q` is written above the cursor,
after `::preference::` the line `### Prompt`. Nothing else: not in code blocks or the
frontmatter, not under a fence that already has text, and nothing while a fence is being
typed, for a wrong guess in the text that a model learns costs more than eight keystrokes.
"""

from __future__ import annotations

from dlm_engine.document import LiveDocument, Span, TextEdit

_FIRST_HEADER = {"instruction": "### Q", "preference": "### Prompt"}
#: what it is asked after
TRIGGER = "\n"


def on_enter(live: LiveDocument, offset: int) -> tuple[TextEdit, ...]:
    """The edit after a line end was typed just before `offset`; usually none."""
    line = live.line_of(offset)
    if line == 0 or live.line_text(line).strip():
        return ()
    above = live.line_start(line - 1)
    fence = live.node_at(above)
    while fence.parent is not None and fence.type != "fence":
        fence = fence.parent
    kind, section = fence.child_by_field_name("type"), fence.parent
    if kind is None or section is None or live.span(fence).start != above:
        return ()
    place = live.span(kind)
    header = _FIRST_HEADER.get(live.text[place.start : place.end].lower())
    start = live.line_start(line)
    if header is None or live.text[start : live.span(section).end].strip():
        return ()
    ending = live.text[above + len(live.line_text(line - 1)) : start]
    return (TextEdit(Span(start, start), header + ending),)
