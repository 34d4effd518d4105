"""`dlm purge`: trains without what was removed, asks for it, deletes the versions that knew it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dlm_engine.cli.app import Globals, globals_of
from dlm_engine.cli.documents import require_trainable
from dlm_engine.cli.progress import told
from dlm_engine.cli.tables import columns, size
from dlm_engine.jobs import (
    Proof,
    PurgeOutcome,
    PurgePlan,
    PurgeRequest,
    plan_purging,
    purge,
)
from dlm_engine.store import Garbage, LearnedRow, home_dir

EPILOG = "Exports that were written elsewhere with --out, and copies of the store, stay yours."


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be forgotten and deleted.")
    ] = False,
    unproven: Annotated[
        bool,
        typer.Option("--unproven", help="Delete also if a removed answer is still given."),
    ] = False,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Make the model forget what was removed from the document."""
    at = globals_of(context)
    request = PurgeRequest(path, home_dir(at.home), i_accept_license, unproven)
    if dry_run:
        plan = plan_purging(request)
        if json:
            at.console.result_json(_plan_facts(plan))
        else:
            _show_plan(at, path, plan)
        return
    outcome = _purge(at, request)
    if json:
        at.console.result_json(_facts(outcome))
    if outcome.cancelled:
        at.console.status(f"{path}: stopped; nothing was deleted")
        raise typer.Exit(130)
    if not json:
        _show(at, path, outcome)


def _purge(at: Globals, request: PurgeRequest) -> PurgeOutcome:
    require_trainable(at, request.path)
    with told(at.console) as (tell, stopped):
        return purge(request, tell, stopped)


def _show_plan(at: Globals, path: Path, plan: PurgePlan) -> None:
    if not plan.removed:
        at.console.status(f"{path}: no version learned anything that is no longer in it")
        return
    at.console.result(columns([(row.kind, _line(row)) for row in plan.removed]))
    then = "would be trained without it, then freed" if plan.trains else "would be freed"
    at.console.status(f"{path}: {then}: {size(plan.garbage.bytes)}")
    at.console.result(columns([(size(i.bytes), str(i.path)) for i in plan.garbage.items]))


def _show(at: Globals, path: Path, outcome: PurgeOutcome) -> None:
    if not outcome.removed:
        at.console.status(f"{path}: no version learned anything that is no longer in it")
        return
    for proof in outcome.proofs:
        at.console.result(_verdict(proof))
    files = sum(row.kind == "source" for row in outcome.removed)
    if files:
        at.console.status(f"removed files, whose text is not kept to ask about: {files}")
    count = len(outcome.deleted.items)
    at.console.status(
        f"{path}: deleted {count} version{'s' * (count != 1)} and exports that knew it, "
        f"{size(outcome.deleted.bytes)}"
    )


def _verdict(proof: Proof) -> str:
    margin = proof.margin
    if proof.base_knows:
        state = "preferred by the base itself" if margin else "known to the base itself"
    elif proof.known:
        state = "still preferred" if margin else "still known"
    else:
        state = "forgotten"
    if margin:
        before = "" if margin.before is None else f"before: {margin.before:+.2f}, "
        return (
            f"{state}: {_line(proof.row)!r}, {_short(proof.row.text)!r} over "
            f"{_short(proof.row.instead)!r} by {margin.now:+.2f} nats a token "
            f"({before}the base alone: {margin.base:+.2f})"
        )
    said = f", answered {_short(proof.answer)!r}" if proof.row.kind == "chat" else ""
    return f"{state}: {_line(proof.row)!r}{said}"


def _line(row: LearnedRow) -> str:
    return _short(row.question or row.text)


def _short(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return first if len(first) <= 80 else first[:79] + "…"


def _plan_facts(plan: PurgePlan) -> dict[str, Any]:
    return {
        "dry_run": True,
        "trains": plan.trains,
        "removed": [_row(row) for row in plan.removed],
        **_garbage(plan.garbage),
    }


def _facts(outcome: PurgeOutcome) -> dict[str, Any]:
    version = outcome.training.version if outcome.training else None
    return {
        "dry_run": False,
        "trained": version,
        "removed": [_row(row) for row in outcome.removed],
        "proofs": [
            {
                **_row(proof.row),
                "answer": proof.answer,
                "known": proof.known,
                "base_knows": proof.base_knows,
                "forgotten": proof.forgotten,
                "margin": asdict(proof.margin) if proof.margin else None,
            }
            for proof in outcome.proofs
        ],
        **_garbage(outcome.deleted),
    }


def _row(row: LearnedRow) -> dict[str, str]:
    facts = {"kind": row.kind, "key": row.key, "question": row.question, "text": row.text}
    return {**facts, "instead": row.instead} if row.kind == "preference" else facts


def _garbage(garbage: Garbage) -> dict[str, Any]:
    return {
        "bytes": garbage.bytes,
        "deleted": [{"path": str(i.path), "bytes": i.bytes} for i in garbage.items],
    }
