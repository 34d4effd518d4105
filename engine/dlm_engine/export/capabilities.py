"""What each target can carry of an adapter, in one table, decided before anything starts.

An adapter is read without loading a model: its config and the names and shapes in its
safetensors header. From these come the capabilities it uses; `TABLE` says for every
route what becomes of each: carried as is, folded into the numbers, merged into the
weights, or refused. The table is the whole truth: no other module decides. Why not ask
llama.cpp's own converter: it writes rsLoRA adapters with the wrong scale, without a
word, and ends with a stack trace on the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from pathlib import Path
from typing import Any

from dlm_engine.errors import ExportError
from dlm_engine.export.model import (
    BYTES_PER_PARAMETER,
    ExportAdapter,
    ExportOptions,
    ExportRequest,
    Form,
    Quant,
    Target,
)


class Capability(StrEnum):
    """Something an adapter can make use of."""

    LORA = "LoRA"
    RSLORA = "rank-stabilised scale"
    RANK_PATTERN = "ranks that differ by module"
    ALPHA_PATTERN = "scales that differ by module"
    LAYERS = "some layers only"
    DORA = "DoRA"
    TRAINED_MODULES = "fully trained modules"
    EMBEDDING_ROWS = "embeddings of its own for some tokens"
    EMBEDDING_LORA = "LoRA on the embeddings"
    BIAS = "trained biases"
    PARAMETERS = "LoRA on bare parameters (experts)"
    TRANSPOSED = "LoRA on transposed layers"
    TIED_HEAD = "LoRA on a head tied to the embeddings"
    FOUR_BIT = "trained against a 4-bit base"
    OTHER_METHOD = "an adapter that is not LoRA"


#: In the name of the tensor that holds embeddings of an adapter's own, as PEFT has it.
ROWS = "trainable_tokens_delta"


class Handling(StrEnum):
    NATIVE = "native"
    FOLDED = "folded"
    MERGED = "merged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of a capability on a route. For MERGED on an adapter route the whole
    export changes to the merged form."""

    handling: Handling
    reason: str


@dataclass(frozen=True, slots=True)
class Handled:
    capability: Capability
    rule: Rule


_N, _F, _M, _R = Handling.NATIVE, Handling.FOLDED, Handling.MERGED, Handling.REFUSED

_ADAPTER_GGUF: Mapping[Capability, Rule] = {
    Capability.LORA: Rule(_N, "A and B are written as they are"),
    Capability.RSLORA: Rule(_F, "the runtime divides alpha by the rank: scale x rank is written"),
    Capability.RANK_PATTERN: Rule(_N, "the runtime reads each module's rank from its B"),
    Capability.ALPHA_PATTERN: Rule(_F, "a file has one alpha, so B takes what differs"),
    Capability.LAYERS: Rule(_N, "layers without an adapter are simply absent"),
    Capability.DORA: Rule(_M, "the runtime has no magnitude vector"),
    Capability.TRAINED_MODULES: Rule(_M, "the runtime adds low-rank updates only"),
    Capability.EMBEDDING_ROWS: Rule(_M, "they replace the base's, and the runtime adds only"),
    Capability.EMBEDDING_LORA: Rule(_M, "runtimes disagree about adapters on token embeddings"),
    Capability.BIAS: Rule(_M, "the runtime adds low-rank updates only"),
    Capability.PARAMETERS: Rule(_M, "experts are stacked into one tensor in a GGUF"),
    Capability.TRANSPOSED: Rule(_M, "the layer is stored transposed and turned in a GGUF"),
    Capability.TIED_HEAD: Rule(_R, "the head is the embedding matrix, runtimes ignore the adapter"),
    Capability.FOUR_BIT: Rule(_N, "the adapter stays beside the weights, unrounded"),
    Capability.OTHER_METHOD: Rule(_R, "llama.cpp knows LoRA only"),
}

