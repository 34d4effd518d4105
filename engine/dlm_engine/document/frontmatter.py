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
    beta: Fraction = 0.1
    alpha: Fraction = 0.1
    learning_rate: Positive = 5e-6
    num_epochs: AtLeastOne = 1


class Preference(Closed):
    enabled: bool = False
    method: Literal["dpo", "orpo"] = "dpo"
    hyperparams: PreferenceHyperparams = PreferenceHyperparams()
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    reference: Literal["base", "pre_adapter"] = "pre_adapter"


class Cpt(Closed):
    schedule: Literal["auto", "dapt", "sft"] = "auto"
    embed_warmup_steps: Annotated[Whole, Field(ge=0)] = 0


class Gate(Closed):
    enabled: bool = False
    hidden_proj_dim: Annotated[Whole, Field(ge=8, le=2048)] = 64
    steps: Annotated[Whole, Field(ge=1, le=10_000)] = 200
    lr: Annotated[Real, Field(gt=0, le=1)] = 3e-4
    cold_start_floor: Annotated[Whole, Field(ge=1, le=1024)] = 4
    entropy_lambda: Fraction = 0.01


class Cache(Closed):
    enabled: bool = True
    max_bytes: AtLeastOne = 10_737_418_240
    prune_older_than_days: AtLeastOne = 90


class Audio(Closed):
    auto_resample: bool = False


class Adapter(Closed):
    """One entry of `training.adapters`."""

    adapter: AdapterKind = "lora"
    lora_r: Rank = 8
    lora_alpha: AtLeastOne = 16
    lora_dropout: Dropout = 0.05
    target_modules: AutoOrNames = "auto"
    learning_rate: Positive = 2e-4


class Source(Closed):
    """One entry of `training.sources`."""

    path: NonBlank
    include: tuple[str, ...] = ("**/*",)
    exclude: tuple[str, ...] = ()
    max_bytes_per_file: AtLeastOne | None = None
    max_files: AtLeastOne | None = None


class Training(Closed):
    adapter: AdapterKind = "lora"
    lora_r: Rank = 8
    lora_alpha: AtLeastOne = 16
    lora_dropout: Dropout = 0.05
    target_modules: AutoOrNames = "auto"
    sequence_len: Annotated[Whole, Field(ge=64, le=32_768)] = 2048
    micro_batch_size: AutoOrCount = "auto"
    grad_accum: AutoOrCount = "auto"
    learning_rate: Positive = 2e-4
    num_epochs: AtLeastOne = 3
    optimizer: Literal[
        "adamw_torch", "adamw_bnb_8bit", "paged_adamw_8bit", "galore_adamw", "galore_adamw_8bit"
    ] = "adamw_torch"
    lr_scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Dropout = 0.1
    precision: Literal["bf16", "fp16", "fp32"] | None = None
    seed: Whole = 42
    preference: Preference = Preference()
    cpt: Cpt = Cpt()
    gate: Gate = Gate()
    cache: Cache = Cache()
    audio: Audio = Audio()
    adapters: dict[AdapterName, Adapter] | None = None
    sources: tuple[Source, ...] | None = None
    sources_policy: Literal["permissive", "strict"] = "permissive"

    @model_validator(mode="after")
    def _no_conflicts(self) -> Training:
        conflicts = _conflicts(self)
        if conflicts:
            message = "; ".join(f"{'.'.join(path)} {why}" for path, why in conflicts)
            context = {"message": message, "conflicts": conflicts}
            raise PydanticCustomError("dlm_conflict", "{message}", context)
        return self


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
    default_quant: Literal["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"] = "Q4_K_M"
    default_temperature: Annotated[Real, Field(gt=0, le=2)] | None = None
    default_top_p: Annotated[Real, Field(gt=0, le=1)] | None = None


class Frontmatter(Closed):
    dlm_id: DlmId
    dlm_version: Annotated[Whole, Field(ge=1, le=CURRENT_VERSION)] = CURRENT_VERSION
    base_model: NonBlank
    training: Training = Training()
    export: Export = Export()
    system_prompt: str | None = None
