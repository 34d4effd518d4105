"""`dlm rollback`: flips the pointer to an earlier version; deletes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.cli.app import globals_of
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.document import one_adapter
from dlm_engine.errors import StoreError
from dlm_engine.store import Store, home_dir, rollback


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    number: Annotated[
        int,
        typer.Argument(metavar="NUMBER", help="The version, as `dlm versions` lists it.", min=1),
    ],
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which of several named adapters.")
    ] = None,
) -> None:
    """Make an earlier version the current one."""
    at = globals_of(context)
    _, settings = require_frontmatter(path)
    store = Store(home_dir(at.home), settings.dlm_id)
    adapter = one_adapter(settings, adapter)
    if not store.exists():
        raise StoreError(str(path), "has not been trained yet", f"run `dlm train {path}` first")
    report = rollback(store, number, adapter)
    of = "" if adapter is None else f" of {adapter}"
    if report.before == number:
        at.console.status(f"{path}: version {number}{of} is current already")
    else:
        at.console.status(f"{path}: version {number}{of} is current now; no version was deleted")
