"""What `dlm show` says of how the base's vocabulary fits a document and its sources, or why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dlm_engine.bases import REGISTRY, cache_root
from dlm_engine.bases.local import is_local, local_folder
from dlm_engine.bases.spec import slug_of
from dlm_engine.bases.vocabulary import vocabulary_fit
from dlm_engine.document import Document, Frontmatter, Section
from dlm_engine.errors import DlmError
from dlm_engine.store import Store

if TYPE_CHECKING:
    from dlm_engine.data.sources import SourceFile

#: Of the sources, files of so many bytes together are read.
MOST_READ: Final = 2**20
#: Characters of a word that are shown.
_LONGEST: Final = 40
_NOT_HERE: Final = "the base is not on this machine yet; training gets it"


def vocabulary_facts(
    document: Document, settings: Frontmatter, path: Path, store: Store, files: Sequence[SourceFile]
) -> tuple[dict[str, Any] | None, str | None]:
    """The fit of all that the document teaches, as `--json` writes it; else why it is not known."""
    folder, why = _folder(settings.base_model, path, store)
    if folder is None:
        return None, why
    if not (folder / "tokenizer.json").is_file():
        return None, why
    texts = [text for section in document.sections for text in _texts(section)]
    left, read = MOST_READ, 0
    for file in files:
        from dlm_engine.data.sources.expansion import read_source

        left -= file.stamp.size
        if left < 0:
            break
        # What changed just now is for the next look.
        with suppress(DlmError):
            texts.append(read_source(file))
            read += 1
    fit = vocabulary_fit(folder / "tokenizer.json", texts)
    if fit is None:
        return None, "there are no words, or the base's tokenizer.json cannot be read"
    return {
        "words": fit.words,
        "tokens": fit.tokens,
        "tokens_per_word": round(fit.tokens_per_word, 3),
        "unknown_tokens": fit.unknown,
        "most_split": [asdict(each) for each in fit.split],
        "remark": fit.remark,
        "source_files": {"read": read, "all": len(files)},
    }, None


def _texts(section: Section) -> Iterator[str]:
    """What a section teaches, without the headers of its parts."""
    if not section.pairs and not section.triples:
        yield section.content
    for pair in section.pairs:
        yield from (pair.question, pair.answer)
    for triple in section.triples:
        yield from (triple.prompt, triple.chosen, triple.rejected)


def _folder(base: str, path: Path, store: Store) -> tuple[Path | None, str]:
    """Where the base is; and why nothing can be said, if it is not."""
    bases = cache_root(store.home) / "bases"
    spec = REGISTRY.get(base)
    if spec is not None:
        return bases / spec.slug, _NOT_HERE
    if not is_local(base):
        # Which revision is meant the hub would have to be asked; what was trained is written down.
        manifest = store.read_manifest()
        if manifest is None or manifest.base_model != base or not manifest.base_model_revision:
            return None, "which revision of the base is meant the first training asks the hub"
        hub_id = base.removeprefix("hf:")
        return bases / slug_of(hub_id, manifest.base_model_revision), _NOT_HERE
    try:
        return local_folder(base, path.parent.absolute()), "the base has no tokenizer.json"
    except (DlmError, OSError, ValueError):
        # Who trains says what is wrong with it.
        return None, "the base cannot be read"


def _shortened(word: str) -> str:
    """A word of a minified or encoded line may be a megabyte."""
    return word if len(word) <= _LONGEST else word[: _LONGEST - 1] + "…"


def vocabulary_lines(facts: dict[str, Any] | None, why: str | None) -> list[tuple[str, str]]:
    if facts is None:
        return [("vocabulary", f"not known: {why}")]
    files = facts["source_files"]
    some = f", {files['read']} of {files['all']} source files read" if files["all"] else ""
    unknown = f", {facts['unknown_tokens']} unknown" if facts["unknown_tokens"] else ""
    lines = [
        (
            "vocabulary",
            f"{facts['tokens']} tokens, {facts['tokens_per_word']:.2f} a word{unknown}{some}",
        )
    ]
    if facts["most_split"]:
        most = facts["most_split"]
        words = ", ".join(f"{_shortened(each['word'])} {each['tokens']}" for each in most)
        lines.append(("split most", words))
    if facts["remark"]:
        lines.append(("", facts["remark"]))
    return lines
