"""`dlm train --watch`: the save-to-train loop of the editor, without an editor.

Waits for the file to change and settle, and hands it over whenever what it teaches is
something else than the last time. Editors save by replacing the file, so it is the folder
that is watched; and the file is looked at now and then all the same, because some disks
tell of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dlm_engine.document import content_digest, read_document
from dlm_engine.errors import DocumentError

SETTLE_MILLISECONDS: Final = 300
_LOOK_MILLISECONDS: Final = 1000


def contents(path: Path) -> Iterator[str]:
    """The digest of the document's content, now and after each change of it; endless.

    A file that cannot be read has the digest "", so that whoever trains it says why.
    """
    last = _digest(path)
    yield last
    for _ in _changes(path):
        now = _digest(path)
        if now != last:
            last = now
            yield now


def follow(path: Path, train: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Call `train` for each content of `path` until it returns False, or Ctrl-C."""
    for number, _ in enumerate(contents(path)):
        if number:
            say(f"{path} has changed")
        if not train():
            return
        say(f"waiting for {path} to change; Ctrl-C ends")


def _digest(path: Path) -> str:
    try:
        return content_digest(read_document(path)[0])
    except DocumentError:
        return ""


def _changes(path: Path) -> Iterator[None]:
    from watchfiles import watch

    target = path.absolute()
    for changes in watch(
        target.parent,
        watch_filter=None,
        debounce=SETTLE_MILLISECONDS,
        rust_timeout=_LOOK_MILLISECONDS,
        yield_on_timeout=True,
        recursive=False,
    ):
        if not changes or any(Path(name).name == target.name for _, name in changes):
            yield None
