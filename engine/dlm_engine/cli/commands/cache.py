"""`dlm cache`: what is kept of the tokens of earlier runs, and letting go of it."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from dlm_engine.cli.app import globals_of
from dlm_engine.cli.console import is_terminal
from dlm_engine.cli.tables import columns, size
from dlm_engine.document.frontmatter import Cache
from dlm_engine.errors import StoreError, UsageError
from dlm_engine.store import home_dir, token_cache_path

EPILOG = "All documents of a home share the cache. Without it a run makes the tokens anew."


class Action(StrEnum):
    SHOW = "show"
    PRUNE = "prune"
    CLEAR = "clear"


def command(
    context: typer.Context,
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="show, prune or clear.")],
    older_than: Annotated[
        int | None,
        typer.Option(metavar="DAYS", help="prune: what was not used for so long; 90.", min=0),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="BYTES", help="prune: the size to keep.", min=0)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="clear: without asking.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show, prune or clear the tokens kept between runs."""
    from dlm_engine.data.token_cache import Limits, TokenCache

    at = globals_of(context)
    _require_fitting(action, older_than is not None or max_bytes is not None, force=force)
    cache = TokenCache(token_cache_path(home_dir(at.home)))
    assert cache.path is not None
    before = cache.facts()
    trouble = ""
    if action is Action.PRUNE:
        default = Cache()
        days = default.prune_older_than_days if older_than is None else older_than
        trouble = cache.prune(Limits(default.max_bytes if max_bytes is None else max_bytes, days))
    elif action is Action.CLEAR and _sure(force=force, bytes_there=before.bytes):
        trouble = cache.clear()
    if trouble:
        raise StoreError("token cache", trouble, "close what uses it, or delete the file")
    after = cache.facts()
    freed = before.bytes - after.bytes
    if json:
        at.console.result_json(
            {
                "path": str(cache.path),
                "texts": after.texts,
                "files": after.files,
                "bytes": after.bytes,
                "unused_days": after.unused_days,
                "freed_bytes": freed,
            }
        )
        return
    rows = [
        ("cache", str(cache.path)),
        ("texts", str(after.texts)),
        ("source files known", str(after.files)),
        ("size", size(after.bytes)),
    ]
    if after.unused_days is not None:
        rows.append(("longest unused", f"{after.unused_days} days"))
    if action is not Action.SHOW:
        rows.append(("freed", size(freed)))
    at.console.result(columns(rows))


def _require_fitting(action: Action, has_limits: bool, *, force: bool) -> None:
    if has_limits and action is not Action.PRUNE:
        raise UsageError("dlm cache", f"{action} takes no limits", "they belong to prune")
    if force and action is not Action.CLEAR:
        raise UsageError("dlm cache", f"{action} never asks", "leave out --force")


def _sure(*, force: bool, bytes_there: int) -> bool:
    if force or not bytes_there:
        return True
    if not is_terminal(sys.stdin):
        raise UsageError("dlm cache clear", "asks before it deletes", "add --force")
    return typer.confirm(f"Delete {size(bytes_there)} of kept tokens?", default=False, err=True)
