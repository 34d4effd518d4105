"""What a document may ask for that training here does not do, said before anything starts.

A field that is accepted is honoured or refused, never left aside in silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from dlm_engine.document import Frontmatter, Preference, adapter_names
from dlm_engine.document.model import Document, SectionType
from dlm_engine.errors import TrainingError
from dlm_engine.store import validate_adapter_name
from dlm_engine.training.model import Phase


def require_supported(document: Document, frontmatter: Frontmatter) -> None:
    """Raise `TrainingError` when the document asks for something that cannot be honoured."""
    refusal = next(_refusals(document, frontmatter), None)
    if refusal is not None:
        raise TrainingError(*refusal)


def require_preferences(
    document: Document, frontmatter: Frontmatter, phase: Phase
) -> tuple[bool, tuple[str, ...]]:
    """Whether the preferences are to be learned, and remarks on what is left out on purpose.

    What the command asks for decides, then what the document says, then whether it has any.

    Raises:
        TrainingError: the preference phase alone is wanted, and there is nothing for it.
    """
    wishes = frontmatter.training.preference
    written = sum(len(section.triples) for section in document.sections)
    equal = sum(t.chosen == t.rejected for s in document.sections for t in s.triples)
    there = written - equal
    if phase is Phase.PREFERENCE and not there:
        raise TrainingError(
            "--phase preference",
            "the document has no preference to learn",
            "write a ::preference:: section, or train without --phase",
        )
    if phase is Phase.SFT:
        return False, (f"{there} preference(s) left out: --phase sft",) if there else ()
    said = "enabled" in wishes.model_fields_set
    wanted = phase is Phase.PREFERENCE or (wishes.enabled if said else there > 0)
    if not wanted:
        off = f"{there} preference(s) left out: training.preference.enabled is false"
        return False, (off,) if there else ()
    if not there:
        return False, ("training.preference.enabled: the document has no preference to learn",)
    remarks = []
    if equal:
        remarks.append(f"{equal} preference(s) left out: their two answers are the same")
    unread = _unread(wishes)
    if unread:
        remarks.append(f"not read by {wishes.method}: {', '.join(unread)}")
    return True, tuple(remarks)


def _unread(wishes: Preference) -> list[str]:
    """What the author set that is for the other method."""
    numbers = wishes.hyperparams.model_fields_set
    if wishes.method == "dpo":
        return ["training.preference.hyperparams.alpha"] if "alpha" in numbers else []
    others = [name for name in ("loss_type", "reference") if name in wishes.model_fields_set]
    return [
        *(f"training.preference.{name}" for name in others),
        *(["training.preference.hyperparams.beta"] if "beta" in numbers else []),
    ]


def _refusals(document: Document, frontmatter: Frontmatter) -> Iterator[tuple[str, str, str]]:
    training = frontmatter.training
    remove = "remove it from the document to train the rest"
    names = adapter_names(frontmatter)
    for name in names:
        validate_adapter_name(name)
    routed = next((s for s in document.sections if s.adapter and s.adapter not in names), None)
    if routed is not None:
        yield (
            f"::{routed.type}#{routed.adapter}::",
            "names an adapter that training.adapters lacks",
            "declare it there, or remove the #name from the fence",
        )
    if training.preference.method == "dpo" and training.preference.hyperparams.beta == 0:
        yield (
            "training.preference.hyperparams.beta",
            "is 0, with which dpo learns nothing",
            "raise it; 0.1 is usual",
        )
    dora = next((n for n, a in (training.adapters or {}).items() if a.adapter == "dora"), None)
    if training.gate.enabled and dora is not None:
        yield (
            f"training.adapters.{dora}",
            "is dora, and a gate sums what adapters add, which DoRA has no form for",
            "set its adapter to lora, or remove training.gate",
        )
    if training.gate.enabled and len(names) < 2:
        yield ("training.gate", "there is no gate over a single adapter", remove)
    if training.cpt.embed_warmup_steps:
        yield (
            "training.cpt.embed_warmup_steps",
            "embeddings are not trained: what the layers below the adapter make of the text is "
            "computed once, with embeddings that stay as they are",
            remove,
        )
    media = next(
        (s for s in document.sections if s.type in (SectionType.IMAGE, SectionType.AUDIO)), None
    )
    if media is not None:
        yield (f"::{media.type}::", "the bases of this version read text only", remove)
