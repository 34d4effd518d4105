"""`dlm train FOLDER`: the document of a folder, `FOLDER/.dlm/<name>.dlm`, found or written.

What is written names the folder by `.`, so that it can be moved, and has no body of its own:
nothing is learned that nobody wrote. A document that is there is never changed but by
`rescaffold`, which sets the source anew and keeps its id, its other settings and its body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dlm_engine.data.sources.expansion import RULES_FOLDER
from dlm_engine.document import new_id, parse, read_document, write_document
from dlm_engine.document.frontmatter import CURRENT_VERSION, Frontmatter, Training
from dlm_engine.document.parsing import first_error
from dlm_engine.document.serialise import frontmatter_lines
from dlm_engine.errors import DocumentError, UsageError
from dlm_engine.store import make_folders

DEFAULT_NAME = "corpus"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Wishes:
    """The flags of `dlm train FOLDER`; None and () are what was not given."""

    base: str | None = None
    name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool | None = None
    policy: str | None = None
    rescaffold: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The flags that say how a document is written."""
        flags = {
            "--base": self.base,
            "--include": self.include,
            "--exclude": self.exclude,
            "--recursive": self.recursive is not None,
            "--policy": self.policy,
        }
        return tuple(flag for flag, value in flags.items() if value)


def document_of(folder: Path, wishes: Wishes, home: Path) -> tuple[Path, str | None]:
    """The path of the folder's document, and its text where it has to be written first.

    Raises:
        UsageError: the flags exclude each other, or do not say which document is meant.
        DocumentError: what is there cannot be read.
    """
    name = DEFAULT_NAME if wishes.name is None else wishes.name
    if not _NAME.fullmatch(name):
        raise UsageError("--name", f"{name!r} is no name", "use letters, digits, `.`, `_` and `-`")
    if wishes.include and wishes.recursive is not None:
        raise UsageError("dlm train", "--include says what --recursive would", "give one of them")
    place = folder / RULES_FOLDER
    if place.resolve() == home.resolve():
        raise UsageError(
            str(folder), f"{place} is where dlm keeps its stores", "name another folder"
        )
    path = place / f"{name}.dlm"
    there = sorted(each for each in place.glob("*.dlm") if each.is_file())
    if path not in there and wishes.name is None and there:
        if len(there) > 1:
            names = ", ".join(each.stem for each in there)
            raise UsageError(str(folder), f"has several documents: {names}", "choose with --name")
        path = there[0]
    if path not in there:
        if wishes.base is None:
            raise UsageError(
                str(folder),
                "has no document yet, and a new one needs a base",
                f"dlm train {folder} --base smollm2-135m",
            )
        blank = Frontmatter(dlm_id=new_id(), dlm_version=CURRENT_VERSION, base_model=wishes.base)
        return path, _checked(path, _settings(blank, wishes), "\n")
    if not wishes.rescaffold:
        if wishes.given:
            raise UsageError(
                str(path),
                f"is there already, and {wishes.given[0]} would change nothing",
                "leave it out, or write the settings anew with --rescaffold",
            )
        return path, None
    document, _ = read_document(path)
    if document.frontmatter is None:
        raise DocumentError(str(path), "has no readable frontmatter", f"see `dlm check {path}`")
    body = document.text[document.body_start :]
    return path, _checked(path, _settings(document.frontmatter, wishes), body)


def write_scaffold(path: Path, text: str) -> None:
    """Write the document, and its folder where that is missing."""
    make_folders(path.parent)
    write_document(path, text)


def _settings(old: Frontmatter, wishes: Wishes) -> Frontmatter:
    """`old` with the source as wished for."""
    include = wishes.include or (("*",) if wishes.recursive is False else ("**/*",))
    source: dict[str, object] = {"path": ".", "include": include}
    if wishes.exclude:
        source["exclude"] = wishes.exclude
    wrote = {
        name: getattr(old.training, name)
        for name in old.training.model_fields_set - {"sources", "sources_policy"}
    }
    training = Training.model_validate(
        {**wrote, "sources": [source], "sources_policy": wishes.policy or "strict"}
    )
    update = {"training": training, "base_model": wishes.base or old.base_model}
    return old.model_copy(update=update)


def _checked(path: Path, settings: Frontmatter, body: str) -> str:
    text = "\n".join(["---", *frontmatter_lines(settings), "---", ""]) + body
    document, problems = parse(text)
    trouble = first_error(problems, document.lines)
    if trouble:
        raise DocumentError(str(path), trouble, "choose another value")
    return text
