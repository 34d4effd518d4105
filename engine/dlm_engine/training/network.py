"""The base with its adapter, cut where training begins.

With adapters on the last layers only, what enters the first of them is a pure function
of base and tokens: the trunk runs once per pack and its output is kept for every step
(576 floats a token for SmolLM2-135M). Backward stops there too. The cut is made by giving
two shallow copies of the base's own transformer a part of its layers each, so every
layer computed is the library's; nothing of a model is written again here.

Families whose transformer does something to its input besides running layers (Gemma
scales embeddings) are not cut: all their layers are trained.

An adapter may have embeddings of its own for some tokens, in the form PEFT has for them; they
are there before the trunk runs and stay as they are.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from dlm_engine.bases import Weights
from dlm_engine.data.packs import Pack
from dlm_engine.errors import TrainingError
from dlm_engine.hardware import CUTTABLE
from dlm_engine.inference.rows import ROWS, settle_rows
from dlm_engine.training.attention import attending
from dlm_engine.training.divided import divided_of
from dlm_engine.training.loss import head_loss
from dlm_engine.training.lowrank import narrowable, narrowed


@dataclass(frozen=True)
class Wiring:
    """How the adapter is attached. `layers` counts from the end; all of them when None."""

    kind: str
    rank: int
    alpha: int
    dropout: float
    target_modules: tuple[str, ...]
    layers: int | None
    seed: int
    checkpointing: bool = False
    #: ids of the tokens that have embeddings of their own (`warmup.py`)
    tokens: tuple[int, ...] = ()


class Trainee:
    """A base with one trainable adapter, and the pass from packs to final hidden states."""

    def __init__(self, base: Any, wiring: Wiring) -> None:
        from peft import LoraConfig, get_peft_model

        self.wiring = wiring
        self.inner = base.model
        if wiring.checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        elif getattr(self.inner.layers[0], "gradient_checkpointing", False):
            # A base that stays in memory may come from a run that needed it.
            base.gradient_checkpointing_disable()
        depth = len(self.inner.layers)
        cuttable = base.config.model_type in CUTTABLE
        trained = depth if wiring.layers is None or not cuttable else min(wiring.layers, depth)
        self.cut = depth - trained
        self.cuttable = cuttable
        config = LoraConfig(
            r=wiring.rank,
            lora_alpha=wiring.alpha,
            lora_dropout=wiring.dropout,
            target_modules=list(wiring.target_modules),
            layers_to_transform=list(range(self.cut, depth)) if self.cut else None,
            use_dora=wiring.kind == "dora",
            trainable_token_indices=list(wiring.tokens) or None,
            task_type="CAUSAL_LM",
        )
        #: the base's, and as it is with the embeddings of the adapter
        self._base_head: torch.nn.Parameter = base.get_output_embeddings().weight
        self._head: torch.Tensor = self._base_head
        self.tied = self._head is base.get_input_embeddings().weight
        self.model = get_peft_model(base, config)
        self.config = config
        self.divided = divided_of(base)
        self.soft_cap: float | None = getattr(base.config, "final_logit_softcapping", None)
        self.device = self._head.device
        self.dtype = self.inner.norm.weight.dtype
        self._draw_adapter(wiring.seed)
        if self.divided and wiring.kind == "dora":
            self._measure_magnitudes()
        # A checkpointed layer is computed once more in the backward pass, in PEFT's way.
        self._swift = (
            self.device.type == "cpu" and self.dtype == torch.bfloat16 and not wiring.checkpointing
        )
        modules = self.adapted().values() if self._swift else ()
        self._narrowable = [module for module in modules if narrowable(module)]
        if cuttable:
            self._trunk = _part(self.inner, 0, self.cut)
            self._top = _part(self.inner, self.cut, depth)

    @property
    def head(self) -> torch.Tensor:
        """(V, H) what makes logits of hidden states."""
        return self.divided.whole(self._base_head) if self.divided else self._head

    @property
    def base_head(self) -> torch.Tensor:
        """Likewise of the base without the embeddings of the adapter."""
        return self.divided.whole(self._base_head) if self.divided else self._base_head

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Trainable tensors by the names PEFT gives them, sorted."""
        named = ((n, p) for n, p in self.model.named_parameters() if p.requires_grad)
        return dict(sorted((n, p) for n, p in named if ROWS not in n))

    @torch.no_grad()
    def put_rows(self, rows: torch.Tensor) -> None:
        """Have `rows`, (n, H), as the embeddings of `wiring.tokens` from here on.

        Raises:
            TrainingError: they are of another number or width.
        """
        own = self.inner.get_input_embeddings().token_adapter.trainable_tokens_delta["default"]
        if rows.shape != own.shape:
            raise TrainingError(
                "the adapter's embeddings", "are not of this base", "train with --fresh"
            )
        own.copy_(rows)
        settle_rows(self.model)
        if self.tied:
            self._head = self.model.get_base_model().get_output_embeddings().weight

    @torch.no_grad()
    def take_over(self, tensors: dict[str, torch.Tensor]) -> None:
        """Put an earlier adapter of at most this rank, as PEFT saves it, into the first rows
        of every lora_A and the first columns of every lora_B; what is further is zero in B. Its
        embeddings become these.

        Raises:
            TrainingError: it adapts other modules, or more than fits.
        """
        for name, module in self.adapted().items():
            for part, dim in (("lora_A", 0), ("lora_B", 1)):
                weight = getattr(module, part)["default"].weight
                earlier = tensors.get(f"{name}.{part}.weight")
                room = earlier is not None and earlier.shape[dim] <= weight.shape[dim]
                if earlier is None or not room or earlier.shape[1 - dim] != weight.shape[1 - dim]:
                    raise TrainingError(
                        f"{name}.{part}", "is not what this adapter has there", "train with --fresh"
                    )
                if part == "lora_B":
                    weight.zero_()
                weight.narrow(dim, 0, earlier.shape[dim]).copy_(earlier)
            magnitude = tensors.get(f"{name}.lora_magnitude_vector")
            if magnitude is not None:
                module.lora_magnitude_vector["default"].weight.copy_(magnitude)
        for name, tensor in tensors.items():
            if name.endswith(ROWS):
                self.put_rows(tensor)

    def train_columns_from(self, first: int) -> None:
        """Let gradients reach only the columns of every lora_B from column `first` on."""
        for module in self.adapted().values():
            weight = module.lora_B["default"].weight
            open_ = torch.zeros_like(weight)
            open_[:, first:] = 1
            weight.register_hook(lambda gradient, open_=open_: gradient * open_)

    def freeze_listening(self) -> None:
        """Keep every lora_A as it is."""
        for module in self.adapted().values():
            module.lora_A["default"].weight.requires_grad_(False)

    @contextmanager
    def base_alone(self) -> Iterator[None]:
        """Compute as the base does inside. PEFT's own way leaves every tensor of the adapter
        trainable behind it, those that were not before too."""
        trained = {name for name, p in self.model.named_parameters() if p.requires_grad}
        try:
            with self.model.disable_adapter():
                yield
        finally:
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_(name in trained)

    @contextmanager
    def magnitudes_following(self) -> Iterator[None]:
        """Multiply every magnitude of DoRA by what its row of W + BA grows by inside.

        Aimed directions are long, so BA soon outweighs W. DoRA divides by the length of
        their sum and would give W less say at every step; its magnitudes, as numbers of
        the size of that length, could not make up for it at the rate of B.
        """
        if self.wiring.kind != "dora":
            yield
            return
        before = self._lengths()
        yield
        after = self._lengths()
        with torch.no_grad():
            for name, module in self.adapted().items():
                magnitude = module.lora_magnitude_vector["default"].weight
                magnitude.mul_(after[name] / before[name])

    @torch.no_grad()
    def _lengths(self) -> dict[str, torch.Tensor]:
        """(rows,) float32 lengths of the rows of W + BA, by adapted module."""
        found = {}
        for name, module in self.adapted().items():
            a, b = (getattr(module, part)["default"].weight for part in ("lora_A", "lora_B"))
            weight = module.base_layer.weight
            weight = self.divided.whole(weight) if self.divided else weight
            whole = weight.float() + module.scaling["default"] * (b @ a)
            found[name] = torch.linalg.vector_norm(whole, dim=1)
        return found

    @torch.no_grad()
    def _measure_magnitudes(self) -> None:
        """As PEFT does where DoRA is put on, which it was while no weight was there."""
        lengths = self._lengths()
        for name, module in self.adapted().items():
            rounded = lengths[name].to(module.base_layer.weight.dtype)
            module.lora_magnitude_vector["default"].weight.copy_(rounded)

    def adapted(self) -> dict[str, Any]:
        """The adapted linear modules by name, sorted."""
        found = {
            name: module
            for name, module in self.model.named_modules()
            if isinstance(getattr(module, "lora_A", None), torch.nn.ModuleDict)
        }
        return dict(sorted(found.items()))

    @torch.no_grad()
    def trunk(self, pack: Pack) -> torch.Tensor | None:
        """(1, N, H) what enters the first trained layer; None where the base is not cut, unless
        the adapter has embeddings, which PEFT would take off together with it."""
        if not self.cuttable and not self.wiring.tokens:
            return None
        if not self.cut:
            embedded: torch.Tensor = self.inner.get_input_embeddings()(pack.input_ids)
            return embedded
        return self._run(self._trunk, pack, inputs_embeds=None)

    def hidden(self, pack: Pack, trunk: torch.Tensor | None) -> torch.Tensor:
        """(M, H) final hidden states at the supervised positions of `pack`."""
        module = self._top if self.cuttable and trunk is not None else self.inner
        states = self._run(module, pack, inputs_embeds=trunk)
        return states[0].index_select(0, pack.select)

    def hidden_from(self, pack: Pack, embedded: torch.Tensor) -> torch.Tensor:
        """Likewise through all layers, from embeddings (1, N, H)."""
        states = self._run(self.inner, pack, inputs_embeds=embedded)
        return states[0].index_select(0, pack.select)

    def keep_up(self, pack: Pack, trunk: torch.Tensor | None) -> None:
        """Go through a pass, and back where gradients are kept, that counts for nothing."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            hidden = self.hidden(pack, trunk)
            losses = head_loss(hidden, self.head, pack.labels, self.soft_cap)
            if torch.is_grad_enabled():
                (0.0 * losses.sum()).backward()

    def _run(self, module: Any, pack: Pack, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        floor = torch.finfo(self.dtype).min
        mask = torch.zeros(pack.mask.shape, dtype=self.dtype, device=self.device)
        mask.masked_fill_(~pack.mask, floor)
        given = (
            {"input_ids": pack.input_ids}
            if inputs_embeds is None
            else {"inputs_embeds": inputs_embeds}
        )
        attention = attending(self.inner.config, pack.tokens) if self._swift else nullcontext()
        watching = self.divided.watching() if self.divided else nullcontext()
        with attention, narrowed(self._narrowable), watching:
            states: torch.Tensor = module(
                **given, position_ids=pack.positions, attention_mask=mask, use_cache=False
            ).last_hidden_state
        return states

    def _draw_adapter(self, seed: int) -> None:
        """Own random numbers for every tensor, from its name: no global state is read."""
        for name, module in self.adapted().items():
            weight = module.lora_A["default"].weight
            digest = sha256(f"{seed}\0{name}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
            bound = 1 / math.sqrt(weight.shape[1])
            drawn = torch.rand(weight.shape, generator=generator) * (2 * bound) - bound
            with torch.no_grad():
                weight.copy_(drawn)


def _part(inner: Any, start: int, stop: int) -> Any:
    """A transformer over some of `inner`'s layers; shares every module with it."""
    part = copy.copy(inner)
    part._modules = dict(inner._modules)
    part._modules["layers"] = torch.nn.ModuleList(list(inner.layers)[start:stop])
    part.config = copy.copy(inner.config)
    part.config.num_hidden_layers = stop - start
    if getattr(inner.config, "layer_types", None):
        part.config.layer_types = list(inner.config.layer_types)[start:stop]
    if stop < len(inner.layers):
        part._modules["norm"] = torch.nn.Identity()
    return part


def adapter_files(trainee: Trainee, weights: Weights) -> dict[str, bytes]:
    """The adapter in PEFT's own format, byte for byte the same for the same tensors.

    The base is named by its hub id (its folder's name for a local one), never by a path
    of this machine. Names and lists are sorted, as sets have no order of their own.
    """
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(trainee.model)
    tensors = {name: t.detach().to("cpu").contiguous() for name, t in sorted(state.items())}
    spec = weights.spec
    described = trainee.model.peft_config["default"].to_dict()
    described["base_model_name_or_path"] = spec.hf_id or Path(weights.path).name
    described["revision"] = spec.revision if spec.hf_id else None
    described["inference_mode"] = True
    plain = {key: sorted(v) if isinstance(v, set) else v for key, v in described.items()}
    plain["target_modules"] = sorted(trainee.wiring.target_modules)
    text = json.dumps(plain, indent=2, sort_keys=True, default=str) + "\n"
    return {
        "adapter_model.safetensors": save(tensors, metadata={"format": "pt"}),
        "adapter_config.json": text.encode(),
    }
