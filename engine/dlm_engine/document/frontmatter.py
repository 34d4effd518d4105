"""The frontmatter schema, version 15: every field, its default, its bounds.

Frozen, and closed: a key that is not here is an error. Numbers may be written as text
(`2e-4` without a dot is text in YAML 1.1) but `true` is never a number, and a value
that no run could honour (infinity, an integer beyond 64 bits) is refused here and not
later. `model_fields_set` of each block tells what the author wrote, which defaults that
are planned per base and per document depend on.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

CURRENT_VERSION = 15
ADAPTER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
DLM_ID = re.compile(r"[0-9A-HJ-KM-NP-TV-Z]{26}")
_INT64 = 2**63
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_REAL = re.compile(r"[-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,4})?")


def _wrong(expected: str) -> PydanticCustomError:
    return PydanticCustomError("dlm_type", "must be {expected}", {"expected": expected})


def _whole(value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong("a whole number")
    if not -_INT64 <= value < _INT64:
        raise PydanticCustomError("dlm_range", "must fit in 64 bits")
    return value


def _real(value: object) -> float:
    if isinstance(value, str) and _REAL.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("a number")
    try:
        return float(value)
    except OverflowError:
        raise PydanticCustomError("dlm_range", "must be a finite number") from None


def _auto_or_count(value: object) -> object:
    if value == "auto" and isinstance(value, str):
        return value
    try:
        count = _whole(value)
    except PydanticCustomError:
        raise _wrong('"auto" or a whole number of at least 1') from None
    if count < 1:
        raise PydanticCustomError("dlm_range", 'must be "auto" or at least 1')
    return count


def _auto_or_names(value: object) -> object:
    if value == "auto" and isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    raise _wrong('"auto" or a list of module names')


def _adapter_name(value: object) -> object:
    if isinstance(value, str) and ADAPTER_NAME.fullmatch(value):
        return value
    raise PydanticCustomError(
        "dlm_adapter_name",
        "an adapter name is a lower-case letter and then at most 31 of a-z, 0-9 and _",
    )


def _dlm_id(value: object) -> object:
    if isinstance(value, str) and DLM_ID.fullmatch(value):
        return value
    raise PydanticCustomError("dlm_id", "must be a ULID: 26 upper-case letters and digits")


Whole = Annotated[int, BeforeValidator(_whole)]
Real = Annotated[float, BeforeValidator(_real)]
AutoOrCount = Annotated[Literal["auto"] | int, BeforeValidator(_auto_or_count)]
AutoOrNames = Annotated[Literal["auto"] | tuple[str, ...], BeforeValidator(_auto_or_names)]
AdapterName = Annotated[str, BeforeValidator(_adapter_name)]
DlmId = Annotated[str, BeforeValidator(_dlm_id)]
NonBlank = Annotated[str, Field(min_length=1, pattern=r"\S")]

Rank = Annotated[Whole, Field(ge=1, le=256)]
AtLeastOne = Annotated[Whole, Field(ge=1)]
Dropout = Annotated[Real, Field(ge=0, le=0.5)]
Positive = Annotated[Real, Field(gt=0)]
Fraction = Annotated[Real, Field(ge=0, le=1)]
AdapterKind = Literal["lora", "qlora", "dora"]


class Closed(BaseModel):
    """Frozen; unknown keys refused; no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PreferenceHyperparams(Closed):
    beta: Fraction = Field(
        default=0.1,
        description="DPO: how closely the reference is kept to; larger is closer. Not 0.",
    )
    alpha: Fraction = Field(default=0.1, description="ORPO: weight of the odds term.")
    learning_rate: Positive = Field(
        default=5e-6,
        description="Learning rate of the preference phase. "
        "Left out: chosen, so that it learns in a few dozen steps.",
    )
    num_epochs: AtLeastOne = Field(
        default=1,
        description="Passes over the preferences. Left out: until every one is preferred.",
    )


class Preference(Closed):
    enabled: bool = Field(
        default=False,
        description="Learn from the preference sections after the questions. "
        "Left out: yes, where there are any.",
    )
    method: Literal["dpo", "orpo"] = Field(
        default="dpo", description="Which loss the preferences use."
    )
    hyperparams: PreferenceHyperparams = Field(
        default=PreferenceHyperparams(), description="Numbers of the preference phase."
    )
    loss_type: Literal["sigmoid", "hinge", "ipo"] = Field(
        default="sigmoid", description="Form of the DPO loss."
    )
    reference: Literal["base", "pre_adapter"] = Field(
        default="pre_adapter",
        description="What DPO compares with: the base, or the adapter before this phase.",
    )


