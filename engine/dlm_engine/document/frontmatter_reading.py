"""From the YAML tree to a `Frontmatter`, with a place for every complaint.

The schema says what is wrong, the tree says where, this module brings them together.
A wrong value is reported and taken out, and the rest is validated again, so that all
problems come at once and everything sound is still read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dlm_engine.document.codes import closest, report
from dlm_engine.document.frontmatter import (
    ADAPTER_NAME,
    CURRENT_VERSION,
    Adapter,
    Export,
    Frontmatter,
    Source,
    Training,
)
from dlm_engine.document.migrations import migrate_tree
from dlm_engine.document.model import Diagnostic, Fix, KeySpan, Span, TextEdit
from dlm_engine.document.yaml_text import is_plain, scalar_text
from dlm_engine.document.yaml_tree import Entry, Scalar, Sequence, Tree, plain, walk
from dlm_engine.document.yaml_tree import Mapping as TreeMapping

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    frontmatter: Frontmatter | None
    #: what `training` says, also when `frontmatter` is None
    training: Training
    #: the version in the file: 1 when missing, None when it is no integer
    version: int | None
    keys: Mapping[str, KeySpan]
    problems: list[Diagnostic]


def read_frontmatter(tree: TreeMapping, text: str, head: Span) -> Reading:
    """Validate the frontmatter.

    Args:
        tree: as read from the file, in the version of the file.
        text: the whole document, for the words of messages.
        head: the opening `---`, where complaints about missing keys are placed.
    """
    keys = {".".join(map(str, path)): KeySpan(key, value.span) for path, key, value in walk(tree)}
    version, problems = _version(tree)
    if version is not None and version > CURRENT_VERSION:
        # What a newer version means by its keys is unknown, so nothing else is judged.
        frontmatter, training, _ = _validate(tree, text, head)
        return Reading(frontmatter, training, version, keys, problems)
    migrated = migrate_tree(tree, version or CURRENT_VERSION)
    frontmatter, training, found = _validate(migrated, text, head)
    return Reading(frontmatter, training, version, keys, problems + found)


def _version(tree: TreeMapping) -> tuple[int | None, list[Diagnostic]]:
    entry = tree.get("dlm_version")
    if entry is None:
        return 1, []
    value = plain(entry.value)
    span = entry.value.span
    if isinstance(value, bool) or not isinstance(value, int):
        fix = None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 3:
            fix = _replace(span, value, f"Write {value} without quotes")
        return None, [report("version-invalid", span, "dlm_version must be a whole number", fix)]
    if value < 1:
        return None, [report("version-invalid", span, "dlm_version must be at least 1")]
    if value > CURRENT_VERSION:
        message = f"written for a newer dlm; this one reads up to version {CURRENT_VERSION}"
        return value, [report("version-newer", span, message)]
    return value, []


def _validate(
    tree: TreeMapping, text: str, head: Span
) -> tuple[Frontmatter | None, Training, list[Diagnostic]]:
    raw: dict[str, Any] = {e.key: plain(e.value) for e in tree.entries}
    # The version was judged before; what is validated is always the current schema.
    raw["dlm_version"] = CURRENT_VERSION
    found: list[Diagnostic] = []
    unusable = False
    # Two rounds do: each field alone, then the rules between fields.
    for _ in range(4):
        try:
            frontmatter = Frontmatter.model_validate(raw)
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        else:
            read = None if unusable else frontmatter
            return read, frontmatter.training, _without_echoes(found)
        explained = [pair for detail in details for pair in _explain(detail, tree, text, head)]
        found += [diagnostic for _, diagnostic in explained if diagnostic is not None]
        wrong = {path for path, _ in explained}
        unusable |= bool(wrong & _NO_DEFAULT)
        _take_out(raw, wrong)
    return None, Training(), found


def _without_echoes(found: list[Diagnostic]) -> list[Diagnostic]:
    """Drop `base_model is missing` beside `base_modell: did you mean base_model?`."""
    renamed = {p.fix.edits[0].new_text for p in found if p.code == "key-unknown" and p.fix}
    return [
        p for p in found if p.code != "key-missing" or p.message.split(" ", 1)[0] not in renamed
    ]


#: keys that nothing can stand in for
_NO_DEFAULT: set[Path] = {("dlm_id",), ("base_model",)}


def _take_out(raw: dict[str, Any], wrong: set[Path]) -> None:
    """Remove what is wrong; where there is no default, put in something valid."""
    items: list[tuple[list[Any], int]] = []
    for path in wrong:
        if path in _NO_DEFAULT:
            raw[str(path[0])] = "0" * 26
            continue
        holder: Any = raw
        for step in path[:-1]:
            holder = holder[step] if _has(holder, step) else None
        last = path[-1] if path else None
        if isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list) and isinstance(last, int):
            items.append((holder, last))
    # From the back, so that the places of those in front stay.
    for sequence, index in sorted(items, key=lambda item: -item[1]):
        del sequence[index]


def _has(holder: object, step: str | int) -> bool:
    if isinstance(holder, dict):
        return step in holder
    return isinstance(holder, list) and isinstance(step, int) and step < len(holder)


def _explain(
    detail: ErrorDetails, tree: TreeMapping, text: str, head: Span
) -> Iterator[tuple[Path, Diagnostic | None]]:
    """A schema error as (path to take out, diagnostic); several for rules between fields."""
    kind = detail["type"]
    loc = tuple(detail["loc"])
    if kind == "dlm_conflict":
        for relative, why in detail["ctx"]["conflicts"]:
            yield _conflict(tree, ("training", *relative), why)
        return
    path, entry, value = _find(tree, loc)
    name = ".".join(map(str, path))
    span = value.span if value is not None else head
    if kind == "missing":
        wanted = str(loc[-1])
        place = (entry.key_span if entry else span) if path else head
        yield _missing((*path, wanted), wanted, place)
        return
    if kind == "extra_forbidden":
        place = entry.key_span if entry else span
        yield path, _unknown_key(tree, path, place)
        return
    if kind == "dlm_adapter_name":
        place = entry.key_span if entry else span
        lower = text[place.start : place.end].strip("\"'").lower().replace("-", "_")
        right = ADAPTER_NAME.fullmatch(lower) and is_plain(lower)
        fix = Fix(f"Write {lower}", (TextEdit(place, lower),)) if right else None
        yield path, report("adapter-name", place, detail["msg"], fix)
        return
    code, wanted = _requirement(detail)
    if path == ("dlm_id",):
        code = "id-invalid"
    written = _shown(text[span.start : span.end]) if isinstance(value, Scalar) else _kind(value)
    fix = _value_fix(kind, detail, value)
    message = f"{name} {wanted}, not {written}"
    if fix and kind == "literal_error":
        message += f"; did you mean {fix.edits[0].new_text}?"
    yield _gone(path), report(code, span, message, fix)


def _gone(path: Path) -> Path:
    """What is taken out for a wrong `path`: a whole source for its own, without which it means
    nothing."""
    return path[:-1] if path[:2] == ("training", "sources") and path[-1] == "path" else path


def _missing(path: Path, wanted: str, place: Span) -> tuple[Path, Diagnostic]:
    hints = {
        "dlm_id": "dlm_id is missing; it ties the document to what was trained from it",
        "base_model": "base_model is missing; name the model to teach, such as smollm2-135m",
    }
    message = hints.get(wanted, f"{'.'.join(map(str, path))} is missing")
    return _gone(path), report("key-missing", place, message)


def _requirement(detail: ErrorDetails) -> tuple[str, str]:
    """The code and the words for what a value must be."""
    kind, bounds = detail["type"], detail.get("ctx", {})
    limits = {
        "greater_than_equal": ("ge", "must be at least"),
        "less_than_equal": ("le", "must be at most"),
        "greater_than": ("gt", "must be more than"),
        "less_than": ("lt", "must be less than"),
    }
    if kind in limits:
        key, words = limits[kind]
        return "value-range", f"{words} {bounds[key]:g}"
    match kind:
        case "literal_error":
            choices = bounds["expected"].replace("'", "").replace(" or ", ", ")
            return "value-choice", f"must be one of {choices}"
        case "dlm_type" | "dlm_id":
            return "value-type", detail["msg"]
        case "dlm_range":
            return "value-range", detail["msg"]
        case "finite_number":
            return "value-range", "must be a finite number"
        case "string_type":
            return "value-type", "must be text"
        case "string_too_short" | "string_pattern_mismatch":
            return "value-range", "must not be empty"
        case "tuple_type":
            return "value-type", "must be a list"
        case "model_type" | "dict_type":
            return "value-type", "must be a block of `key: value` entries (or be left out)"
        case "bool_type" | "bool_parsing":
            return "value-type", "must be true or false"
        case _:
            return "value-type", detail["msg"]


def _value_fix(kind: str, detail: ErrorDetails, value: Tree | None) -> Fix | None:
    if not isinstance(value, Scalar):
        return None
    if kind == "string_type" and value.value is not None and value.style == "":
        before = Span(value.span.start, value.span.start)
        after = Span(value.span.end, value.span.end)
        return Fix("Write it as text", (TextEdit(before, '"'), TextEdit(after, '"')))
    if kind == "literal_error":
        choices = detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        by_lower = {choice.lower(): choice for choice in choices}
        near = closest(str(value.value).lower(), tuple(by_lower))
        if near:
            choice = by_lower[near]
            return _replace(value.span, scalar_text(choice), f"Replace with {choice}")
    return None


def _replace(span: Span, text: str, title: str) -> Fix:
    return Fix(title, (TextEdit(span, text),))


def _shown(written: str) -> str:
    line = " ".join(written.split())
    return line if len(line) <= 40 else line[:37] + "..."


def _kind(value: Tree | None) -> str:
    if isinstance(value, Sequence):
        return "a list"
    return "a block of entries" if isinstance(value, TreeMapping) else "nothing"


def _conflict(tree: TreeMapping, path: Path, why: str) -> tuple[Path, Diagnostic | None]:
    found, entry, value = _find(tree, path)
    listed, _, adapters = _find(tree, ("training", "adapters"))
    written = 0
    if isinstance(adapters, TreeMapping) and listed == ("training", "adapters"):
        written = len(adapters.entries)
    few = 1 if path[-1] == "adapters" else 2
    if path[-1] in ("adapters", "enabled") and written >= few:
        # Adapters that were taken out as wrong are the cause, and already reported.
        return path, None
    if entry is None or value is None or found != path:
        return path, None
    span = value.span if path[-1] in ("adapters", "enabled") else entry.key_span
    return path, report("value-conflict", span, f"{'.'.join(map(str, path))} {why}")


def _find(tree: TreeMapping, loc: Path) -> tuple[Path, Entry | None, Tree | None]:
    """Follow a schema location as far as the tree goes: (path, last entry, value there)."""
    path: Path = ()
    entry: Entry | None = None
    value: Tree = tree
    for step in loc:
        if isinstance(value, TreeMapping) and isinstance(step, str):
            deeper = value.get(step)
            if deeper is None:
                break
            entry, value = deeper, deeper.value
        elif isinstance(value, Sequence) and isinstance(step, int) and step < len(value.items):
            entry, value = None, value.items[step]
        else:
            break
        path = (*path, step)
    return path, entry, value


def _fields_at(path: Path) -> tuple[str, ...]:
    """Names allowed beside the last key of `path`."""
    model: type[BaseModel] = Frontmatter
    steps = [step for step in path[:-1] if isinstance(step, str)]
    if steps[:2] == ["training", "adapters"]:
        model = Adapter
    elif steps[:2] == ["training", "sources"]:
        model = Source
    else:
        for step in steps:
            inner = model.model_fields[step].annotation if step in model.model_fields else None
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                return ()
            model = inner
    return tuple(model.model_fields)


def _unknown_key(tree: TreeMapping, path: Path, place: Span) -> Diagnostic:
    key = str(path[-1])
    where = ".".join(map(str, path[:-1])) or "the frontmatter"
    _, _, holder = _find(tree, path[:-1])
    present = holder.index if isinstance(holder, TreeMapping) else {}
    allowed = _fields_at(path)
    near = closest(key.lower().replace("-", "_"), allowed, 0.7)
    message = f"{where} has no key `{key}`"
    if near:
        fix = None if near in present else _replace(place, near, f"Rename to {near}")
        return report("key-unknown", place, f"{message}; did you mean `{near}`?", fix)
    for home, model in (("training", Training), ("export", Export), ("", Frontmatter)):
        if key in model.model_fields and where != home:
            target = home or "the top level"
            return report("key-unknown", place, f"{message}; it belongs under {target}")
    return report("key-unknown", place, message)
