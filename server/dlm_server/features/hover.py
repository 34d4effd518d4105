"""Hover: what the thing under the cursor means, and what is known of it.

Answers come as markdown; `plain` takes the marks out for clients that show text only. A key
is explained from the schema with the value in effect, a section with what it is for training.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.document import Section, SectionType, Span
from dlm_server.features.adapters import occurrences
from dlm_server.features.base_docs import named_page, registry, written_base
from dlm_server.features.frontmatter_rows import rows
from dlm_server.features.schema_docs import KeyDoc, Shape, Step, key_doc, keys_in
from dlm_server.features.token_counts import Encoding, count

if TYPE_CHECKING:
    from tree_sitter import Node

    from dlm_engine.document import LiveDocument
    from dlm_server.views import SectionResult, TrainedView

_SHOWN = 400
_HOLDERS = (Shape.BLOCK, Shape.ENTRIES, Shape.ITEMS)
_FIELDS = {
    "question_header": "**Question**: what is asked. The text goes on to the next header.",
    "answer_header": "**Answer**: what the model learns to say, word for word.",
    "prompt_header": "**Prompt**: what is asked. `### Chosen` and `### Rejected` follow.",
    "chosen_header": "**Chosen**: the better answer to the prompt.",
    "rejected_header": "**Rejected**: the worse answer to the prompt.",
}
_PROBE = (
    "**!probe**: a question to keep an eye on. It is asked again after each training; "
    "it is trained like any other."
)
_MARKERS = {
    "harvest": "**Harvested**: a tool wrote this section down from what was found elsewhere.",
    "mined": "**Mined**: a judge chose these answers among the model's own.",
    "synth": "**Synthesised**: a model wrote this section from another one.",
}
_KINDS = {
    SectionType.PROSE: "plain text, learned as text",
    SectionType.INSTRUCTION: "questions and answers; what is asked is learned as an answer",
    SectionType.PREFERENCE: "prompts, each with a better and a worse answer; "
    "after the rest is learned, the better one is made likelier than the worse",
    SectionType.IMAGE: "an image; this version refuses to train it, as its bases read text only",
    SectionType.AUDIO: "a recording; this version refuses to train it, as its bases read text only",
}


@dataclass(frozen=True, slots=True)
class Hover:
    markdown: str
    span: Span


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about the document beside its text."""

    folder: Path | None = None
    trained: TrainedView | None = None
    #: the newest result of a section's question, by the section's id and the question's number
    result: Callable[[str, int], SectionResult | None] = lambda section, number: None
    encoding: Encoding | None = None


def hover(live: LiveDocument, offset: int, known: Known) -> Hover | None:
    """What to say about the place; None where there is nothing to say."""
    if live.in_frontmatter(offset):
        return _frontmatter(live, offset)
    return _body(live, offset, known)


def plain(markdown: str) -> str:
    """The same words without marks."""
    text = re.sub(r"\[([^\]]*)\]\(([^)\s]*)\)", r"\1 (\2)", markdown)
    return re.sub(r"\*\*|`", "", text)


# frontmatter


def _frontmatter(live: LiveDocument, offset: int) -> Hover | None:
    found = _key_at(live, offset)
    if found is None:
        return None
    path, span = found
    if path == ("base_model",):
        # The whole line is about the base, whichever word of it is pointed at.
        written = written_base(live)
        name = written[0] if written else ""
        doc = key_doc(path)
        words = doc.description if doc else ""
        return Hover(f"{named_page(name)}\n\n{words}" if name else words, span)
    if path[:2] == ("training", "adapters") and len(path) == 3:
        return Hover(_adapter(live, str(path[2])), span)
    doc = key_doc(path)
    if doc is None:
        return None
    name = ".".join(map(str, path))
    parts = [f"**{name}**: {_takes(doc)}", doc.description]
    effect = _in_effect(live, path, doc)
    if effect:
        parts.append(effect)
    return Hover("\n\n".join(p for p in parts if p), span)


def _key_at(live: LiveDocument, offset: int) -> tuple[tuple[Step, ...], Span] | None:
    """The entry whose key or value is here: its path and the place pointed at."""
    around = [
        (span.end - span.start, path, span, span == places.key)
        for path, places in live.keys.items()
        for span in (places.key, places.value)
        if span.start <= offset <= span.end and span.start < span.end
    ]
    for _, written, span, is_key in sorted(around):
        path = _steps(written)
        if isinstance(path[-1], int):
            # An item of a list is about the list, the entries of a list about themselves.
            path = path[:-1]
            doc = key_doc(path)
            if doc is not None and doc.shape is Shape.TEXTS:
                return path, span
            return None
        doc = key_doc(path)
        # Between the lines of a block, no one of its entries is meant.
        return (path, span) if is_key or doc is None or doc.shape not in _HOLDERS else None
    for row in rows(live):
        if row.key is not None and row.key.start <= offset <= row.key.end:
            return row.path, row.key
    return None