class Cpt(Closed):
    schedule: Literal["auto", "dapt", "sft"] = Field(
        default="auto",
        description="How prose is learned: in passes, at a rate that rises slowly and falls as a "
        "cosine does (`dapt`), or until the answers are known (`sft`). `auto` is the first where "
        "more than seven tenths of what is learned, in tokens, is prose.",
    )
    embed_warmup_steps: Annotated[Whole, Field(ge=0)] = Field(
        default=0,
        description="Steps before the others that train the embeddings of the document's own "
        "tokens, which are saved and exported with the adapter. Not with `training.gate` or on "
        "several processes; see docs/learning.md.",
    )


class Gate(Closed):
    enabled: bool = Field(
        default=False,
        description="Learn how much each named adapter has to say about a question, and ask "
        "them so. See docs/adapters.md.",
    )
    hidden_proj_dim: Annotated[Whole, Field(ge=8, le=2048)] = Field(
        default=64, description="Width of the gate's hidden layer."
    )
    steps: Annotated[Whole, Field(ge=1, le=10_000)] = Field(
        default=200, description="Steps the gate is trained for."
    )
    lr: Annotated[Real, Field(gt=0, le=1)] = Field(
        default=3e-4, description="Learning rate of the gate."
    )
    cold_start_floor: Annotated[Whole, Field(ge=1, le=1024)] = Field(
        default=4,
        description="Examples per adapter below which every adapter counts alike.",
    )
    entropy_lambda: Fraction = Field(
        default=0.01,
        description="Pull towards using more than one adapter.",
    )


class Cache(Closed):
    enabled: bool = Field(
        default=True,
        description="Keep the tokens of texts, and what is known of source files, between runs.",
    )
    max_bytes: AtLeastOne = Field(
        default=10_737_418_240,
        description="Size of that cache in bytes, which all documents of a home share; "
        "after a run of this document it is no larger.",
    )
    prune_older_than_days: AtLeastOne = Field(
        default=90, description="After so many days without use an entry leaves it."
    )


class Audio(Closed):
    auto_resample: bool = Field(
        default=False,
        description="Resample audio that has another rate than the base wants. "
        "This version, whose bases read text only, refuses to train with `true`.",
    )


class Adapter(Closed):
    """One entry of `training.adapters`."""

    adapter: AdapterKind = Field(
        default="lora", description="Kind of this adapter, as `training.adapter` has it."
    )
    lora_r: Rank = Field(default=8, description="Rank of this adapter. Left out: planned.")
    lora_alpha: AtLeastOne = Field(
        default=16, description="Scale of this adapter, divided by its rank. Left out: planned."
    )
    lora_dropout: Dropout = Field(
        default=0.05,
        description="Share of this adapter's inputs dropped while training. Left out: none.",
    )
    target_modules: AutoOrNames = Field(
        default="auto",
        description="Linear layers with this adapter; `auto` means all of the base's.",
    )
    learning_rate: Positive = Field(
        default=2e-4, description="Peak learning rate of this adapter. Left out: planned."
    )


class Source(Closed):
    """One entry of `training.sources`."""

    path: NonBlank = Field(
        description="The file or folder, relative to the document's folder "
        "(to the folder above, where that is `.dlm`)."
    )
    include: tuple[str, ...] = Field(default=("**/*",), description="Patterns of files to take.")
    exclude: tuple[str, ...] = Field(default=(), description="Patterns of files to leave.")
    max_bytes_per_file: AtLeastOne | None = Field(
        default=None, description="Larger files are left out. Null: those above 16 MiB."
    )
    max_files: AtLeastOne | None = Field(
        default=None, description="At most so many files. Null: no limit."
    )


