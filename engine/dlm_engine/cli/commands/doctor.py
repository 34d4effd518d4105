"""`dlm doctor`: the machine, and for a document the plan training would follow on it.

What it reports (GPUs, measured bf16) only torch knows, so `detect` imports torch; the
plan is the one training makes, from the same function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.bases import REGISTRY, config, find_weights
from dlm_engine.case import open_case
from dlm_engine.cli.app import globals_of
from dlm_engine.hardware import (
    BaseFacts,
    DoctorReport,
    approximate_shape,
    detect,
    report,
    shape_of,
    trained_layers,
)
from dlm_engine.store import home_dir

EPILOG = "Exit code 1: this machine cannot train the document; the reason is shown."


def command(
    context: typer.Context,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The document to plan for.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Say what this machine can train, how, and why."""
    at = globals_of(context)
    made = report(detect()) if path is None else _for_document(path, home_dir(at.home))
    if json:
        at.console.result_json(made.to_dict())
    else:
        at.console.result("\n".join(made.render_text()))
    if made.refusal is not None:
        raise typer.Exit(1)


def _for_document(path: Path, home: Path) -> DoctorReport:
    # The document first: a mistyped name is told before torch is imported. Looking at a
    # base needs no licence; nothing is fetched or kept.
    case = open_case(path, home, accept_licence=True)
    spec, training = case.spec, case.frontmatter.training
    weights = find_weights(spec, home)
    where = "not here yet; the first training gets them" if weights is None else str(weights.path)
    model = None if weights is None else config(weights)
    shape = approximate_shape(spec.params) if model is None else shape_of(model)
    hardware = detect()
    kind = "" if model is None else str(model.get("model_type", ""))
    return report(
        hardware,
        BaseFacts(spec.key, spec.params, spec.context_length, where),
        shape,
        training,
        min(training.sequence_len, spec.effective_context),
        {key: other.params for key, other in REGISTRY.items()},
        trained_layers(shape, kind, all_layers=False),
    )