def _steps(path: str) -> tuple[Step, ...]:
    return tuple(int(step) if step.isdigit() else step for step in path.split("."))


def _takes(doc: KeyDoc) -> str:
    if doc.shape is Shape.BLOCK:
        return ", ".join(f"`{inner.name}`" for inner in keys_in(doc.path))
    if doc.required:
        return f"{doc.takes}, required"
    if doc.default in (None, "null"):
        return doc.takes
    planned = "; planned when left out" if doc.planned else ""
    return f"{doc.takes}; default `{doc.default}`{planned}"


def _in_effect(live: LiveDocument, path: tuple[Step, ...], doc: KeyDoc) -> str:
    """The value that counts, for settings with one."""
    if doc.shape not in (Shape.SCALAR, Shape.TEXTS) or path in (("dlm_id",), ("dlm_version",)):
        return ""
    frontmatter = live.frontmatter
    if frontmatter is None:
        return ""
    value: object = frontmatter
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, tuple):
            value = value[step] if isinstance(step, int) and step < len(value) else None
        else:
            value = getattr(value, str(step), None)
    if value == "auto" or (value is None and doc.path[-1] == "precision"):
        return "In effect: planned when training."
    from dlm_engine.document.yaml_text import scalar_text

    if value is None:
        return ""
    shown = list(value) if isinstance(value, tuple) else value
    assert isinstance(shown, str | int | float | list)
    spec = registry().get(frontmatter.base_model)
    if path == ("training", "sequence_len") and spec and spec.effective_context < int(str(shown)):
        return f"In effect: `{spec.effective_context}`, all that {spec.key} can look back."
    return f"In effect: `{scalar_text(shown)}`."


def _adapter(live: LiveDocument, name: str) -> str:
    uses = sum(o.name == name and not o.declaration for o in occurrences(live))
    sections = f"{uses} section{'' if uses == 1 else 's'} choose{'s' if uses == 1 else ''} it"
    words = key_doc(("training", "adapters"))
    return f"**Adapter {name}**: {sections} with `#{name}`.\n\n{words.description if words else ''}"


# body


def _body(live: LiveDocument, offset: int, known: Known) -> Hover | None:
    node: Node | None = live.node_at(offset)
    while node is not None and node.type not in ("section", "code_block"):
        span = live.span(node)
        if node.type == "probe":
            return Hover(_PROBE, span)
        if node.type in _FIELDS:
            return _header(live, node, span, known)
        if node.type == "attribute_value":
            return _media(live, node, span, known)
        if node.type == "provenance_marker":
            return _marker(live, node, span)
        if node.type == "fence":
            section = live.section_at(offset)
            return Hover(section_page(section, known), span) if section else None
        node = node.parent
    return _without_fence(live, offset, known)


def _without_fence(live: LiveDocument, offset: int, known: Known) -> Hover | None:
    """Of prose that no fence begins, its first line tells."""
    section = live.section_at(offset)
    if section is None or section.fence_span is not None or not section.content:
        return None
    start = live.text.index(section.content.split("\n", 1)[0], section.span.start)
    line = live.line_of(start)
    span = Span(start, live.line_start(line) + len(live.line_text(line)))
    if not span.start <= offset <= span.end:
        return None
    return Hover(section_page(section, known), span)


def section_page(section: Section, known: Known) -> str:
    """All there is to say about a section."""
    adapter = f", for the adapter `{section.adapter}`" if section.adapter else ""
    lines = [f"**{section.type}**{adapter}: {_KINDS[section.type]}.", ""]
    lines.append(f"- Id: `{section.id}`")
    tokens = count(_texts(section), known.encoding)
    rows = _rows(section)
    lines.append(f"- {'' if tokens.exact else 'About '}{_tokens(tokens.tokens)}{rows}")
    lines.append(f"- {_trained(section, known.trained)}")
    for kind in section.provenance:
        lines.append(f"- {_MARKERS[kind].replace('**', '')}")
    for number in range(len(section.pairs)):
        result = known.result(section.id, number)
        if result is not None:
            return "\n".join([*lines, "", *_result(result)])
    return "\n".join(lines)


