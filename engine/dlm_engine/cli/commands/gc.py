"""`dlm gc`: deletes versions that are neither current nor among the newest, and leftovers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.cli.app import globals_of
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.tables import columns, size
from dlm_engine.document import require_adapter
from dlm_engine.store import Store, collect_garbage, home_dir, plan_garbage

EPILOG = "The current version and the newest complete one are never deleted."


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    keep: Annotated[
        int, typer.Option(metavar="NUMBER", help="Of the newest versions, how many stay.", min=1)
    ] = 3,
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only versions of this named adapter.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Delete old versions and leftovers to free disk space."""
    at = globals_of(context)
    _, settings = require_frontmatter(path)
    store = Store(home_dir(at.home), settings.dlm_id)
    if adapter is not None:
        require_adapter(settings, adapter)
    clean = plan_garbage if dry_run else collect_garbage
    garbage = clean(store, keep, adapter)
    if json:
        items = [
            {"path": str(i.path), "kind": str(i.kind), "bytes": i.bytes} for i in garbage.items
        ]
        at.console.result_json({"dry_run": dry_run, "bytes": garbage.bytes, "items": items})
        return
    if not garbage.items:
        at.console.status(f"{path}: there is nothing to delete")
        return
    at.console.result(columns([(str(i.kind), size(i.bytes), str(i.path)) for i in garbage.items]))
    done = "would free" if dry_run else "freed"
    at.console.status(f"{path}: {done} {size(garbage.bytes)}")
