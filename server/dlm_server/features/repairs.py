"""Fixes of problems that the engine proposes none for: what can be left out, or raised, or begun.

Each is the smallest edit that removes its problem and nothing that is learned: a value that is not
honoured goes and its default holds, a section goes only where no training can take it or nothing is
in it, and what only the author can know (which of two answers is right) has no fix. The invariant:
in the document that an edit leads to, its problem is one less, and of no other there is one more.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from dlm_engine.document import Diagnostic, Section, SectionType, Span, TextEdit, new_id, set_key
from dlm_engine.errors import DocumentError
from dlm_server.features.edit_pieces import edited

if TYPE_CHECKING:
    from tree_sitter import Node

    from dlm_engine.document import LiveDocument

Repair = tuple[str, tuple[TextEdit, ...]]

#: a base that every machine can train, for a document that names none
FIRST_BASE: Final = "smollm2-135m"
_STUBS: Final = {
    "### Q": "Write the question here.",
    "### A": "Write the answer here.",
    "### Prompt": "Write what is asked here.",
    "### Chosen": "Write the better answer here.",
    "### Rejected": "Write the worse answer here.",
}
_ATTRIBUTE: Final = re.compile(r'[ \t]*[\w-]+[ \t]*=[ \t]*"[^"\r\n]*"')
#: what is set in the place of a refused value, where the line cannot just go
_INSTEAD: Final[dict[str, str | float]] = {"beta": 0.1, "adapter": "lora", "target_modules": "auto"}
_STEP: Final = 256


def repairs(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    """(title, edits) of what may be done about a problem."""
    for title, edits in _proposed(live, problem):
        before, after = _counted(live), _counted(edited(live, edits))
        # One that only the files beside the document show is not counted.
        less = after[problem.code] < before[problem.code] or not before[problem.code]
        if less and all(after[code] <= before[code] for code in after):
            yield title, edits


def _counted(live: LiveDocument) -> Counter[str]:
    from dlm_engine.checks import check_surroundings

    return Counter(p.code for p in (*live.diagnostics, *check_surroundings(live, None)))


def _proposed(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    match problem.code:
        case "frontmatter-missing":
            yield _frontmatter(live)
        case "key-unknown" | "value-range" | "value-choice" | "value-type" | "value-conflict":
            if problem.fix is None:
                yield from _leave_out(live, problem)
        case "setting-refused":
            yield from _refused(live, problem)
        case "source-missing" | "source-denied":
            path = _path(live, problem.span).removesuffix(".path")
            yield from _without(live, path, "Remove this source")
        case "section-long":
            yield from _raise_length(live, problem)
        case "section-refused" | "section-empty":
            yield from _without_section(live, problem.span.start)
        case "section-text-unused":
            at = problem.span.start
            yield "Put it in a section of prose", (_line(live, at, "::prose::"),)
        case "header-outside-section":
            yield from _begin_instruction(live, problem)
        case "question-empty" | "answer-empty" | "preference-empty":
            yield from _stub(live, problem)
        case "question-duplicate":
            yield from _without_pair(live, problem.span.start)
        case "marker-misplaced" | "marker-malformed":
            yield "Remove the marker", (TextEdit(_whole_lines(live, problem.span), ""),)
        case "attribute-duplicate" | "attribute-unknown":
            yield from _without_attribute(live, problem.span.start)
        case "attribute-missing" if "needs `transcript`" in problem.message:
            at = problem.span.end - 2
            words = TextEdit(Span(at, at), ' transcript="Write what is said here."')
            yield "Add transcript", (words,)


# the frontmatter


def _frontmatter(live: LiveDocument) -> Repair:
    from dlm_engine.document import CURRENT_VERSION
    from dlm_engine.document.text import line_end_of

    start = 1 if live.text.startswith("\ufeff") else 0
    keys = f"dlm_id: {new_id()}\ndlm_version: {CURRENT_VERSION}\nbase_model: {FIRST_BASE}"
    head = f"---\n{keys}\n---\n\n".replace("\n", line_end_of(live.text))
    return f"Add a frontmatter for {FIRST_BASE}", (TextEdit(Span(start, start), head),)


def _path(live: LiveDocument, span: Span) -> str:
    """The longest path of a frontmatter entry with this place; empty where there is none."""
    found = [path for path, entry in live.keys.items() if span in (entry.key, entry.value)]
    return max(found, key=len, default="")


def _leave_out(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    path = _path(live, problem.span)
    if "." not in path and problem.code != "key-unknown":
        # What stands on top has to be there.
        return
    name = path.rpartition(".")[2]
    if problem.code == "key-unknown":
        yield from _without(live, path, f"Remove {name}")
    elif not name.isdigit() and not any(key.startswith(f"{path}.") for key in live.keys):
        yield from _without(live, path, f"Remove {name}: its default holds")


def _refused(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    path = _path(live, problem.span)
    *above, name = path.split(".")
    if name.isdigit() and above:
        # One of a list that does not fit the base.
        path, name = ".".join(above), above[-1]
    if name in _INSTEAD and path != "training.adapter":
        value = _INSTEAD[name]
        try:
            new = set_key(live.text, path, value)
        except DocumentError:
            return
        yield f"Set {name} to {value}", (_difference(live.text, new),)
    elif live.keys[path].value == problem.span:
        yield from _without(live, path, f"Remove {name}: its default holds")


def _without(live: LiveDocument, path: str, title: str) -> Iterator[Repair]:
    """`title` for the lines of one entry of the frontmatter being gone, where they are its own."""
    entry = live.keys.get(path)
    if entry is None:
        return
    above = path.rpartition(".")[0]
    named = above.startswith("training.adapters")
    if above and not named and not any(_beside(key, path, above) for key in live.keys):
        # Alone it would leave a name with nothing under it.
        yield from _without(live, above, title)
        return
    start, end = _whole_lines(live, Span(entry.key.start, max(entry.key.end, entry.value.end)))
    before = live.text[start : entry.key.start].strip()
    if before == "-" and path.rpartition(".")[2].isdigit():
        # The place of an item of a list is its value's alone.
        before = ""
    after = live.text[max(entry.key.end, entry.value.end) : end].strip()
    if before or after.removeprefix(":").strip()[:1] not in ("", "#"):
        return
    edits = (TextEdit(Span(start, end), ""),)
    gone = sum(key == path or key.startswith(f"{path}.") for key in live.keys)
    new = edited(live, edits)
    if len(new.keys) == len(live.keys) - gone:
        yield title, edits


def _beside(key: str, path: str, above: str) -> bool:
    """Whether `key` is another entry right under `above`, or under another one there."""
    inside = key.startswith(f"{above}.") and key != path
    return inside and not key.startswith(f"{path}.")


def _raise_length(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    from dlm_engine.bases.registry import REGISTRY
    from dlm_engine.checks import about_tokens

    front, section = live.frontmatter, live.section_at(problem.span.start)
    base = REGISTRY.get(front.base_model) if front is not None else None
    if base is None or section is None:
        # How much another base can take is not known here.
        return
    texts = [section.content]
    if section.type is not SectionType.PROSE:
        here = [p for p in section.pairs if p.question_span == problem.span]
        texts = [f"{pair.question}\n{pair.answer}" for pair in here]
    # Tokens are guessed from the length, so some room is left.
    tokens = max(map(about_tokens, texts), default=0)
    length = -(-tokens * 11 // 10 // _STEP) * _STEP
    if tokens < length <= base.effective_context:
        try:
            new = set_key(live.text, "training.sequence_len", length)
        except DocumentError:
            return
        edits = (_difference(live.text, new),)
        yield f"Raise training.sequence_len to {length}", edits


def _difference(old: str, new: str) -> TextEdit:
    from dlm_server.engine.directives import smallest_edit

    return smallest_edit(old, new) or TextEdit(Span(0, 0), "")


# the body


def _whole_lines(live: LiveDocument, span: Span) -> Span:
    """The lines that a place touches, with their ends."""
    last = live.line_of(max(span.start, span.end - 1))
    end = live.line_start(last + 1) if last + 1 < live.line_count else len(live.text)
    return Span(live.line_start(live.line_of(span.start)), end)


def _line(live: LiveDocument, at: int, line: str) -> TextEdit:
    """A line of its own above the one that `at` is in."""
    from dlm_engine.document.text import line_end_of

    start = live.line_start(live.line_of(at))
    return TextEdit(Span(start, start), line + line_end_of(live.text))


def _without_section(live: LiveDocument, at: int) -> Iterator[Repair]:
    index = live.chunks.at(at)
    starts = (*live.chunks.characters, len(live.text))
    edits = (TextEdit(Span(starts[index], starts[index + 1]), ""),)
    others = [s for n in range(len(live.chunks.items)) if n != index and (s := live.section_of(n))]
    if [s.id for s in edited(live, edits).document.sections] == [s.id for s in others]:
        yield "Remove this section", edits


def _begin_instruction(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    section = live.section_at(problem.span.start)
    if live.text[problem.span.start : problem.span.end].startswith("### Q") and section is not None:
        suffix = f"#{section.adapter}" if section.adapter else ""
        fence = f"::instruction{suffix}::"
        yield f"Begin a section here: {fence}", (_line(live, problem.span.start, fence),)


def _stub(live: LiveDocument, problem: Diagnostic) -> Iterator[Repair]:
    from dlm_engine.document.text import line_end_of

    written = live.text[problem.span.start : problem.span.end]
    header = written.removesuffix("!probe").strip()
    if header in _STUBS:
        end = problem.span.start + len(written.rstrip())
        stub = TextEdit(Span(end, end), line_end_of(live.text) + _STUBS[header])
        yield "Write words to replace", (stub,)


def _without_pair(live: LiveDocument, at: int) -> Iterator[Repair]:
    section: Section | None = live.section_at(at)
    question: Node | None = live.node_at(at)
    while question is not None and question.type != "question":
        question = question.parent
    answer = question.next_named_sibling if question is not None else None
    if section is None or question is None or answer is None or answer.type != "answer":
        return
    if len(section.pairs) == 1 and section.fence_span is not None:
        yield from _without_section(live, at)
        return
    span = Span(live.span(question).start, live.span(answer).end)
    yield "Remove this repeated question", (TextEdit(span, ""),)


def _without_attribute(live: LiveDocument, at: int) -> Iterator[Repair]:
    blanks = len(live.text[:at]) - len(live.text[:at].rstrip(" \t"))
    found = _ATTRIBUTE.match(live.text, at - blanks)
    if found is not None:
        yield "Remove this attribute", (TextEdit(Span(*found.span()), ""),)
