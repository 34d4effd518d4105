"""`dlm train --watch`: the save-to-train loop of the editor, without an editor.

Waits for the file to change and settle, and hands it over whenever what it teaches is
something else than the last time. Editors save by replacing the file, so it is the folder
that is watched; and the file is looked at now and then all the same, because some disks
tell of nothing. Its sources are looked at in the same way, and read where they changed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlm_engine.document import Document, content_digest, read_document
from dlm_engine.errors import DocumentError

if TYPE_CHECKING:
    from dlm_engine.data.sources import KnownFile
    from dlm_engine.document.frontmatter import Training

#: Between looks at a document that changes; the disk tells of each of its changes.
_SETTLE_MILLISECONDS: Final = 300
#: Between looks at sources, and at anything while the disk tells of nothing.
_LOOK_MILLISECONDS: Final = 1000
#: A look at the sources that took a second is followed by so many seconds without one.
_REST: Final = 20


def contents(
    path: Path,
    due: Callable[[], bool] = lambda: False,
    ended: threading.Event | None = None,
    home: Path | None = None,
) -> Iterator[str]:
    """The digest of the document's content, now and after each change that settled, until `ended`.

    It comes again without a change whenever something else is `due`. A file that cannot be read
    has the digest "", so that whoever trains it says why.
    """
    ended = ended or threading.Event()
    sources = _Sources(home)
    last = _look(path, sources)
    yield "".join(last)
    for _ in _changes(path, ended):
        now = _settled(path, sources, last, ended)
        if ended.is_set():
            return
        if now != last or due():
            last = now
            yield "".join(now)


def follow(
    found: Iterator[str],
    last: str,
    path: Path,
    train: Callable[[], bool],
    say: Callable[[str], None],
    cycles: int | None = None,
) -> None:
    """Call `train` for each content that is `found` after the `last`, until it returns False, or
    `cycles` times."""
    for number, now in enumerate(found, 1):
        say(f"{path} has changed" if now != last else "questions were sent")
        last = now
        if not train():
            return
        if number == cycles:
            say(f"{cycles} cycle{'s' * (cycles > 1)} done")
            return
        say(f"waiting for {path} to change")


#: The digests of a document and of its sources.
_Look = tuple[str, str]


def _look(path: Path, sources: _Sources, *, at_once: bool = False) -> _Look:
    try:
        document = read_document(path)[0]
    except DocumentError:
        return "", ""
    return content_digest(document), sources.digest(document, path, at_once=at_once)


def _settled(path: Path, sources: _Sources, before: _Look, ended: threading.Event) -> _Look:
    """What two looks in a row agree on, `before` being the last one; whatever there is at the
    end."""
    now = _look(path, sources)
    while now != before:
        read = now[1] != before[1]
        if ended.wait((_LOOK_MILLISECONDS if read else _SETTLE_MILLISECONDS) / 1000):
            break
        before, now = now, _look(path, sources, at_once=read)
    return now


class _Sources:
    """What the sources of a document come to, as of the last look at them."""

    def __init__(self, home: Path | None) -> None:
        self._home = home
        self._known: dict[bytes, KnownFile] = {}
        self._last = ""
        self._of: Training | None = None
        self._again = 0.0

    def digest(self, document: Document, path: Path, *, at_once: bool) -> str:
        """ "" without sources; unless `at_once`, looks again only when that costs little of the
        time."""
        training = None if document.frontmatter is None else document.frontmatter.training
        if training is None or not training.sources:
            return ""
        from dlm_engine.data.sources import expand

        began = time.monotonic()
        if training == self._of and began < self._again and not at_once:
            return self._last
        found = expand(training, path, lambda root: self._known, home=self._home)
        self._known.update(found.fresh)
        facts = [(file.label, file.sha256, file.weight) for file in found.files]
        self._last = hashlib.sha256(repr((facts, found.problem)).encode()).hexdigest()
        self._of = training
        ended = time.monotonic()
        self._again = ended + _REST * (ended - began)
        return self._last


def _changes(path: Path, ended: threading.Event | None = None) -> Iterator[None]:
    from watchfiles import watch

    for _ in watch(
        path.absolute().parent,
        watch_filter=None,
        debounce=_SETTLE_MILLISECONDS,
        rust_timeout=_LOOK_MILLISECONDS,
        yield_on_timeout=True,
        recursive=False,
        stop_event=ended,
    ):
        # Also of another file: a folder that is written into all the time has no quiet second.
        yield None
