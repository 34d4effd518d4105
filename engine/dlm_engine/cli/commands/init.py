"""`dlm init`: a fresh document with an id of its own, and the base it names, pinned.

A base of the hub or of a folder is pinned in the store now, since its name alone does not
say which weights are meant; so is the acceptance of a licence. A base of the registry is
pinned by the registry, and until training nothing is written for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dlm_engine.bases import BaseSpec, LicenceAcceptance, Origin, accept, require_licence, resolve
from dlm_engine.cli.app import Globals, globals_of
from dlm_engine.cli.console import is_terminal
from dlm_engine.document import new_document, parse, write_document
from dlm_engine.errors import DlmError, DocumentError, UsageError
from dlm_engine.store import LicenceRecord, Manifest, Store, home_dir

DEFAULT_BASE = "smollm2-135m"
EPILOG = "BASE is a name of the registry (docs/format.md), hf:org/name, or a folder."


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document to write.")],
    base: Annotated[
        str, typer.Option(metavar="BASE", help="The base model it is trained on.")
    ] = DEFAULT_BASE,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a document that is there.")
    ] = False,
) -> None:
    """Write a new document to start from."""
    at = globals_of(context)
    _require_usable(path, force=force)
    home = home_dir(at.home)
    spec = resolve(base, pinned_revision=None, home=home, relative_to=path.absolute().parent)
    accepted = _licence(spec, i_accept_license)
    text = new_document(base)
    _pin(path, text, spec, accepted, home)
    write_document(path, text)
    if spec.capability_warning:
        at.console.status(f"{spec.key}: {spec.capability_warning}")
    _report(at, path, spec)


def _require_usable(path: Path, *, force: bool) -> None:
    if path.suffix != ".dlm":
        raise UsageError(str(path), "the name of a document ends in .dlm", f"dlm init {path}.dlm")
    if path.is_dir():
        raise DocumentError(str(path), "is a folder", "choose another name")
    if path.exists() and not force:
        raise DocumentError(
            str(path), "exists already", "choose another name, or overwrite it with --force"
        )
    if not path.absolute().parent.is_dir():
        raise DocumentError(str(path.parent), "there is no such folder", "create it first")


def _licence(spec: BaseSpec, accepted_by_flag: bool) -> LicenceAcceptance | None:
    if not spec.requires_acceptance:
        return None
    if accepted_by_flag:
        return accept(spec, "cli_flag")
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        question = f"{spec.key} is under {spec.license_spdx} ({spec.license_url}). Accept it?"
        if typer.confirm(question, default=False, err=True):
            return accept(spec, "interactive")
    require_licence(spec, None)
    return None


def _pin(
    path: Path, text: str, spec: BaseSpec, accepted: LicenceAcceptance | None, home: Path
) -> None:
    if spec.origin is Origin.REGISTRY and accepted is None:
        return
    settings = parse(text)[0].frontmatter
    if settings is None:
        raise DlmError(str(path), "the base cannot be written into a document", "choose another")
    licence = None
    if accepted is not None:
        licence = LicenceRecord(
            accepted_at=accepted.accepted_at,
            license_url=accepted.license_url,
            license_spdx=accepted.license_spdx,
            via=accepted.via,
        )
    Store(home, settings.dlm_id).write_manifest(
        Manifest(
            dlm_id=settings.dlm_id,
            base_model=settings.base_model,
            base_model_revision=spec.revision,
            source_path=path.absolute(),
            license_acceptance=licence,
        )
    )


def _report(at: Globals, path: Path, spec: BaseSpec) -> None:
    size = f"{spec.params / 1e9:.1f} B" if spec.params >= 1e9 else f"{spec.params / 1e6:.0f} M"
    at.console.status(f"wrote {path}, on {spec.key} ({size} parameters, {spec.license_spdx})")
    at.console.status(f"next: write questions and answers into it, then dlm train {path}")
