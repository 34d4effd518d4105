"""What is wrong with a document that only its surroundings show: its base, its files, its rows.

`document/` is pure and cannot know these; the command line and the language server both ask
here, so they give the same verdict on the same file. Like `document/` this never raises on
user text and writes nothing; it looks whether files exist, and reads none but the
`config.json` of a base. A code's severity stands in the table below and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.document import (
    Code,
    Diagnostic,
    Fix,
    KeySpan,
    LiveDocument,
    Section,
    SectionType,
    Severity,
    Span,
    TextEdit,
)
from dlm_engine.document.codes import closest
from dlm_engine.document.moving import moved_problem
from dlm_engine.document.unsupported import MEDIA, REMOVE, is_refused, refused_settings
from dlm_engine.errors import BaseModelError, StoreError

if TYPE_CHECKING:
    from dlm_engine.bases.spec import Architecture
    from dlm_engine.data.sources import Problem, Root
    from dlm_engine.document import Source

_MOST_CONFIG = 2**20
#: characters per token, about, of English prose in the vocabularies of the registry
CHARACTERS_PER_TOKEN = 4.2

_ROWS = (
    ("base-unknown", Severity.ERROR, "`base_model` names no base that this version can use."),
    ("setting-refused", Severity.ERROR, "A setting that no training of this version honours."),
    ("section-refused", Severity.ERROR, "A section that no base of this version can read."),
    ("media-missing", Severity.ERROR, "An image or audio file that is not there."),
    ("source-missing", Severity.ERROR, "A path in `training.sources` that is not there."),
    (
        "source-denied",
        Severity.ERROR,
        "A path in `training.sources` that may not be learned: secret, or outside by the policy.",
    ),
    (
        "source-rules",
        Severity.ERROR,
        "A file of rules in a folder of a source that cannot be understood (`dlm check` only).",
    ),
    (
        "section-long",
        Severity.INFORMATION,
        "A section that is probably longer than `training.sequence_len` and learned in pieces.",
    ),
    (
        "id-duplicate",
        Severity.WARNING,
        "Another document has the same `dlm_id`: they share a store.",
    ),
    (
        "changed-since-trained",
        Severity.INFORMATION,
        "The document has sections that its current version was not trained on (editors only).",
    ),
    (
        "document-large",
        Severity.INFORMATION,
        "A document so large that an editor checks its syntax only (editors only).",
    ),
)
_WIDE = re.compile("[\u2e80-\U0010ffff]+")
#: the code of a file that cannot be read, which is no diagnostic, as it has no place
UNREADABLE = "file-unreadable"
#: the name under which each section keeps its `_Facts`
_KEPT = "checks"
CODES: dict[str, Code] = {code: Code(code, severity, text) for code, severity, text in _ROWS}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a section wherever it stands, in the places it had when it was read."""

    #: the `sequence_len` that `long` is about
    most: int | None
    #: what a media section shows, and what to say when it is not there
    file: str = ""
    missing: Diagnostic | None = None
    #: what holds wherever the section stands
    own: tuple[Diagnostic, ...] = ()


def report(code: str, span: Span, message: str, fix: Fix | None = None) -> Diagnostic:
    """A diagnostic with the severity of its code. KeyError for a code not in the table."""
    return Diagnostic(code, CODES[code].severity, message, span, fix)


def check_surroundings(live: LiveDocument, folder: Path | None) -> list[Diagnostic]:
    """Every problem of a document that lies in `folder`, in order of place.

    Without a folder (standard input, a file never saved) relative paths are left alone.
    """
    found = [
        *_base(live, folder),
        *_settings(live, folder),
        *_sources(live, folder),
        *_sections(live, folder),
    ]
    return sorted(found, key=lambda d: d.span)


def same_id(keys: Mapping[str, KeySpan], others: Iterable[str]) -> Iterator[Diagnostic]:
    """`others` are the names of further documents with the `dlm_id` of the one with `keys`."""
    names = list(others)
    entry = keys.get("dlm_id")
    if names and entry is not None:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield report(
            "id-duplicate",
            entry.value,
            f"{names[0]}{more} has the same dlm_id: they share one store, and training one "
            "replaces what the other has learned; give the copy a new id",
        )


