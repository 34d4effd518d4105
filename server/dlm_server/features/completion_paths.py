"""Paths inside a document, offered from the folders beside it.

One folder is read, never a tree, and at most so many of its entries, because the folder may
be on a slow disk and the editor waits. What cannot be read offers nothing.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path

from dlm_engine.document import Span, TextEdit
from dlm_server.features.completion_items import MOST, Completion, Completions, Offer

_LOOKED_AT = 2000

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff"})
SOUNDS = frozenset({".wav", ".flac", ".ogg", ".mp3", ".m4a"})


def path_completions(
    folder: Path | None, text: str, token: Span, cursor: int, suffixes: Collection[str] | None
) -> Completions:
    """Entries of the folder that the typed path has reached.

    Args:
        folder: where relative paths start.
        token: the whole path in the document; what is replaced is its last part.
        suffixes: of the files to offer; None offers every file, an empty one only folders.
    """
    typed = text[token.start : cursor]
    reached, _, begun = typed.rpartition("/")
    if "/" in typed:
        reached += "/"
    base = _folder(folder, reached)
    if base is None:
        return Completions()
    rest = text[cursor : token.end]
    last = Span(cursor - len(begun), cursor + len(rest.partition("/")[0]))
    found, more = _entries(base, begun, suffixes)
    items = tuple(
        Completion(
            label=f"{name}/" if is_folder else name,
            offer=Offer.FOLDER if is_folder else Offer.FILE,
            edit=TextEdit(last, _with_slash(name, is_folder, text, last.end)),
            sort=f"{'1' if is_folder else '0'}{name}",
        )
        for name, is_folder in found
    )
    return Completions(items, not more)


def _with_slash(name: str, is_folder: bool, text: str, end: int) -> str:
    return f"{name}/" if is_folder and text[end : end + 1] != "/" else name


def _folder(folder: Path | None, reached: str) -> Path | None:
    try:
        path = Path(reached).expanduser()
    except RuntimeError:
        return None
    if path.is_absolute():
        return path
    return folder / path if folder is not None else None


def _entries(
    base: Path, begun: str, suffixes: Collection[str] | None
) -> tuple[list[tuple[str, bool]], bool]:
    """(name, whether it is a folder), sorted, and whether there are more."""
    found: list[tuple[str, bool]] = []
    try:
        with os.scandir(base) as entries:
            looked_at = list(islice(entries, _LOOKED_AT + 1))
        for entry in looked_at[:_LOOKED_AT]:
            if entry.name.startswith(".") and not begun.startswith("."):
                continue
            # What would have to be escaped is typed by hand.
            if any(c in entry.name for c in '"\\\r\n') or not entry.name.isprintable():
                continue
            is_folder = entry.is_dir()
            wanted = suffixes is None or Path(entry.name).suffix.lower() in suffixes
            if is_folder or wanted:
                found.append((entry.name, is_folder))
    except (OSError, ValueError):
        return [], False
    matching = [f for f in found if f[0].lower().startswith(begun.lower())]
    ordered = sorted(matching, key=lambda f: (f[1], f[0].lower(), f[0]))
    return ordered[:MOST], len(ordered) > MOST or len(looked_at) > _LOOKED_AT
