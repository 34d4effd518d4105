"""What a document says soundly, and training refuses all the same, whatever the machine.

Asked by `dlm train` before anything starts, and by `dlm check` and the editors, so that all
three give the same verdict. Kept apart from the reading of the document, because a model that
was trained before may still be asked and exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dlm_engine.document.frontmatter import Frontmatter
from dlm_engine.document.model import Section, SectionType

FP16 = "float16 gradients overflow in training, and the adapter may come out as NaN"
#: of a section that no base of this version can read
MEDIA = "the bases of this version read text only"
REMOVE = "remove it from the document to train the rest"


class Refusal(NamedTuple):
    """`key` is the path of the setting, as `Document.keys` has it."""

    key: str
    problem: str
    remedy: str


def refused_settings(
    frontmatter: Frontmatter, modules: Sequence[str] | None = None
) -> Iterator[Refusal]:
    """Every setting that is refused; `modules` are the base's linear layers, where known."""
    training = frontmatter.training
    if training.precision == "fp16":
        yield Refusal("training.precision", FP16, "remove the line, or write bf16 or fp32")
    preference = training.preference
    if preference.method == "dpo" and preference.hyperparams.beta == 0:
        yield Refusal(
            "training.preference.hyperparams.beta",
            "is 0, with which dpo learns nothing",
            "raise it; 0.1 is usual",
        )
    for name, adapter in (training.adapters or {}).items():
        if training.gate.enabled and adapter.adapter == "dora":
            yield Refusal(
                f"training.adapters.{name}.adapter",
                "is dora, and a gate sums what adapters add, which DoRA has no form for",
                "set it to lora, or remove training.gate",
            )
    if training.cpt.embed_warmup_steps and training.gate.enabled:
        yield Refusal(
            "training.cpt.embed_warmup_steps",
            "gives each adapter embeddings of its own, and a gate sums what adapters add, not what "
            "they replace",
            "set it to 0, or remove training.gate",
        )
    if training.audio.auto_resample:
        yield Refusal(
            "training.audio.auto_resample",
            "there is no audio to resample: the bases of this version read text only",
            REMOVE,
        )
    listed = {"training": training.target_modules}
    for name, adapter in (training.adapters or {}).items():
        listed[f"training.adapters.{name}"] = adapter.target_modules
    for path, names in listed.items():
        if names != "auto":
            yield from _wrong_modules(f"{path}.target_modules", names, modules)


def _wrong_modules(
    key: str, names: Sequence[str], modules: Sequence[str] | None
) -> Iterator[Refusal]:
    if not names:
        yield Refusal(key, "names no layer, so there is nothing to train", "write auto")
    for number, name in enumerate(names):
        if modules is not None and name not in modules:
            yield Refusal(
                f"{key}.{number}",
                f"{name[:64]} is no linear layer of the base",
                f"choose of: {', '.join(modules)}",
            )


def is_refused(section: Section) -> bool:
    """Whether no base of this version can read the section."""
    return section.type in (SectionType.IMAGE, SectionType.AUDIO)
