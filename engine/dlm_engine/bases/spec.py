"""What dlm knows about a base model before it has the weights.

Invariant: a `BaseSpec` names exactly one set of weights (a pinned hub commit, or the
fingerprint of a local folder), so two commands that hold equal specs mean the same model.
There is no field for remote code: such bases are never offered, so nothing can switch it on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
COMMIT = re.compile(r"[0-9a-f]{40}")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
FUSED_ATTENTION = ("qkv_proj", "o_proj")
FUSED_MLP = ("gate_up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a model class implies: its name in GGUF and its linear modules."""

    gguf_arch: str
    attention_modules: tuple[str, ...] = ATTENTION
    mlp_modules: tuple[str, ...] = MLP

    @property
    def linear_modules(self) -> tuple[str, ...]:
        return self.attention_modules + self.mlp_modules


ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture("llama"),
    "MistralForCausalLM": Architecture("llama"),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
    "Gemma2ForCausalLM": Architecture("gemma2"),
    "Olmo2ForCausalLM": Architecture("olmo2"),
    "SmolLM3ForCausalLM": Architecture("smollm3"),
    "Phi3ForCausalLM": Architecture("phi3", FUSED_ATTENTION, FUSED_MLP),
}


class Origin(StrEnum):
    """Where the name of a base points."""

    REGISTRY = "registry"
    HUB = "hub"
    LOCAL = "local"


class BaseSpec(BaseModel):
    """One base model, pinned.

    `revision` is the hub commit (40 hex digits) or, for a local folder, the fingerprint of
    its files (64 hex digits). `params` counts parameters; `size_gb_fp16` is in GiB;
    `context_length` and `recommended_seq_len` are tokens. `tokenizer_pre` is llama.cpp's
    label for the pre-tokenizer where it is known before the tokenizer is there; probes
    derive the real one. `target_modules` are all linear layers, attention first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(min_length=1)]
    origin: Origin = Origin.REGISTRY
    hf_id: str | None
    path: Path | None = None
    revision: str
    architecture: str
    params: Annotated[int, Field(gt=0)]
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)]
    template: str
    gguf_arch: str
    tokenizer_pre: str | None = None
    license_spdx: str
    license_url: str
    requires_acceptance: bool = False
    redistributable: bool
    size_gb_fp16: Annotated[float, Field(gt=0)]
    context_length: Annotated[int, Field(gt=0)]
    context_length_effective: Annotated[int, Field(gt=0)] | None = None
    recommended_seq_len: Annotated[int, Field(gt=0)]
    reasoning_tuned: bool = False
    capability_warning: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.origin is Origin.LOCAL:
            if self.path is None or not FINGERPRINT.fullmatch(self.revision):
                raise ValueError("a local base has a path and a 64-digit fingerprint")
        elif (
            self.hf_id is None
            or not HUB_ID.fullmatch(self.hf_id)
            or not COMMIT.fullmatch(self.revision)
        ):
            raise ValueError("a hub base has an id of the form org/name and a 40-digit commit")
        if not all(self.target_modules):
            raise ValueError("target modules must not be empty strings")
        effective = self.context_length_effective
        if effective is not None and effective > self.context_length:
            raise ValueError("the effective context is longer than the context")
        return self

    @property
    def effective_context(self) -> int:
        return self.context_length_effective or self.context_length

    @property
    def default_temperature(self) -> float:
        return 0.6 if self.reasoning_tuned else 0.7

    @property
    def slug(self) -> str:
        """Folder name in the cache: the same weights share it, whatever their key."""
        if self.hf_id is None:
            return f"local--{self.revision[:12]}"
        return slug_of(self.hf_id, self.revision)


def slug_of(hub_id: str, revision: str) -> str:
    """Folder name in the cache of a base of the hub."""
    return f"{hub_id.replace('/', '--')}--{revision[:12]}"


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights on this machine, checked: a plain Hugging Face folder.

    `sha256` covers every file of the folder (see `digest_of`), so a changed tokenizer or
    template is as visible as changed weights. `source` says where they came from.
    """

    path: Path
    spec: BaseSpec
    sha256: str
    revision: str
    source: str
