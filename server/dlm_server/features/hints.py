"""Short facts written beside the text: what a setting resolves to, tokens, answers.

Only what is known without the engine is told: what training will choose from the rows or
the machine is not guessed here. Everything is one short line; the rest is a tooltip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from dlm_engine.document import LiveDocument, Section, SectionType, Span
from dlm_server.features.token_counts import Encoding, count

MAX_ANSWER = 40


class HintKind(Enum):
    SETTING = "setting"
    TOKENS = "tokens"
    ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Hint:
    """`offset` is where it stands; it is set off from the text before it by a blank."""

    offset: int
    label: str
    tooltip: str
    kind: HintKind


class Base(Protocol):
    """What the hints want to know about a base."""

    @property
    def hf_id(self) -> str | None: ...
    @property
    def params(self) -> int: ...
    @property
    def target_modules(self) -> tuple[str, ...]: ...
    @property
    def effective_context(self) -> int: ...


class Answer(Protocol):
    """What the hints want to know about an inline result."""

    @property
    def state(self) -> str: ...
    @property
    def adapted(self) -> str | None: ...


def setting_hints(live: LiveDocument, base: Base | None, within: Span) -> tuple[Hint, ...]:
    """What `base_model`, `auto` and a sequence that is too long resolve to."""
    if base is None:
        return ()
    made: list[Hint] = []

    def beside(path: str, label: str, tooltip: str) -> None:
        place = live.keys.get(path)
        if place is not None and within.start <= place.value.end <= within.end:
            made.append(Hint(place.value.end, label, tooltip, HintKind.SETTING))

    if base.hf_id is not None:
        size = f"{base.params / 1e9:.3g}B parameters"
        beside("base_model", f"→ {base.hf_id}", f"{size}, context of {base.effective_context}")
    modules = " ".join(base.target_modules)
    for path, place in live.keys.items():
        is_modules = path.startswith("training.") and path.endswith(".target_modules")
        if is_modules and live.text[place.value.start : place.value.end] == "auto":
            shown = f"→ all {len(base.target_modules)} linear layers"
            beside(path, shown, modules)
    frontmatter = live.frontmatter
    if frontmatter is not None and frontmatter.training.sequence_len > base.effective_context:
        limit = base.effective_context
        beside("training.sequence_len", f"→ {limit}", f"The base looks back at most {limit} tokens")
    return tuple(made)


def token_hints(live: LiveDocument, encoding: Encoding | None, within: Span) -> tuple[Hint, ...]:
    """How much of each section is learned, at the end of its first line."""
    made: list[Hint] = []
    for section in live.sections_in(within.start, within.end):
        texts = tuple(learned_texts(section))
        place = _first_line_end(live, section)
        if not texts or not within.start <= place <= within.end:
            continue
        counted = count(texts, encoding)
        tooltip = "What is learned of this section, without the chat template"
        if not counted.exact:
            tooltip += "; a guess, as the base's tokenizer is not at hand"
        made.append(Hint(place, str(counted), tooltip, HintKind.TOKENS))
    return tuple(made)


def learned_texts(section: Section) -> Iterator[str]:
    """The texts of a section that become tokens."""
    if section.type is SectionType.INSTRUCTION:
        for pair in section.pairs:
            yield pair.question
            yield pair.answer
    elif section.type is SectionType.PREFERENCE:
        for triple in section.triples:
            yield triple.prompt
            yield triple.chosen
            yield triple.rejected
    elif section.type is SectionType.PROSE:
        yield section.content


def answer_hints(
    live: LiveDocument,
    result: Callable[[str, int], Answer | None],
    within: Span,
    most_lines: int,
) -> tuple[Hint, ...]:
    """The model's newest answers, for editors that cannot draw them: at the question's end.

    `result` gives the answer by a section's id and the number of its question; its tooltip
    has at most `most_lines` lines of it.
    """
    made: list[Hint] = []
    for section in live.sections_in(within.start, within.end):
        for number, pair in enumerate(section.pairs):
            offset = pair.question_span.end
            found = result(section.id, number) if within.start <= offset <= within.end else None
            if found is None or not found.adapted:
                continue
            mark = "" if found.state in ("ok", "running") else f" · {found.state}"
            label = f"⇒ {shortened(found.adapted, MAX_ANSWER)}{mark}"
            tooltip = first_lines(found.adapted, most_lines)
            made.append(Hint(offset, label, tooltip, HintKind.ANSWER))
    return tuple(made)


def first_lines(text: str, most: int) -> str:
    """The first `most` lines, and a mark where there are more."""
    lines = text.splitlines()
    return text if len(lines) <= most else "\n".join([*lines[:most], "…"])


def shortened(text: str, limit: int) -> str:
    """One line of at most `limit` characters."""
    words = " ".join(text[: limit * 8].split())
    return words if len(words) <= limit else f"{words[: limit - 1].rstrip()}…"


def _first_line_end(live: LiveDocument, section: Section) -> int:
    start = section.span.start
    if section.fence_span is None:
        raw = live.text[start : section.span.end]
        start += len(raw) - len(raw.lstrip())
    line = live.line_of(start)
    return live.line_start(line) + len(live.line_text(line).rstrip())
