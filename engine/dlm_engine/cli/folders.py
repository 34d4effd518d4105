"""`dlm train FOLDER`: which document that is, written first if there is none."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from dlm_engine.bases import accept, require_licence, resolve
from dlm_engine.bases.local import is_local
from dlm_engine.cli.app import Globals
from dlm_engine.data.sources.scaffold import Wishes, document_of, write_scaffold
from dlm_engine.document import back_up, read_text
from dlm_engine.errors import UsageError
from dlm_engine.store import home_dir


class Policy(StrEnum):
    STRICT = "strict"
    PERMISSIVE = "permissive"


def document_to_train(at: Globals, path: Path, wishes: Wishes, *, accept_licence: bool) -> Path:
    """`path` where it is a document; for a folder its document, written if need be.

    Raises:
        UsageError: the flags do not fit, or leave open what to write.
        BaseModelError: the base of a new document is unknown or its licence not accepted.
    """
    if not path.is_dir():
        if wishes != Wishes():
            flag = next(iter([*wishes.given, *(["--name"] if wishes.name else [])]), "--rescaffold")
            if not path.exists() and path.suffix != ".dlm":
                raise UsageError(str(path), "there is no such folder", "create it, or correct it")
            problem = f"{flag} is for a folder, and {path} is none"
            raise UsageError("dlm train", problem, "leave it out")
        return path
    home = home_dir(at.home)
    if wishes.base is not None:
        # A base that is a folder is looked for from the document's own.
        local = is_local(wishes.base)
        base = str(Path(wishes.base).expanduser().resolve()) if local else wishes.base
        spec = resolve(base, pinned_revision=None, home=home, relative_to=path.absolute())
        require_licence(spec, accept(spec, "cli_flag") if accept_licence else None)
        wishes = replace(wishes, base=base)
    document, text = document_of(path, wishes, home)
    if text is not None:
        if document.exists():
            # Comments, and sources beside the folder itself, are not written again.
            at.console.status(f"backup: {back_up(document, read_text(document))}")
        write_scaffold(document, text)
        at.console.status(f"wrote {document}")
    return document