def about_tokens(text: str) -> int:
    """How many tokens a text has, guessed from its length."""
    # Scripts without spaces take about a token for each character.
    wide = 0 if text.isascii() else sum(map(len, _WIDE.findall(text)))
    return round((len(text) - wide) / CHARACTERS_PER_TOKEN + wide)


def _base(live: LiveDocument, folder: Path | None) -> Iterator[Diagnostic]:
    entry = live.keys.get("base_model")
    if live.frontmatter is None or entry is None:
        return
    # Reading a registry of models takes longer than most checks; a document without a
    # usable base has been reported already.
    from dlm_engine.bases.local import is_local
    from dlm_engine.bases.registry import NOT_OFFERED, REGISTRY
    from dlm_engine.bases.spec import HUB_ID

    key = live.frontmatter.base_model
    if key in REGISTRY:
        return
    if is_local(key):
        if folder is None:
            return
        try:
            _architecture(key, folder)
        except (BaseModelError, OSError, ValueError) as error:
            why = error.problem if isinstance(error, BaseModelError) else "it is no usable path"
            yield report("base-unknown", entry.value, f"base {key}: {why}")
        return
    if key.startswith("hf:"):
        name = key.removeprefix("hf:")
        if not HUB_ID.fullmatch(name) or ".." in name or "--" in name:
            yield report("base-unknown", entry.value, "a hub base is written hf:org/name")
        return
    if key in NOT_OFFERED:
        why = f"base {key} is not offered: {NOT_OFFERED[key]}"
        yield report("base-unknown", entry.value, why)
        return
    if HUB_ID.fullmatch(key) and "/" in key:
        fix = _replace(entry, f"hf:{key}")
        why = f"there is no base {key}; for a model on the hub write hf:{key}"
        yield report("base-unknown", entry.value, why, fix)
        return
    near = closest(key.lower(), tuple(REGISTRY), 0.5)
    if near is None:
        why = (
            f"there is no base {key}; write a name such as smollm2-135m, hf:org/name for a model "
            "on the hub, or the path of a folder with one"
        )
        yield report("base-unknown", entry.value, why)
        return
    why = f"there is no base {key}; is {near} meant?"
    yield report("base-unknown", entry.value, why, _replace(entry, near))


def _replace(entry: KeySpan, value: str) -> Fix:
    return Fix(f"Use {value}", (TextEdit(entry.value, value),))


def _settings(live: LiveDocument, folder: Path | None) -> Iterator[Diagnostic]:
    front = live.frontmatter
    if front is None or "training" not in live.keys:
        return
    for refusal in refused_settings(front, _modules(front.base_model, folder)):
        # Version 1 has it elsewhere; what an alias says stands in no place of its own.
        places = (refusal.key, refusal.key.replace("preference.hyperparams", "dpo"), "training")
        entry = next(live.keys[key] for key in places if key in live.keys)
        span = entry.key if entry is live.keys["training"] else entry.value
        yield report("setting-refused", span, f"{refusal.key}: {refusal.problem}; {refusal.remedy}")
    if front.training.adapters:
        yield from _names(front.training.adapters, live)


def _names(adapters: Iterable[str], live: LiveDocument) -> Iterator[Diagnostic]:
    from dlm_engine.store import validate_adapter_name

    for name in adapters:
        entry = live.keys.get(f"training.adapters.{name}")
        try:
            validate_adapter_name(name)
        except StoreError as error:
            if entry is not None:
                why = f"`{name}` {error.problem}; {error.remedy}"
                yield report("setting-refused", entry.key, why)


def _modules(base_model: str, folder: Path | None) -> Sequence[str] | None:
    """The linear layers of a base, None where they are not known without looking it up."""
    from dlm_engine.bases.local import is_local
    from dlm_engine.bases.registry import REGISTRY

    if base_model in REGISTRY:
        return REGISTRY[base_model].target_modules
    if folder is None or not is_local(base_model):
        return None
    try:
        known = _architecture(base_model, folder)
    except (BaseModelError, OSError, ValueError):
        # A base that cannot be used has been reported already.
        return None
    return known.linear_modules if known else None


def _architecture(base_model: str, folder: Path) -> Architecture | None:
    """What a folder's model is; None where its file is too large to read at each change.

    Raises:
        BaseModelError: it is none that can be used.
    """
    from dlm_engine.bases.files import read_json
    from dlm_engine.bases.local import local_folder
    from dlm_engine.bases.resolve import architecture_of

    file = local_folder(base_model, folder) / "config.json"
    if file.stat().st_size > _MOST_CONFIG:
        return None
    return architecture_of(base_model, read_json(file))[1]


