"""`dlm versions`: the trained versions of a document, newest last; creates nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dlm_engine.cli.app import globals_of
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.tables import columns, moment, size
from dlm_engine.document import require_adapter
from dlm_engine.store import Store, Version, home_dir

EPILOG = "See also: dlm rollback, dlm gc."


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those of this named adapter.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """List the trained versions of a document."""
    at = globals_of(context)
    _, settings = require_frontmatter(path)
    store = Store(home_dir(at.home), settings.dlm_id)
    wanted = None if adapter is None else require_adapter(settings, adapter)
    adapters: list[str | None] = []
    if store.exists():
        adapters = [wanted] if wanted else [None, *store.adapters()]
    facts = [_facts(version) for name in adapters for version in store.versions(name)]
    if json:
        at.console.result_json({"dlm_id": settings.dlm_id, "versions": facts})
        return
    if not facts:
        at.console.status(f"{path} has not been trained yet: dlm train {path}")
        return
    named = any(f["adapter"] for f in facts)
    header = ["", *(["adapter"] if named else []), "version", "when", "steps", "loss", "size"]
    at.console.result(columns([[*header, "state"], *(_row(f, named) for f in facts)]))


def _row(facts: dict[str, Any], named: bool) -> list[str]:
    return [
        "*" if facts["current"] else " ",
        *([facts["adapter"] or "-"] if named else []),
        str(facts["number"]),
        moment(facts["ended_at"]) if facts["ended_at"] else "-",
        "-" if facts["steps"] is None else str(facts["steps"]),
        "-" if facts["loss"] is None else f"{facts['loss']:.3f}",
        size(facts["bytes"]),
        facts["state"] + (f": {facts['reason']}" if facts["reason"] else ""),
    ]


def _facts(version: Version) -> dict[str, Any]:
    record = version.run_record()
    run = None if record is None else record.run.model_dump(mode="json")
    return {
        "adapter": version.adapter,
        "number": version.number,
        "current": version.current,
        "state": str(version.state),
        "reason": version.rejection_reason() if version.rejected else "",
        "ended_at": run["ended_at"] if run else None,
        "steps": run["steps"] if run else None,
        "loss": run["final_train_loss"] if run else None,
        "seed": run["seed"] if run else None,
        "bytes": sum(f.stat().st_size for f in version.path.rglob("*") if f.is_file()),
        "path": str(version.path),
    }