class Training(Closed):
    adapter: AdapterKind = Field(
        default="lora",
        description="Plain LoRA, LoRA on a base in 4 bits (`qlora`, on NVIDIA GPUs and CPUs "
        "with bitsandbytes), or weight-decomposed LoRA.",
    )
    lora_r: Rank = Field(default=8, description="Rank of the adapter. Left out: planned.")
    lora_alpha: AtLeastOne = Field(
        default=16, description="Scale of the adapter, divided by the rank. Left out: planned."
    )
    lora_dropout: Dropout = Field(
        default=0.05, description="Share of adapter inputs dropped while training. Left out: none."
    )
    target_modules: AutoOrNames = Field(
        default="auto", description="Linear layers with an adapter; `auto` means all of the base's."
    )
    sequence_len: Annotated[Whole, Field(ge=64, le=32_768)] = Field(
        default=2048,
        description="Longest row in tokens, as far as the base can look back; "
        "longer prose is cut into several rows.",
    )
    micro_batch_size: AutoOrCount = Field(
        default="auto",
        description="Most rows per forward pass, which takes up to 640 tokens, or one row that is "
        "longer. `auto`: as many rows as that is, in fewer tokens where memory is short.",
    )
    grad_accum: AutoOrCount = Field(
        default="auto",
        description="Forward passes per step. `auto`: all of a short document, about 1600 tokens "
        "of a longer one; with `micro_batch_size` towards 8 rows.",
    )
    learning_rate: Positive = Field(
        default=2e-4, description="Peak learning rate. Left out: planned."
    )
    num_epochs: AtLeastOne = Field(
        default=3, description="Passes over the rows. Left out: until everything is learned."
    )
    optimizer: Literal[
        "adamw_torch", "adamw_bnb_8bit", "paged_adamw_8bit", "galore_adamw", "galore_adamw_8bit"
    ] = Field(
        default="adamw_torch",
        description="AdamW, its moments in 32 bits, or in 8 (with bitsandbytes, on an NVIDIA GPU "
        "or a CPU; paged ones on the GPU only). GaLore's two keep them of a quarter of the "
        "directions of a gradient. See docs/learning.md.",
    )
    lr_scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="Shape of the learning rate after warm-up. Left out: linear."
    )
    warmup_ratio: Dropout = Field(
        default=0.1,
        description="Share of the steps with a rising learning rate. Left out: 3 steps.",
    )
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(
        default=None,
        description="Number format of the base while training. Null: what this machine is fast "
        "in. `fp16` is refused, because its gradients overflow.",
    )
    seed: Whole = Field(default=42, description="Decides initial values, order and dropout.")
    preference: Preference = Field(
        default=Preference(), description="The phase that learns from preference sections."
    )
    cpt: Cpt = Field(default=Cpt(), description="How prose is learned.")
    gate: Gate = Field(default=Gate(), description="The choice among named adapters per prompt.")
    cache: Cache = Field(default=Cache(), description="The cache of tokens.")
    audio: Audio = Field(default=Audio(), description="How audio sections are read.")
    adapters: dict[AdapterName, Adapter] | None = Field(
        default=None,
        description="Named adapters; sections choose one with `#name`. See docs/adapters.md.",
    )
    sources: tuple[Source, ...] | None = Field(
        default=None,
        description="Files and folders whose text is learned as prose; see docs/sources.md.",
    )
    sources_policy: Literal["permissive", "strict"] = Field(
        default="permissive",
        description="Whether sources may lie outside the document's folder (`permissive`), "
        "or not (`strict`). No file outside its own source is ever read.",
    )

    @model_validator(mode="after")
    def _no_conflicts(self) -> Training:
        conflicts = _conflicts(self)
        if conflicts:
            message = "; ".join(f"{'.'.join(path)} {why}" for path, why in conflicts)
            context = {"message": message, "conflicts": conflicts}
            raise PydanticCustomError("dlm_conflict", "{message}", context)
        return self


#: fields of `training` that are planned when they are left out, whatever their default says
PLANNED_FIELDS = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "learning_rate",
    "num_epochs",
    "lr_scheduler",
    "warmup_ratio",
)

#: settings of the single adapter, which have no meaning beside named adapters
FLAT_ADAPTER_FIELDS = (
    "adapter",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "learning_rate",
)


def _conflicts(training: Training) -> tuple[tuple[tuple[str, ...], str], ...]:
    """Rules that need more than one field, as (path below `training`, what is wrong)."""
    found: list[tuple[tuple[str, ...], str]] = []
    if training.adapters is not None and not training.adapters:
        found.append((("adapters",), "must name at least one adapter, or be left out"))
    if training.gate.enabled and len(training.adapters or {}) < 2:
        found.append((("gate", "enabled"), "needs at least two entries in training.adapters"))
    for name in FLAT_ADAPTER_FIELDS if training.adapters else ():
        if getattr(training, name) != Training.model_fields[name].default:
            found.append(
                ((name,), "has no meaning beside training.adapters; set it in each adapter")
            )
    return tuple(found)


class Export(Closed):
    default_quant: Literal["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"] = Field(
        default="Q4_K_M", description="Quantisation of `dlm export` without `--quant`."
    )
    default_temperature: Annotated[Real, Field(gt=0, le=2)] | None = Field(
        default=None,
        description="Temperature of answers in `dlm prompt` and in exports. "
        "Null: the likeliest words in `dlm prompt`, the base's own in exports.",
    )
    default_top_p: Annotated[Real, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Top-p of answers in `dlm prompt` and in exports. "
        "Null: not used in `dlm prompt`, the base's own in exports.",
    )


class Frontmatter(Closed):
    dlm_id: DlmId = Field(
        description="Names the document's store. Written by `dlm init`, never changed by hand."
    )
    dlm_version: Annotated[Whole, Field(ge=1, le=CURRENT_VERSION)] = Field(
        default=CURRENT_VERSION, description="Version of the format. A missing key means 1."
    )
    base_model: NonBlank = Field(
        description="The base: a name of the registry, `hf:org/name`, "
        "or a folder (`./`, `/`, `~/`)."
    )
    training: Training = Field(
        default=Training(), description="How the document is learned. Left out: planned."
    )
    export: Export = Field(default=Export(), description="How the model is exported and asked.")
    system_prompt: str | None = Field(
        default=None,
        description="Put before every question, in training, in `dlm prompt` and in exports.",
    )
