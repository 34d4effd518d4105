"""What a document may ask for that training here does not do, said before anything starts.

A field that is accepted is honoured or refused, never left aside in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlm_engine.document import Frontmatter
from dlm_engine.document.model import Document, SectionType
from dlm_engine.errors import TrainingError


def require_supported(document: Document, frontmatter: Frontmatter) -> tuple[str, ...]:
    """Remarks about what the document has and this run leaves out on purpose.

    Raises:
        TrainingError: the document asks for something that cannot be honoured.
    """
    refusal = next(_refusals(document, frontmatter), None)
    if refusal is not None:
        raise TrainingError(*refusal)
    remarks = []
    preferences = sum(s.type is SectionType.PREFERENCE for s in document.sections)
    if preferences:
        remarks.append(
            f"{preferences} preference section(s) stay as they are: "
            "this version trains questions, answers and prose"
        )
    return tuple(remarks)


def _refusals(document: Document, frontmatter: Frontmatter) -> Iterator[tuple[str, str, str]]:
    training = frontmatter.training
    remove = "remove it from the document to train the rest"
    if training.adapters:
        yield ("training.adapters", "this version trains one adapter per document", remove)
    routed = next((s for s in document.sections if s.adapter), None)
    if routed is not None:
        yield (
            f"::{routed.type}#{routed.adapter}::",
            "this version trains one adapter per document",
            "remove the #name from the fence",
        )
    if training.preference.enabled:
        yield ("training.preference", "this version does not train preferences", remove)
    if training.gate.enabled:
        yield ("training.gate", "there is no gate over a single adapter", remove)
    if training.cpt.embed_warmup_steps:
        yield ("training.cpt.embed_warmup_steps", "this version trains no embeddings", remove)
    if training.cpt.schedule == "dapt":
        yield ("training.cpt.schedule dapt", "this version has one schedule for prose", remove)
    if training.optimizer != "adamw_torch":
        yield (
            f"training.optimizer {training.optimizer}",
            "this version trains with adamw_torch",
            "remove the line",
        )
    media = next(
        (s for s in document.sections if s.type in (SectionType.IMAGE, SectionType.AUDIO)), None
    )
    if media is not None:
        yield (f"::{media.type}::", "the bases of this version read text only", remove)