_MERGED_GGUF: Mapping[Capability, Rule] = {
    **{c: Rule(_M, "added to the weights in 32 bits before they are stored") for c in Capability},
    Capability.TIED_HEAD: Rule(_R, "merging into the head would change the embeddings with it"),
    Capability.FOUR_BIT: Rule(_R, "it was trained against other weights than these"),
    Capability.OTHER_METHOD: Rule(_R, "only LoRA and DoRA adapters can be merged exactly"),
}

#: Ollama is handed the same files as llama.cpp, never the PEFT folder, whose scale it
#: reads as plain LoRA.
TABLE: Mapping[tuple[Target, Form], Mapping[Capability, Rule]] = {
    (Target.GGUF, Form.ADAPTER): _ADAPTER_GGUF,
    (Target.OLLAMA, Form.ADAPTER): _ADAPTER_GGUF,
    (Target.GGUF, Form.MERGED): _MERGED_GGUF,
    (Target.OLLAMA, Form.MERGED): _MERGED_GGUF,
}

_OTHER_MATHS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_DEQUANTIZED = Rule(_M, "merged into the full-precision base, as asked with --dequantize")


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """An adapter as its folder describes it. `scales` maps each LoRA module to the factor
    that PEFT applies to B·A; `shapes` holds every tensor of the file; `tied_head` names the head
    of a base that has one matrix for both."""

    path: Path
    config: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    scales: Mapping[str, float]
    ranks: Mapping[str, int]
    capabilities: frozenset[Capability]
    tied_head: str | None = None

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that have embeddings of the adapter's own."""
        return tuple(self.config.get("trainable_token_indices") or ())


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What will happen, with reasons; shown before the first byte is written."""

    quant: Quant
    target: Target
    form: Form
    facts: AdapterFacts | None
    handled: tuple[Handled, ...]
    reasons: tuple[str, ...]
    bytes_needed: int

    @property
    def dequantized(self) -> bool:
        return any(h.rule is _DEQUANTIZED for h in self.handled)


def plan_export(request: ExportRequest, options: ExportOptions) -> ExportPlan:
    """Decide quantisation, form and the fate of every capability.

    Raises:
        ExportError: the adapter cannot be read or does not fit, or a capability is refused.
    """
    quant = options.quant or request.default_quant
    reasons = [
        f"{quant}: asked for" if options.quant else f"{quant}: the document's export.default_quant"
    ]
    if options.dequantize and not options.merged:
        raise ExportError(
            "--dequantize", "only means something for a merged export", "add --merged or drop it"
        )
    parameters = _parameters(request.base.path)
    if request.adapter is None:
        reasons.append("no adapter: the base alone is exported")
        needed = _bytes_needed(parameters, quant, Form.ADAPTER)
        return ExportPlan(quant, options.target, Form.ADAPTER, None, (), tuple(reasons), needed)
    facts = read_adapter(request.adapter, request.base.path)
    form = Form.MERGED if options.merged else Form.ADAPTER
    if form is Form.MERGED:
        reasons.append("merged: asked for")
    handled = _handled(facts, options, form)
    forcing = [h for h in handled if form is Form.ADAPTER and h.rule.handling is _M]
    if forcing:
        form = Form.MERGED
        handled = _handled(facts, options, form)
        why = "; ".join(f"{h.capability}: {h.rule.reason}" for h in forcing)
        reasons.append(f"merged: the adapter cannot be shipped as a file of its own ({why})")
    elif form is Form.ADAPTER:
        reasons.append("base and adapter in two files: the runtime adds the adapter exactly")
    refused = [h for h in handled if h.rule.handling is _R]
    if refused:
        raise ExportError(
            str(facts.path),
            "cannot be exported: " + "; ".join(f"{h.capability}: {h.rule.reason}" for h in refused),
            _remedy({h.capability for h in refused}, forced=bool(forcing)),
        )
    reasons += [
        f"{h.capability}: {h.rule.handling}, {h.rule.reason}"
        for h in handled
        if h.capability is not Capability.LORA
    ]
    needed = _bytes_needed(parameters, quant, form)
    return ExportPlan(quant, options.target, form, facts, tuple(handled), tuple(reasons), needed)


def _handled(facts: AdapterFacts, options: ExportOptions, form: Form) -> list[Handled]:
    table = TABLE[options.target, form]
    found = []
    for capability in Capability:
        if capability not in facts.capabilities:
            continue
        rule = table[capability]
        if capability is Capability.FOUR_BIT and form is Form.MERGED and options.dequantize:
            rule = _DEQUANTIZED
        found.append(Handled(capability, rule))
    return found


def _remedy(refused: set[Capability], *, forced: bool) -> str:
    if refused == {Capability.FOUR_BIT}:
        if forced:
            return "accept the difference with --merged --dequantize"
        return "export without --merged, or accept the difference with --merged --dequantize"
    if Capability.TIED_HEAD in refused:
        return "leave lm_head out of training.target_modules and train again"
    return "train the document again with adapter: lora"


# --- reading an adapter ------------------------------------------------------------------


def read_adapter(adapter: ExportAdapter, base: Path) -> AdapterFacts:
    """Read config and header, derive scales and capabilities, and compare shapes with `base`.

    Raises:
        ExportError: a file is missing or unreadable, or the adapter is for another base.
    """
    config = _json(adapter.path / "adapter_config.json", "retrain, or choose another version")
    weights = adapter.path / "adapter_model.safetensors"
    shapes = safetensors_shapes(weights)
    if not shapes:
        raise ExportError(str(weights), "holds no tensors", "retrain, or choose another version")
    ranks: dict[str, int] = {}
    for name, shape in shapes.items():
        module, _, tail = module_of(name).rpartition(".lora_A")
        if module and tail == "" and len(shape) == 2:
            ranks[module] = shape[0]
    scales = {module: _scale(config, module, rank) for module, rank in ranks.items()}
    capabilities = _capabilities(config, shapes, ranks, base)
    if _four_bit(adapter):
        capabilities.add(Capability.FOUR_BIT)
    head = "lm_head" if _tied(base) else None
    facts = AdapterFacts(adapter.path, config, shapes, scales, ranks, frozenset(capabilities), head)
    _require_fit(facts, base)
    return facts


def module_of(tensor: str) -> str:
    """`base_model.model.model.layers.0.mlp.up_proj.lora_A.weight` without prefix and suffix."""
    name = tensor.removeprefix("base_model.model.")
    for suffix in (".weight", ".default"):
        name = name.removesuffix(suffix)
    return name


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    return float(alpha) / (sqrt(rank) if config.get("use_rslora") else rank)


def _capabilities(
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    ranks: Mapping[str, int],
    base: Path,
) -> set[Capability]:
    lora = config.get("peft_type") == "LORA"
    found = {Capability.LORA} if lora else {Capability.OTHER_METHOD}
    names = set(shapes)
    flags = {
        Capability.RSLORA: bool(config.get("use_rslora")),
        Capability.RANK_PATTERN: len(set(ranks.values())) > 1,
        Capability.ALPHA_PATTERN: bool(config.get("alpha_pattern")),
        Capability.LAYERS: bool(config.get("layers_to_transform")),
        Capability.DORA: bool(config.get("use_dora"))
        or any("lora_magnitude_vector" in n for n in names),
        Capability.TRAINED_MODULES: bool(config.get("modules_to_save")),
        Capability.EMBEDDING_ROWS: bool(config.get("trainable_token_indices")),
        Capability.EMBEDDING_LORA: any("lora_embedding_" in n for n in names),
        Capability.BIAS: config.get("bias", "none") != "none" or bool(config.get("lora_bias")),
        Capability.PARAMETERS: bool(config.get("target_parameters")),
        Capability.TRANSPOSED: bool(config.get("fan_in_fan_out")),
        Capability.TIED_HEAD: _tied(base) and any(m.endswith("lm_head") for m in ranks),
    }
    known = ("lora_A", "lora_B", "lora_magnitude_vector", "lora_embedding_", ROWS)
    if lora and any(not any(k in n for k in known) for n in names):
        # Anything beside the LoRA pair is something that was trained in full.
        flags[Capability.TRAINED_MODULES] |= not flags[Capability.BIAS]
    # Variants under LoRA's name that compute something else, or change the base's layers.
    flags[Capability.OTHER_METHOD] = any(config.get(key) for key in _OTHER_MATHS)
    return found | {capability for capability, present in flags.items() if present}


def _four_bit(adapter: ExportAdapter) -> bool:
    if adapter.four_bit_base is not None:
        return adapter.four_bit_base
    for name in ("dlm_run.json", "training_run.json"):
        path = adapter.path / name
        if path.exists():
            run = _json(path, "retrain, or choose another version")
            plan = run.get("plan")
            return bool(run.get("use_qlora")) or (
                isinstance(plan, Mapping) and bool(plan.get("use_qlora"))
            )
    return False


def _require_fit(facts: AdapterFacts, base: Path) -> None:
    """Every A and B must fit the weight of the same name in the base."""
    weights = base_shapes(base)
    fan_in_first = bool(facts.config.get("fan_in_fan_out"))
    for tensor, shape in facts.shapes.items():
        module, _, part = module_of(tensor).rpartition(".")
        target = weights.get(f"{module}.weight")
        if part not in {"lora_A", "lora_B"} or Capability.PARAMETERS in facts.capabilities:
            continue
        if module == "lm_head" and target is None and _tied(base):
            continue
        rows_columns = target if not fan_in_first else tuple(reversed(target or ()))
        expected = rows_columns and (rows_columns[1] if part == "lora_A" else rows_columns[0])
        if not rows_columns or len(rows_columns) != 2 or expected not in shape:
            raise ExportError(
                str(facts.path),
                f"does not fit the base: {module} is {target or 'absent'} there, "
                f"the adapter's {part} is {shape}",
                "export with the base it was trained on, or train again",
            )


def _tied(base: Path) -> bool:
    return bool(_json(base / "config.json", "obtain the base again").get("tie_word_embeddings"))


def _json(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(str(path), "is missing", remedy) from None
    except (OSError, ValueError) as error:
        raise ExportError(str(path), f"cannot be read ({error})", remedy) from error
    if not isinstance(value, dict):
        raise ExportError(str(path), "is not a JSON object", remedy)
    return value


def safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes from the header alone; the data is not read.

    Raises:
        ExportError: missing, or not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as file:
            return {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ExportError(str(path), "is missing", "retrain, or choose another version") from None
    except (OSError, SafetensorError) as error:
        raise ExportError(
            str(path), f"cannot be read ({error})", "restore it, or train or fetch it again"
        ) from error


def base_files(base: Path) -> list[Path]:
    """The safetensors files of a base, in name order. Raises `ExportError` without any."""
    files = sorted(base.glob("*.safetensors"))
    if files:
        return files
    raise ExportError(str(base), "holds no safetensors weights", "run `dlm train` to get the base")


def base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights of a base, over all its files."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in base_files(base):
        shapes |= safetensors_shapes(path)
    return shapes


# --- space -------------------------------------------------------------------------------


def _parameters(base: Path) -> int:
    total = 0
    for shape in base_shapes(base).values():
        count = 1
        for size in shape:
            count *= size
        total += count
    return total


def _bytes_needed(parameters: int, quant: Quant, form: Form) -> int:
    """Peak of what lies on the disk at once: the 16-bit intermediate, the quantised file,
    and for a merge the 32-bit weights it comes from; plus an allowance for vocabularies."""
    intermediate = 2.05 if quant is not Quant.F16 else 0.0
    merged = 4.05 if form is Form.MERGED else 0.0
    return int(parameters * (BYTES_PER_PARAMETER[quant] + intermediate + merged)) + 64 * 2**20
