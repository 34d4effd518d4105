"""The learned gate: how much each named adapter has to say about a question.

A question is what the bare base makes of it, the mean of its last hidden states; two linear
layers turn that into one weight for each adapter, which together are 1. The invariant: a gate is
used only for the very versions it was trained beside, on the base it was trained on. When an
adapter has moved (trained, rolled back, renamed) since, asking says so and does not guess.
`gate_config.json` is written last and names the weights by their hash, so what a killed process
left half written is no gate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load

from dlm_engine.data.chat import Chat
from dlm_engine.errors import InferenceError

CONFIG_NAME: Final = "gate_config.json"
WEIGHTS_NAME: Final = "gate.safetensors"
#: Of a question, at most so many tokens are looked at.
_TOKENS: Final = 512


class GateConfig(BaseModel):
    """`gate_config.json`. uniform: too few questions to learn from, `reason` says of which."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter_names: tuple[str, ...]
    adapter_versions: dict[str, int]
    base_sha256: str
    entropy_lambda: float
    fingerprint: str
    hidden_proj_dim: int
    input_dim: int
    mode: Literal["trained", "uniform"]
    reason: str = ""
    weights_sha256: str | None = None


@dataclass(frozen=True)
class Gate:
    config: GateConfig
    tensors: Mapping[str, torch.Tensor]

    def weights(self, features: torch.Tensor) -> torch.Tensor:
        """(n, adapters) for (n, d) questions; every row sums to 1."""
        if self.config.mode == "uniform":
            count = len(self.config.adapter_names)
            return torch.full((len(features), count), 1 / count, dtype=torch.float64)
        return torch.softmax(logits(self.tensors, features), dim=1)


def logits(tensors: Mapping[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    hidden = features @ tensors["0.weight"].t() + tensors["0.bias"]
    hidden = torch.nn.functional.gelu(hidden)
    return hidden @ tensors["2.weight"].t() + tensors["2.bias"]


@torch.inference_mode()
def features(base: Any, chat: Chat, texts: Sequence[str]) -> torch.Tensor:
    """(n, d) what the base, with no adapter at work, makes of each text."""
    inner, device = _transformer(base), next(base.parameters()).device
    rows = []
    for text in texts:
        ids = (chat.ids(text) or [chat.facts.eos_id])[:_TOKENS]
        states = inner(input_ids=torch.tensor([ids], device=device), use_cache=False)
        rows.append(states.last_hidden_state[0].to("cpu", torch.float64).mean(dim=0))
    return torch.stack(rows)


def _transformer(base: Any) -> Any:
    """The layers without the head, also beneath an adapter that is switched off."""
    model = base.get_base_model() if hasattr(base, "get_base_model") else base
    return model.model


def read_gate(folder: Path) -> Gate | None:
    """The gate in `folder`, None when there is none.

    Raises:
        InferenceError: it is damaged, or was never finished.
    """
    try:
        config = GateConfig.model_validate_json((folder / CONFIG_NAME).read_bytes())
        if config.mode == "uniform":
            return Gate(config, {})
        data = (folder / WEIGHTS_NAME).read_bytes()
        if sha256(data).hexdigest() != config.weights_sha256:
            raise _unusable("was not finished, or was changed")
        tensors = load(data)
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, SafetensorError) as error:
        raise _unusable(f"cannot be read ({type(error).__name__})") from error
    return Gate(config, {name: tensor.double() for name, tensor in tensors.items()})


def require_gate(folder: Path, versions: Mapping[str, int], base_sha256: str) -> Gate:
    """The gate in `folder`, made beside these current versions on this base.

    Raises:
        InferenceError: there is none, or it was trained for others.
    """
    gate = read_gate(folder)
    if gate is None:
        raise _unusable("has not been trained yet")
    if gate.config.adapter_versions != dict(versions):
        had = ", ".join(f"{name} {number}" for name, number in gate.config.adapter_versions.items())
        now = ", ".join(f"{name} {number}" for name, number in versions.items())
        raise _unusable(f"was trained for versions {had}, and current are {now}")
    if gate.config.base_sha256 != base_sha256:
        raise _unusable("was trained on another base")
    return gate


def _unusable(problem: str) -> InferenceError:
    return InferenceError("the gate", problem, "run `dlm train`, or choose with --adapter")
