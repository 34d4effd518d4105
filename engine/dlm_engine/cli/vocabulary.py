"""What `dlm show` says of how the base's vocabulary fits a document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dlm_engine.bases import REGISTRY, cache_root
from dlm_engine.bases.local import is_local, local_folder
from dlm_engine.bases.vocabulary import VocabularyFit, vocabulary_fit
from dlm_engine.document import Document, Frontmatter
from dlm_engine.errors import DlmError


def fit_of(
    document: Document, settings: Frontmatter, path: Path, home: Path
) -> VocabularyFit | None:
    """The fit of all that the document teaches; None while its base is not on this machine."""
    folder = _folder(settings.base_model, path, home)
    texts = [section.content for section in document.sections if section.content.strip()]
    return vocabulary_fit(folder / "tokenizer.json", texts) if folder else None


def _folder(base: str, path: Path, home: Path) -> Path | None:
    """Where a base of the registry or a folder is; of others only a run knows, who may ask."""
    spec = REGISTRY.get(base)
    if spec is not None:
        return cache_root(home) / "bases" / spec.slug
    try:
        return local_folder(base, path.parent.absolute()) if is_local(base) else None
    except (DlmError, OSError, ValueError):
        # Who trains says what is wrong with it.
        return None


def vocabulary_facts(fit: VocabularyFit | None) -> dict[str, Any] | None:
    """As `--json` writes it."""
    if fit is None:
        return None
    return {
        "words": fit.words,
        "tokens": fit.tokens,
        "tokens_per_word": round(fit.tokens_per_word, 3),
        "unknown_tokens": fit.unknown,
        "most_split": [asdict(each) for each in fit.split],
        "remark": fit.remark,
    }


def vocabulary_lines(facts: dict[str, Any] | None) -> list[tuple[str, str]]:
    if facts is None:
        return []
    unknown = f", {facts['unknown_tokens']} unknown" if facts["unknown_tokens"] else ""
    lines = [
        (
            "vocabulary",
            f"{facts['tokens']} tokens, {facts['tokens_per_word']:.2f} a word{unknown}",
        )
    ]
    if facts["most_split"]:
        words = ", ".join(f"{each['word']} {each['tokens']}" for each in facts["most_split"])
        lines.append(("split most", words))
    if facts["remark"]:
        lines.append(("", facts["remark"]))
    return lines
