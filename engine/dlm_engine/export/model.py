"""What goes into an export and what comes out of it; the words the other modules share.

`ExportOptions` is what a person asked for, `ExportRequest` is what the rest of dlm
knows about the document, its base and its adapter. The export room takes these facts
and not the store's or the registry's own types, so that it can be driven (and tested)
without either. Light: nothing here imports numpy or torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from dlm_engine.export.capabilities import ExportPlan
    from dlm_engine.export.checks import Check

Report = Callable[[str], None]
Message = Mapping[str, str]


class Quant(StrEnum):
    """What the weights are stored as; the names are llama.cpp's."""

    F16 = "F16"
    Q8_0 = "Q8_0"
    Q6_K = "Q6_K"
    Q5_K_M = "Q5_K_M"
    Q4_K_M = "Q4_K_M"


#: Bytes per parameter, rounded up, for space estimates only. Small models whose rows are
#: not a multiple of 256 come out larger, which is why these are above the nominal figures.
BYTES_PER_PARAMETER: Mapping[Quant, float] = {
    Quant.F16: 2.05,
    Quant.Q8_0: 1.15,
    Quant.Q6_K: 1.15,
    Quant.Q5_K_M: 0.95,
    Quant.Q4_K_M: 0.85,
}


class Target(StrEnum):
    GGUF = "gguf"
    OLLAMA = "ollama"


class Form(StrEnum):
    """How the adapter reaches the runtime."""

    ADAPTER = "adapter"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class ExportBase:
    """The base as a folder in Hugging Face form, and the facts that the export writes down.

    `sha256` is the digest of the weights as recorded when they were obtained; `template`
    is the dialect name of the registry (`chatml`, `llama3`, ...).
    """

    path: Path
    sha256: str
    revision: str
    key: str
    hf_id: str
    template: str
    context_length: int
    licence: str | None = None
    reasoning: bool = False


@dataclass(frozen=True, slots=True)
class ExportAdapter:
    """A PEFT folder and the version number it has in the store, None for a mix of several.

    `four_bit_base`: it was trained against a 4-bit base (QLoRA); None means unknown, and
    the folder's own run record is read. `label` tells the exports of a document's named
    adapters apart, in the names of folders and models; `made_of` says which versions they are.
    """

    path: Path
    version: int | None
    four_bit_base: bool | None = None
    label: str | None = None
    made_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Everything dlm knows that an export needs.

    Args:
        adapter: None exports the base alone.
        rows: (question, answer) pairs of the document; the loss of the exported model is
            compared on their first answers.
        store_root: exports go below it, to `exports/<quant>/`.
        cache_root: where converted bases are kept, shared by all documents.
    """

    base: ExportBase
    adapter: ExportAdapter | None
    dlm_id: str
    document_name: str
    store_root: Path
    cache_root: Path
    system_prompt: str | None = None
    sequence_len: int = 2048
    default_quant: Quant = Quant.Q4_K_M
    temperature: float | None = None
    top_p: float | None = None
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What the person asked for; None means "as the document says".

    Args:
        merged: fold the adapter into the weights instead of shipping it beside them.
        dequantize: merge an adapter trained on a 4-bit base into the full-precision base.
        out: publish there instead of below the store.
        question: asked of the finished files in llama.cpp; None asks nothing.
        ollama_name: recorded in the manifest; None derives one from the document's id.
    """

    quant: Quant | None = None
    target: Target = Target.GGUF
    merged: bool = False
    dequantize: bool = False
    out: Path | None = None
    question: str | None = None
    max_answer_tokens: int = 64
    ollama_name: str | None = None


class Artifact(BaseModel):
    """One file of an export, its path relative to the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, Field(min_length=1, pattern=r"^[^/\\][^\\]*$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


class ExportManifest(BaseModel):
    """`export_manifest.json`, key for key the reference's; it forbids any other key.

    `adapter_version` is null for an export of the base alone or of a mix of adapters, which
    the reference cannot make; the report beside it says which versions are in a mix.
    `created_at` is naive UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Literal["gguf", "ollama"]
    quant: str
    merged: bool
    dequantized: bool
    ollama_name: str | None
    created_at: str
    created_by: str
    llama_cpp_tag: str | None
    base_model_hf_id: str
    base_model_revision: str
    adapter_version: Annotated[int, Field(ge=1)] | None
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """A finished, checked and published export.

    `answer` is what llama.cpp said to `ExportOptions.question`; None when nothing was
    asked. `seconds` holds wall time per stage.
    """

    folder: Path
    base_gguf: Path
    adapter_gguf: Path | None
    modelfile: Path | None
    manifest: ExportManifest
    plan: ExportPlan
    checks: tuple[Check, ...]
    answer: str | None
    seconds: Mapping[str, float] = field(default_factory=dict)
