"""A document's versions and runs as the store has them, for lists and the training view.

Reads, and nothing else. Names on the wire are camelCase, as in the rest of the protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dlm_engine.store import Store, TrainingRunSummary, Version, read_log

MOST_RUNS: Final = 100
#: Of a longer run, evenly spread steps are told.
MOST_STEPS: Final = 1000


def versions(store: Store) -> list[dict[str, Any]]:
    """Every version, by number; raises `StoreError` for a damaged store."""
    adapters = [None, *store.adapters()] if store.exists() else []
    return [_version(version) for adapter in adapters for version in store.versions(adapter)]


def _version(version: Version) -> dict[str, Any]:
    record = version.run_record()
    run = record.run if record else None
    return {
        "version": version.number,
        **({"adapter": version.adapter} if version.adapter else {}),
        "current": version.current,
        "state": str(version.state),
        "reason": version.rejection_reason() if version.rejected else None,
        "when": _when(run),
        "steps": run.steps if run else None,
        "loss": run.final_train_loss if run else None,
        "validationLoss": run.final_val_loss if run else None,
        "sections": len(record.section_ids) if record else None,
        "path": str(version.path),
    }


def runs(store: Store) -> list[dict[str, Any]]:
    """The newest runs, oldest first, with the loss of their steps; also those that did not end
    in a version."""
    folder = store.root / "logs"
    if not folder.is_dir():
        return []
    manifest = store.read_manifest()
    known = {run.run_id: run for run in manifest.training_runs} if manifest else {}
    logs = sorted(p for p in folder.glob("train-*.jsonl") if p.is_file())[-MOST_RUNS:]
    return [_run(log, known) for log in logs]


def _run(log: Path, known: Mapping[int, TrainingRunSummary]) -> dict[str, Any]:
    number: int | None = None
    adapter: Any = None
    steps: list[dict[str, Any]] = []
    complete: Mapping[str, Any] = {}
    for record in read_log(log):
        kind, run_id = record.get("type"), record.get("run_id")
        if kind == "banner" and isinstance(run_id, int):
            number, plan = run_id, record.get("plan")
            adapter = plan.get("adapter") if isinstance(plan, dict) else None
        elif kind == "step":
            steps.append({"step": record.get("step"), "loss": record.get("loss")})
        elif kind == "run_complete":
            complete = record
    run = known.get(number) if number is not None and complete else None
    adapter = run.adapter_name if run else adapter
    return {
        "run": number,
        **({"adapter": adapter} if isinstance(adapter, str) else {}),
        "version": complete.get("adapter_version"),
        "when": _when(run),
        "seconds": complete.get("elapsed_seconds"),
        "loss": run.final_train_loss if run else None,
        "validationLoss": run.final_val_loss if run else None,
        "steps": _thinned(steps),
    }


def _thinned(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(steps) <= MOST_STEPS:
        return steps
    last = len(steps) - 1
    return [steps[round(n * last / (MOST_STEPS - 1))] for n in range(MOST_STEPS)]


def _when(run: TrainingRunSummary | None) -> str | None:
    moment = (run.ended_at or run.started_at) if run else None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else None