def check_rules(live: LiveDocument, folder: Path | None) -> Iterator[Diagnostic]:
    """The sources whose rules cannot be understood. Walks through all of them, which takes longer
    than an editor has at each change."""
    for entry, source, found in _roots(live, folder):
        from dlm_engine.data.sources import Problem, rules_problem

        problem = None if isinstance(found, Problem) else rules_problem(source, found)
        if problem is not None:
            why = f"{problem.subject} {problem.what}; {problem.remedy}"
            yield report("source-rules", entry.value, why)


def _sources(live: LiveDocument, folder: Path | None) -> Iterator[Diagnostic]:
    for entry, _, found in _roots(live, folder):
        from dlm_engine.data.sources import Problem

        if isinstance(found, Problem):
            yield report(f"source-{found.kind}", entry.value, found.what)


def _roots(
    live: LiveDocument, folder: Path | None
) -> Iterator[tuple[KeySpan, Source, Root | Problem]]:
    """Where each source lies, of those that can be looked for."""
    if live.frontmatter is None or not live.frontmatter.training.sources:
        return
    # What the room of data brings along takes longer to import than most checks.
    from dlm_engine.data.sources import base_folder, root_of

    training = live.frontmatter.training
    base = base_folder(folder) if folder is not None else Path.cwd()
    strict = training.sources_policy == "strict" and folder is not None
    for number, source in enumerate(training.sources or ()):
        entry = live.keys.get(f"training.sources.{number}.path")
        if entry is None or (folder is None and not Path(source.path).is_absolute()):
            continue
        yield entry, source, root_of(source.path, base, strict=strict)


def _sections(live: LiveDocument, folder: Path | None) -> Iterator[Diagnostic]:
    most = None if live.frontmatter is None else live.frontmatter.training.sequence_len
    for index, chunk in enumerate(live.chunks.items):
        facts = chunk.reading.kept.get(_KEPT)
        if facts is None or facts.most != most:
            facts = chunk.reading.kept[_KEPT] = _facts(chunk.reading.section, most)
        if facts.missing is None and not facts.own:
            continue
        moved_by = live.chunks.moved_by(index)
        if facts.missing is not None and not exists(facts.file, folder):
            yield moved_problem(facts.missing, moved_by)
        for problem in facts.own:
            yield moved_problem(problem, moved_by)


def _facts(section: Section | None, most: int | None) -> _Facts:
    if section is None:
        return _Facts(most)
    file = ""
    missing = None
    own: list[Diagnostic] = [] if most is None else list(_long_rows(section, most))
    if is_refused(section):
        file = section.attributes.get("path", "")
        own.append(report("section-refused", _head(section), f"{MEDIA}; {REMOVE}"))
    if file:
        missing = report("media-missing", _head(section), f"there is no file {file}")
    return _Facts(most, file, missing, tuple(own))


def _long_rows(section: Section, most: int) -> Iterator[Diagnostic]:
    """Rows are what has a length: a pair of question and answer, or a whole prose section."""
    if section.type is SectionType.PROSE:
        rows = [(section.content, _head(section))]
    else:
        rows = [(f"{p.question}\n{p.answer}", p.question_span) for p in section.pairs]
    for text, span in rows:
        # No text has more tokens than bytes, and the guess is never above the length.
        if len(text) > most and (tokens := about_tokens(text)) > most:
            yield report(
                "section-long",
                span,
                f"about {tokens} tokens, and training.sequence_len is {most}: "
                "it is learned in pieces",
            )


def _head(section: Section) -> Span:
    """The fence, or the first line of what has none."""
    if section.fence_span is not None:
        return section.fence_span
    first = section.content.split("\n", 1)[0]
    return Span(section.span.start, min(section.span.end, section.span.start + max(1, len(first))))


def exists(path: str, folder: Path | None) -> bool:
    """Whether something is at `path`; a path that cannot be looked for counts as there."""
    try:
        wanted = Path(path).expanduser()
        if wanted.is_absolute():
            return wanted.exists()
        return folder is None or (folder / wanted).exists()
    except RuntimeError:
        return False
    except (OSError, ValueError):
        # A name too long for the system, or with a zero in it, is no file.
        return False
