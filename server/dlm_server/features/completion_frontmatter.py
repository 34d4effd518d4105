"""Keys and values of the frontmatter, offered from the schema.

A key that stands in its block already is never offered again, required ones come first, and
what a key inserts keeps the indent of the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from dlm_engine.document import CURRENT_VERSION, Span, TextEdit, new_id
from dlm_server.features.adapters import undeclared
from dlm_server.features.base_docs import HUB_PREFIX, base_line, base_page, registry
from dlm_server.features.completion_items import (
    MOST,
    Completion,
    Completions,
    Offer,
    Surroundings,
)
from dlm_server.features.completion_paths import path_completions
from dlm_server.features.frontmatter_place import KeyPlace, ValuePlace
from dlm_server.features.schema_docs import KeyDoc, Shape, key_doc, keys_in, summary

if TYPE_CHECKING:
    from dlm_engine.document import LiveDocument

_SPECIAL = re.compile(r"[:#,\[\]{}&*!|>%@`]|^[-?]")
_LOCAL = re.compile(r"~?\.{0,2}/|~$")


def complete_key(live: LiveDocument, place: KeyPlace) -> Completions:
    """Every key that may still be written here."""
    if place.holder == ("training", "adapters"):
        return _adapter_names(live, place)
    offered = [doc for doc in keys_in(place.holder) if doc.name not in place.present]
    return Completions(tuple(_key(doc, place, i) for i, doc in enumerate(offered)))


def _key(doc: KeyDoc, place: KeyPlace, order: int) -> Completion:
    plain, snippet = _key_text(doc, place)
    if place.lead and snippet and "\n" in snippet:
        # Editors indent the lines of a snippet as the line was, which is what has to change.
        snippet = None
    return Completion(
        label=doc.name,
        offer=Offer.KEY,
        edit=TextEdit(place.token, place.lead + plain),
        detail=summary(doc),
        documentation=doc.description,
        sort=f"{'0' if doc.required else '1'}{order:02}",
        snippet=place.lead + snippet if snippet else None,
    )


def _key_text(doc: KeyDoc, place: KeyPlace) -> tuple[str, str | None]:
    """The text of a key, and the snippet that also begins its value."""
    name = doc.name
    if place.has_colon:
        return name, None
    if place.flow:
        inner = {Shape.BLOCK: "{$0}", Shape.ENTRIES: "{$0}", Shape.ITEMS: "[{path: $0}]"}
        return f"{name}: ", f"{name}: {inner[doc.shape]}" if doc.shape in inner else None
    unit = place.unit
    match doc.shape:
        case Shape.BLOCK:
            return f"{name}:", f"{name}:\n{unit}$0"
        case Shape.ENTRIES:
            return f"{name}:", f"{name}:\n{unit}${{1:name}}:\n{unit}{unit}$0"
        case Shape.ITEMS:
            return f"{name}:", f"{name}:\n{unit}- path: $0"
        case Shape.TEXTS:
            return f"{name}: ", f"{name}: [$0]"
    if doc.path == ("system_prompt",):
        return f"{name}: ", f"{name}: |\n{unit}$0"
    if len(doc.choices) > 1:
        return f"{name}: ", f"{name}: ${{1|{','.join(_default_first(doc))}|}}"
    return f"{name}: ", None


def _default_first(doc: KeyDoc) -> list[str]:
    return sorted(doc.choices, key=lambda choice: choice != doc.default)


def _adapter_names(live: LiveDocument, place: KeyPlace) -> Completions:
    """Names that fences use and nothing declares."""
    names = [name for name in undeclared(live) if name not in place.present]
    after = "" if place.has_colon else ": {}" if place.flow else ":"
    return Completions(
        tuple(
            Completion(
                label=name,
                offer=Offer.ADAPTER,
                edit=TextEdit(place.token, f"{place.lead}{name}{after}"),
                detail="named by a fence",
                sort=f"{i:02}",
                snippet=None if after != ":" else f"{place.lead}{name}:\n{place.unit}$0",
            )
            for i, name in enumerate(names)
        )
    )


def complete_value(
    live: LiveDocument, place: ValuePlace, cursor: int, around: Surroundings
) -> Completions:
    """Every value that is known for this key."""
    path = place.path
    if path == ("base_model",):
        return _bases(live, place, cursor, around)
    if path[:2] == ("training", "sources") and path[3:] == ("path",):
        found = path_completions(around.folder, live.text, place.token, cursor, None)
        return found if place.quote else _plain_only(found)
    if path[-2:-1] == ("target_modules",):
        modules = [name for name in _modules(live) if name not in place.present]
        return Completions(tuple(_values(place, modules, "a linear layer of the base")))
    doc = key_doc(path)
    if doc is None:
        return Completions()
    if path == ("dlm_id",):
        return Completions(tuple(_values(place, [new_id()], "a new id for this document")))
    if path == ("dlm_version",):
        return Completions(tuple(_values(place, [str(CURRENT_VERSION)], "the current version")))
    return Completions(tuple(_of_schema(doc, place)))


def _of_schema(doc: KeyDoc, place: ValuePlace) -> Iterator[Completion]:
    words = [c for c in doc.choices if not (place.quote and c in ("true", "false", "null"))]
    if doc.shape is Shape.SCALAR and doc.default not in (None, "null", *doc.choices):
        words = [str(doc.default), *words]
    for i, word in enumerate(words):
        planned = "; left out means planned" if doc.planned else ""
        yield Completion(
            label=word,
            offer=Offer.VALUE,
            edit=TextEdit(place.token, place.lead + word),
            detail=f"default{planned}" if word == doc.default else "",
            documentation=doc.description,
            sort=f"{i:02}",
        )


def _values(place: ValuePlace, words: Iterable[str], detail: str) -> Iterator[Completion]:
    for i, word in enumerate(words):
        edit = TextEdit(place.token, place.lead + word)
        yield Completion(word, Offer.VALUE, edit, detail=detail, sort=f"{i:02}")


def _modules(live: LiveDocument) -> tuple[str, ...]:
    frontmatter = live.frontmatter
    spec = registry().get(frontmatter.base_model) if frontmatter else None
    return spec.target_modules if spec else ()


def _bases(live: LiveDocument, place: ValuePlace, cursor: int, around: Surroundings) -> Completions:
    typed = live.text[place.token.start : cursor]
    if _LOCAL.match(typed):
        found = path_completions(around.folder, live.text, place.token, cursor, ())
        return found if place.quote else _plain_only(found)
    known = registry()
    items: list[Completion] = []
    if typed.startswith(HUB_PREFIX[: len(typed)]) and typed:
        hub = dict.fromkeys(str(spec.hf_id) for spec in known.values())
        for name in hub:
            items.append(_base(place, f"{HUB_PREFIX}{name}", "a model of the hub", "", "2"))
    for i, spec in enumerate(sorted(known.values(), key=lambda s: (s.params, s.key))):
        items.append(_base(place, spec.key, base_line(spec), base_page(spec), f"0{i:02}"))
    about = "Any model of the hub that this version can train, as `hf:org/name`."
    items.append(_base(place, HUB_PREFIX, "a model of the hub", about, "1"))
    return Completions(tuple(items[:MOST]), len(items) <= MOST)


def _plain_only(found: Completions) -> Completions:
    """Without names that YAML would read as something else unless they are quoted."""
    items = tuple(item for item in found.items if not _SPECIAL.search(item.label))
    return Completions(items, found.complete)


def _base(place: ValuePlace, name: str, detail: str, page: str, sort: str) -> Completion:
    edit = TextEdit(place.token, place.lead + name)
    return Completion(name, Offer.BASE, edit, detail, page, sort)


# An empty file


def complete_opening(live: LiveDocument, offset: int) -> Completions:
    """The whole frontmatter, on the first line of a file that has none."""
    if live.frontmatter_span is not None or live.line_of(offset) != 0:
        return Completions()
    line = live.line_text(0)
    bom = len(line) - len(line.lstrip("\ufeff"))
    if line[bom:].strip(" -") or len(live.text.strip("\ufeff -\r\n")) > 0:
        return Completions()
    head = f"---\ndlm_id: {new_id()}\ndlm_version: {CURRENT_VERSION}\nbase_model: "
    base = next(iter(sorted(registry().values(), key=lambda s: s.params))).key
    token = Span(live.line_start(0) + bom, live.line_start(0) + len(line))
    item = Completion(
        label="---",
        offer=Offer.FENCE,
        edit=TextEdit(token, f"{head}{base}\n---\n"),
        detail="the settings of a new document",
        snippet=f"{head}${{1:{base}}}\n---\n$0",
    )
    return Completions((item,))
