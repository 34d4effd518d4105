"""`dlm migrate`: rewrites the lines of older documents that the current format wants otherwise."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.cli.app import Globals, globals_of
from dlm_engine.document import back_up, migrate_text, read_text, write_document
from dlm_engine.errors import DlmError, DocumentError

EPILOG = "An older backup is never overwritten: .bak, .bak.1, .bak.2 and so on."


def command(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="The documents.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the changes as a diff and write nothing.")
    ] = False,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Write no copy of the file as it was.")
    ] = False,
) -> None:
    """Bring documents to the current version of the format."""
    at = globals_of(context)
    failures = 0
    for path in paths:
        try:
            _migrate(at, path, dry_run=dry_run, backup=not no_backup)
        except DlmError as error:
            at.console.error(error)
            failures += 1
    if failures:
        raise typer.Exit(1)


def _migrate(at: Globals, path: Path, *, dry_run: bool, backup: bool) -> None:
    text = read_text(path)
    try:
        migration = migrate_text(text)
    except DocumentError as error:
        raise DocumentError(str(path), f"{error.subject} {error.problem}", error.remedy) from error
    versions = f"from version {migration.from_version} to {migration.to_version}"
    if not migration.applied:
        at.console.status(f"{path}: already version {migration.to_version}")
        return
    if dry_run:
        at.console.result(_diff(path, text, migration.text))
        at.console.status(f"{path}: would go {versions}")
        return
    if backup:
        at.console.status(f"backup: {back_up(path, text)}")
    write_document(path, migration.text)
    for change in migration.applied:
        at.console.detail(f"{path}: {change}")
    at.console.status(f"migrated: {path} {versions}")


def _diff(path: Path, before: str, after: str) -> str:
    """A unified diff of the lines; which kind of line end they have is not shown."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{path} (now)", f"{path} (migrated)", lineterm=""
    )
    return "\n".join(lines)
