"""Selected prose as a section of one question and its answer.

What a reader of a book picks up, a model of this size does not; the same words as an answer
are learned word for word. The prose around the selection stays prose, with its adapter, and
every line that an answer could not hold as text is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlm_engine.document import SectionType, Span, TextEdit, instruction_text
from dlm_engine.errors import DocumentError
from dlm_server.features.body_place import code_block_at
from dlm_server.features.edit_pieces import edited
from dlm_server.features.stubs import QUESTION

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument, Section


def to_instruction(live: LiveDocument, selection: Span) -> TextEdit | None:
    """The edit, or None where the selection is not some text of one prose section."""
    if not live.text[selection.start : selection.end].strip():
        return None
    section = live.section_at(selection.start)
    if section is None or section.type is not SectionType.PROSE:
        return None
    content = _content(live, section)
    start = live.line_start(live.line_of(selection.start))
    end = _line_end(live, selection.end)
    if start < content.start or end > content.end:
        return None
    for line in (start, live.line_start(live.line_of(max(start, end - 1)))):
        block = code_block_at(live, line)
        if block is not None and not (start <= block.start and block.end <= end):
            return None
    return _edit(live, section, content, Span(start, end))


def _content(live: LiveDocument, section: Section) -> Span:
    """The section's text, below its fence."""
    if section.fence_span is None:
        return section.span
    line = live.line_of(section.fence_span.end)
    start = live.line_start(line + 1) if line + 1 < live.line_count else section.span.end
    return Span(min(start, section.span.end), section.span.end)


def _line_end(live: LiveDocument, offset: int) -> int:
    """The end of the line, its line end included; a line of which nothing is selected stays."""
    line = live.line_of(offset)
    if offset == live.line_start(line):
        return offset
    return live.line_start(line + 1) if line + 1 < live.line_count else len(live.text)


def _edit(live: LiveDocument, section: Section, content: Span, lines: Span) -> TextEdit | None:
    from dlm_engine.document.text import line_end_of

    text = live.text
    try:
        made = instruction_text(
            [(QUESTION, text[lines.start : lines.end].strip())], section.adapter
        )
    except DocumentError:
        return None
    before = text[content.start : lines.start]
    after = text[lines.end : content.end]
    start, end = lines
    parts = [made.strip("\n")]
    if not before.strip() and section.fence_span is not None:
        # Nothing is left for the old fence to hold.
        start = section.fence_span.start
    elif before and not before.endswith(("\n\n", "\r\n\r\n", "\r\r")):
        parts.insert(0, "")
    if after.strip():
        adapter = f"#{section.adapter}" if section.adapter else ""
        parts += ["", f"::prose{adapter}::"]
        end = lines.end + len(after) - len(after.lstrip("\r\n"))
    elif content.end < len(text):
        parts.append("")
        end = content.end
    else:
        end = content.end
    new = "\n".join([*parts, ""]).replace("\n", line_end_of(text))
    edit = TextEdit(Span(start, end), new)
    return edit if _holds(live, edit, section) else None


def _holds(live: LiveDocument, edit: TextEdit, section: Section) -> bool:
    """Whether one section more or less apart, every other section is what it was."""
    old_ids = [s.id for s in live.document.sections]
    ids = [s.id for s in edited(live, [edit]).document.sections]
    at = next(i for i, s in enumerate(live.document.sections) if s.span == section.span)
    tail = len(old_ids) - at - 1
    return ids[:at] == old_ids[:at] and (not tail or ids[-tail:] == old_ids[-tail:])
