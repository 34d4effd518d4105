"""A run over the tiny base, built without a document or a store."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tests.tiny import make_model

from dlm_engine.data.packs import Pack, packs_of
from dlm_engine.data.tokens import Encoded
from dlm_engine.training.aim import aim, survey
from dlm_engine.training.network import Trainee, Wiring
from dlm_engine.training.settings import Settings
from dlm_engine.training.sft import Laid, Run

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WIRING = Wiring("lora", 8, 16, 0.0, MODULES, layers=2, seed=1)
SETTINGS = Settings(
    kind="lora",
    rank=8,
    alpha=16,
    dropout=0.0,
    target_modules=MODULES,
    layers=2,
    learning_rate=0.01,
    schedule="linear",
    warmup_steps=3,
    horizon=24,
    cap=12,
    stop_when_learned=False,
    seed=1,
    sequence_len=256,
    pack_tokens=64,
    pack_rows=None,
    packs_per_step=1,
    anchors_per_step=4,
    anchor_weight=2.0,
    grows=True,
    choices=(),
)


def rows(count: int, first: int = 10) -> list[Encoded]:
    return [
        Encoded(f"row{first + n}", "s", "chat", (1, 5, 6, 7, first + n, 40 + n, 50 + n, 2), 5)
        for n in range(count)
    ]


def trainee(wiring: Wiring = WIRING, kind: str = "llama", base: Any = None) -> Trainee:
    return Trainee(base or make_model(kind), wiring)


def lay(trained: Trainee, packs: list[Pack]) -> list[tuple[Pack, torch.Tensor | None]]:
    return [(pack, trained.trunk(pack)) for pack in packs]


def make_run(
    wiring: Wiring = WIRING, count: int = 12, *, base: Any = None, **changes: object
) -> Run:
    """`count` rows in packs of two or three, aimed against eight others."""
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    trained = trainee(wiring, base=base)
    own = lay(trained, packs_of(rows(count), 24))
    everyday = lay(trained, packs_of(rows(8, first=100), 40))
    surveyed = survey(trained, everyday)
    aim(trained, own, surveyed)
    anchors = [Laid(p, t, h) for (p, t), h in zip(everyday, surveyed.hidden, strict=True)]
    return Run(trained, settings, [Laid(p, t) for p, t in own], anchors)


def bytes_of(run: Run) -> bytes:
    return b"".join(p.detach().numpy().tobytes() for p in run.parameters.values())
