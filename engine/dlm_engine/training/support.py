"""What a document may ask for that training here does not do, said before anything starts.

A field that is accepted is honoured or refused, never left aside in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlm_engine.document import Frontmatter, Preference, adapter_names
from dlm_engine.document.model import Document
from dlm_engine.document.unsupported import MEDIA, REMOVE, is_refused, refused_settings
from dlm_engine.errors import HardwareRefusal, TrainingError
from dlm_engine.hardware import Plan
from dlm_engine.store import validate_adapter_name
from dlm_engine.training import ranks
from dlm_engine.training.model import Phase

#: settings of `training` that the preference phase, which has its own, does without
_OF_ROWS = ("lr_scheduler", "warmup_ratio", "num_epochs")


def require_supported(document: Document, frontmatter: Frontmatter, modules: Sequence[str]) -> None:
    """Raise `TrainingError` when the document asks for something that cannot be honoured on a
    base with these linear `modules`."""
    refusal = next(_refusals(document, frontmatter, modules), None)
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
    others = [name for name in _OF_ROWS if name in frontmatter.training.model_fields_set]
    if others:
        named = ", ".join(f"training.{name}" for name in others)
        remarks.append(f"not used while preferences are learned: {named}")
    return True, tuple(remarks)


def require_room(plan: Plan, frontmatter: Frontmatter) -> None:
    """Refuse so many processes on this machine that their bases do not fit beside each other.

    Raises:
        HardwareRefusal: of processes on a CPU, as a GPU has only one; or there is no way for
            them to add up what is on this device; or for the gate to ask a base in parts.
    """
    if frontmatter.training.gate.enabled and not plan.fits_whole:
        raise HardwareRefusal(
            "training.gate",
            "it asks the whole base, which does not fit this machine and is divided",
            "remove it, or use a smaller base",
        )
    if plan.device == "mps" and ranks.world() > 1:
        raise HardwareRefusal(
            "an Apple GPU", "processes cannot share the steps of a run on it", "train without"
        )
    count = ranks.local_world()
    needed = count * plan.estimate.total
    whole = plan.parts == 1
    if plan.device == "cpu" and whole and count > 1 and needed > plan.budget:
        raise HardwareRefusal(
            f"{count} processes",
            f"each holds the whole base, and together they need {needed / 2**30:.1f} GiB of the "
            f"{plan.budget / 2**30:.1f} GiB that dlm may use",
            f"use at most {max(1, plan.budget // plan.estimate.total)}, or a smaller base",
        )


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


def _refusals(
    document: Document, frontmatter: Frontmatter, modules: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
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
    if frontmatter.training.gate.enabled and len(names) < 2:
        yield ("training.gate", "there is no gate over a single adapter", REMOVE)
    yield from refused_settings(frontmatter, modules)
    if frontmatter.training.cpt.embed_warmup_steps and ranks.world() > 1:
        yield (
            "training.cpt.embed_warmup_steps",
            "embeddings are trained by one process, and several share this run",
            "train without --processes and --gpus, or set it to 0",
        )
    media = next(filter(is_refused, document.sections), None)
    if media is not None:
        yield (f"::{media.type}::", MEDIA, REMOVE)