def _texts(section: Section) -> list[str]:
    if section.pairs:
        return [text for pair in section.pairs for text in (pair.question, pair.answer)]
    if section.triples:
        return [text for t in section.triples for text in (t.prompt, t.chosen, t.rejected)]
    return [section.content, section.attributes.get("transcript", "")]


def _tokens(number: int) -> str:
    return f"{number} token{'' if number == 1 else 's'}"


def _rows(section: Section) -> str:
    pairs, triples = len(section.pairs), len(section.triples)
    if triples:
        return f", {triples} preference{'' if triples == 1 else 's'}"
    if not pairs:
        return ""
    probes = sum(pair.probe for pair in section.pairs)
    watched = f" ({probes} marked `!probe`)" if probes else ""
    return f", {pairs} question{'' if pairs == 1 else 's'}{watched}"


def _trained(section: Section, trained: TrainedView | None) -> str:
    if trained is None or trained.version is None:
        return "Not trained yet"
    if trained.state(section) != "trained":
        return f"New or changed since version {trained.version}"
    when = f", {trained.when:%Y-%m-%d %H:%M}" if trained.when else ""
    origin = trained.origin(section)
    now = f"{when}, loss {origin.loss:.3g}" if origin.loss is not None else when
    if origin.first == origin.current:
        return f"Trained in version {origin.current}{now}"
    return f"Trained in version {origin.first}; current is {origin.current}{now}"


def _result(result: SectionResult) -> list[str]:
    version = f" of version {result.model_version}" if result.model_version is not None else ""
    version += f" of {result.adapter}" if result.adapter is not None else ""
    state = {"stale": ", out of date since the section changed", "running": ", still running"}
    lines = [f"**Asked**: {_short(result.question)}", ""]
    if result.adapted is not None:
        note = state.get(result.state, "")
        lines.append(f"- Answer{version}{note}: {_short(result.adapted)}")
    if result.base is not None:
        lines.append(f"- Answer of the base: {_short(result.base)}")
    if result.state in ("passed", "failed", "changed"):
        lines.append(f"- Probe {result.state}")
    return lines


def _short(text: str) -> str:
    """One line, and nothing that markdown would take for its own."""
    line = " ".join(text.split())
    line = line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", line)


def _header(live: LiveDocument, node: Node, span: Span, known: Known) -> Hover:
    words = _FIELDS[node.type]
    section = live.section_at(span.start)
    for number, pair in enumerate(section.pairs if section else ()):
        for text, at in ((pair.question, pair.question_span), (pair.answer, pair.answer_span)):
            if at.start < span.end or live.text[span.end : at.start].strip():
                continue
            tokens = count([text], known.encoding)
            parts = [words, f"{'' if tokens.exact else 'About '}{_tokens(tokens.tokens)}"]
            result = known.result(section.id, number) if section else None
            if result is not None:
                parts.append("\n".join(_result(result)))
            return Hover("\n\n".join(parts), span)
    return Hover(words, span)


def _marker(live: LiveDocument, node: Node, span: Span) -> Hover | None:
    kind = node.child_by_field_name("kind")
    if kind is None:
        return None
    place = live.span(kind)
    words = _MARKERS.get(live.text[place.start : place.end])
    line = live.text[span.start : span.end].rstrip()
    if words is None:
        return None
    about = "The marker is not learned and is not part of the section's id."
    return Hover(f"{words}\n\n{about}", Span(span.start, span.start + len(line)))


def _media(live: LiveDocument, node: Node, span: Span, known: Known) -> Hover | None:
    attribute = node.parent
    name = attribute.child_by_field_name("name") if attribute is not None else None
    if attribute is None or name is None or attribute.parent is None:
        return None
    place = live.span(name)
    if live.text[place.start : place.end] != "path" or attribute.parent.type != "fence":
        return None
    value = live.text[span.start : span.end]
    if known.folder is None:
        return Hover(f"`{value}`, relative to the document", span)
    return Hover(_file(known.folder / value, value), span)


def _file(path: Path, written: str) -> str:
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        return f"`{written}`: there is no such file."
    if not path.is_file():
        return f"`{written}` is no file."
    words = f"`{written}`: {_bytes(size)}"
    if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"):
        return f"{words}\n\n![{path.name}]({path.resolve().as_uri()})"
    return words


def _bytes(size: int) -> str:
    if size < 1024:
        return f"{size} bytes"
    return f"{size / 1024:.1f} KiB" if size < 1024**2 else f"{size / 1024**2:.1f} MiB"
