"""Training the gate over named adapters, after them and under the same lock.

What it learns from is the document itself: whatever teaches exactly one adapter is an example of
what belongs to it. Two layers of a few ten thousand weights learn that from all examples at once
in well under a second, and every adapter counts alike however much it was taught. Features are
brought to mean 0 and variance 1 while training, and that is folded into the first layer, so what
is stored takes them as the base gives them. Everything is drawn from the seed and computed in
float64: the same document gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from safetensors.torch import save

from dlm_engine.bases import Weights
from dlm_engine.case import Case
from dlm_engine.document import Document, adapter_names, teaches
from dlm_engine.document.frontmatter import Gate as GateSettings
from dlm_engine.errors import InferenceError, TrainingError
from dlm_engine.hardware import detect
from dlm_engine.inference.gate import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    Gate,
    GateConfig,
    features,
    logits,
    read_gate,
)
from dlm_engine.inference.resident import Resident
from dlm_engine.store import make_folders, write_atomic
from dlm_engine.store.layout import gate_path
from dlm_engine.training.model import (
    Choice,
    Ending,
    Listener,
    PhaseBegan,
    PhaseEnded,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.recording import Recorder, recording

#: Raise when other weights come from the same examples.
_RECIPE = 1
_PROSE_CHARACTERS = 2048


def train_gate(
    case: Case, weights: Weights, request: TrainRequest, resident: Resident, tell: Listener
) -> GateConfig | None:
    """Train and store the gate, as a run in the metrics, unless the one that is there is of this
    very document.

    None when an adapter has no version, so there is nothing to choose between. The caller
    holds the store.

    Raises:
        TrainingError: it ended in numbers that are not finite.
    """
    names = adapter_names(case.frontmatter)
    current = {name: case.store.current(name) for name in names}
    missing = [name for name, version in current.items() if version is None]
    if missing:
        tell(Status(f"gate: not trained, {', '.join(missing)} has no version"))
        return None
    seed = case.frontmatter.training.seed if request.seed is None else request.seed
    examples = examples_of(case.document)
    facts = {
        "recipe": _RECIPE,
        "names": names,
        "examples": examples,
        "settings": case.frontmatter.training.gate.model_dump(mode="json"),
        "seed": seed,
    }
    wanted = Wanted(
        names,
        {name: version.number for name, version in current.items() if version},
        tuple(examples),
        seed,
        hashlib.sha256(json.dumps(facts).encode()).hexdigest(),
    )
    kept = None if request.start is Start.FRESH else _kept(case)
    if (
        kept is not None
        and (kept.fingerprint, kept.base_sha256) == (wanted.fingerprint, weights.sha256)
        and kept.adapter_versions == wanted.versions
    ):
        return kept
    about = (request.start, case.spec.key, seed, request.dashboards)
    with recording(case.store.root, *about, tell) as recorder:
        recorder.tell(PhaseBegan("gate"))
        return _trained(case, weights, wanted, resident, recorder)


@dataclass(frozen=True)
class Wanted:
    """What a gate is made from: `versions` of the adapters `names`, and texts with their name."""

    names: tuple[str, ...]
    versions: dict[str, int]
    examples: tuple[tuple[str, str], ...]
    seed: int
    fingerprint: str


def _trained(
    case: Case, weights: Weights, wanted: Wanted, resident: Resident, recorder: Recorder
) -> GateConfig:
    began = time.monotonic()
    settings, names = case.frontmatter.training.gate, wanted.names
    counts = Counter(name for _, name in wanted.examples)
    few = [name for name in names if counts[name] < settings.cold_start_floor]
    tensors: dict[str, torch.Tensor] = {}
    width, reason = 0, ""
    if few:
        reason = (
            f"{few[0]} has {counts[few[0]]} examples, fewer than the "
            f"{settings.cold_start_floor} of training.gate.cold_start_floor"
        )
    else:
        chat = resident.chat(weights, case.frontmatter.system_prompt)
        with resident.asking(weights, detect(), None, None) as base:
            known = features(base, chat, [text for text, _ in wanted.examples])
        labels = torch.tensor([names.index(name) for _, name in wanted.examples])
        tensors = fit(known, labels, len(names), settings, wanted.seed)
        width = known.shape[1]
    data = save({name: t.float().contiguous() for name, t in tensors.items()})
    config = GateConfig(
        adapter_names=names,
        adapter_versions=wanted.versions,
        base_sha256=weights.sha256,
        entropy_lambda=settings.entropy_lambda,
        fingerprint=wanted.fingerprint,
        hidden_proj_dim=settings.hidden_proj_dim,
        input_dim=width,
        mode="uniform" if few else "trained",
        reason=reason,
        weights_sha256=None if few else hashlib.sha256(data).hexdigest(),
    )
    folder = gate_path(case.store.root)
    make_folders(folder)
    if not few:
        write_atomic(folder / WEIGHTS_NAME, data)
    text = json.dumps(config.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
    write_atomic(folder / CONFIG_NAME, text.encode())
    outcome = TrainOutcome(Ending.TRAINED, seed=wanted.seed)
    if few:
        recorder.tell(Status(f"gate: every adapter counts alike, {reason}"))
    else:
        own = Gate(config, tensors).weights(known)[torch.arange(len(labels)), labels]
        right = int((own > 0.5).sum())
        reason = (
            f"{right} of {len(labels)} examples go to their adapter, "
            f"with a mean weight of {float(own.mean()):.2f}"
        )
        recorder.tell(Status(f"gate: {reason}"))
        outcome = replace(outcome, steps=settings.steps, learned=right, rows=len(labels))
        recorder.note(PhaseEnded("gate", outcome))
    recorder.note(Choice("gate", config.mode, reason))
    recorder.ended(replace(outcome, seconds=time.monotonic() - began))
    return config


def examples_of(document: Document) -> list[tuple[str, str]]:
    """Texts with the adapter they belong to: of every section that teaches one adapter alone."""
    assert document.frontmatter is not None
    names = adapter_names(document.frontmatter)
    found: dict[tuple[str, str], None] = {}
    for section in document.sections:
        taught = teaches(section, names)
        if len(taught) != 1:
            continue
        texts = [pair.question for pair in section.pairs]
        texts += [triple.prompt for triple in section.triples]
        texts = texts or [section.content.strip()[:_PROSE_CHARACTERS]]
        found |= {(text, taught[0]): None for text in texts if text.strip()}
    return list(found)


def fit(
    known: torch.Tensor, labels: torch.Tensor, count: int, settings: GateSettings, seed: int
) -> dict[str, torch.Tensor]:
    """Weights of the two layers for features (n, d) and the number of each one's adapter.

    Raises:
        TrainingError: they are not finite.
    """
    mean, spread = known.mean(dim=0), known.std(dim=0, correction=0)
    spread = torch.where(spread > 1e-9, spread, torch.ones_like(spread))
    inputs = (known - mean) / spread
    width, hidden = known.shape[1], settings.hidden_proj_dim
    generator = torch.Generator().manual_seed(seed & (2**63 - 1))

    def drawn(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.div_(math.sqrt(shape[1])).requires_grad_()

    tensors = {
        "0.weight": drawn(hidden, width),
        "0.bias": torch.zeros(hidden, dtype=torch.float64, requires_grad=True),
        "2.weight": drawn(count, hidden),
        "2.bias": torch.zeros(count, dtype=torch.float64, requires_grad=True),
    }
    alike = 1 / torch.bincount(labels, minlength=count).double()[labels] / count
    optimiser = torch.optim.AdamW(list(tensors.values()), lr=settings.lr)
    for _ in range(settings.steps):
        optimiser.zero_grad()
        spoken = torch.log_softmax(logits(tensors, inputs), dim=1)
        missed = -(alike * spoken[torch.arange(len(labels)), labels]).sum()
        entropy = -(alike * (spoken.exp() * spoken).sum(dim=1)).sum()
        (missed - settings.entropy_lambda * entropy).backward()
        optimiser.step()
    return _as_given(tensors, mean, spread)


def _as_given(
    tensors: Mapping[str, torch.Tensor], mean: torch.Tensor, spread: torch.Tensor
) -> dict[str, torch.Tensor]:
    made = {name: tensor.detach() for name, tensor in tensors.items()}
    made["0.weight"] = made["0.weight"] / spread
    made["0.bias"] = made["0.bias"] - made["0.weight"] @ mean
    if not all(bool(torch.isfinite(tensor).all()) for tensor in made.values()):
        raise TrainingError(
            "the gate", "training ended in numbers that are not finite", "lower training.gate.lr"
        )
    return made


def _kept(case: Case) -> GateConfig | None:
    try:
        gate = read_gate(gate_path(case.store.root))
    except InferenceError:
        return None
    return gate.config if gate else None
