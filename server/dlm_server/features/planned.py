"""What training chooses where the author wrote nothing: one hint, with a line for each choice.

The arithmetic is the engine's own. What takes the machine is told as it was at the last
training, and left out before the first one; what takes the base's sizes is left out while
those are not at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from dlm_engine.document import LiveDocument, Span
from dlm_engine.training.planning import plan_adapter, plan_rate
from dlm_server.features.hints import Hint, HintKind


@dataclass(frozen=True, slots=True)
class Known:
    """`rows`: how many the document trains. `hidden`: the width of its base. `precision`: that of
    the last training here. `bound`: in words, what a training after a save takes at most."""

    rows: int
    hidden: int | None
    precision: str | None
    bound: str


def planned_hint(live: LiveDocument, known: Known) -> Hint | None:
    """Beside `training:`, or beside `base_model` where there is none; None if all is written."""
    frontmatter, offset = live.frontmatter, place(live)
    if frontmatter is None or offset is None or not known.rows:
        return None
    training = frontmatter.training
    adapter = plan_adapter(training, known.rows)
    lines = [f"{c.name} {c.value}: {c.reason}" for c in adapter.choices]
    short = []
    if "lora_r" not in training.model_fields_set:
        short.append(f"rank {adapter.rank}")
    if known.hidden is not None:
        rate, choice = plan_rate(training, known.hidden)
        if choice is not None:
            lines.append(f"{choice.name} {choice.value}: {choice.reason}")
            short.append(f"rate {rate:g}")
    if training.precision is None and known.precision is not None:
        lines.append(f"precision {known.precision}: as in the last training here")
        short.append(known.precision)
    if "num_epochs" not in training.model_fields_set:
        lines.append(f"steps until every answer is known; {known.bound}")
        short.append("until learned")
    if not short:
        return None
    return Hint(offset, f"→ {', '.join(short)}", "\n".join(lines), HintKind.SETTING)


def place(live: LiveDocument) -> int | None:
    """Where the hint stands: at the end of a line."""
    key = live.keys.get("training") or live.keys.get("base_model")
    if key is None:
        return None
    line = live.line_of(key.key.start)
    return live.line_start(line) + len(live.line_text(line).rstrip())


def within(live: LiveDocument, span: Span) -> bool:
    """Whether the hint's place is in `span`; costs nothing, unlike the hint."""
    offset = place(live)
    return offset is not None and span.start <= offset <= span.end
