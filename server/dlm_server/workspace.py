"""The other `.dlm` files of the workspace: found by a thread, known by id and adapters.

Only the beginning of a file is read, hidden folders and those of package managers are left
out, and a tree too large to look through is looked through in part: what an editor shows must
never wait for a disk. Open documents count as they are in the editor, not as they are on disk.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.document import Frontmatter, LiveDocument
from dlm_server.documents import OpenDocument
from dlm_server.to_proto import uri_of
from dlm_server.views import KnownDocument

if TYPE_CHECKING:
    from dlm_server.closed import ClosedFiles
    from dlm_server.session import Session

log = logging.getLogger(__name__)

MOST_FILES = 5_000
MOST_FOLDERS = 20_000
#: frontmatter may be 64 KiB, and nothing after it is needed
_HEAD_BYTES = 70 * 1024
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "venv", "target", "dist"})


_Found = dict[Path, KnownDocument]


@dataclass(frozen=True, slots=True)
class _View:
    """What was known when a question came; open documents are read only if someone looks."""

    scanned: Mapping[Path, KnownDocument]
    opened: tuple[OpenDocument, ...]

    def documents(self) -> Iterator[KnownDocument]:
        in_editor = {d.path for d in self.opened}
        for document in self.opened:
            yield known(document.uri, document.path, document.live.frontmatter)
        yield from (k for path, k in self.scanned.items() if path not in in_editor)


class WorkspaceIndex:
    """What is known of the files on disk. Used on the loop's thread; its own thread reads."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scanned: dict[Path, KnownDocument] = {}
        self._generation = 0
        #: threads that read and have not told what
        self._reading = 0
        self._waiting: list[Callable[[], None]] = []
        #: what was found in files that are not open; None until someone asks
        self.closed: ClosedFiles | None = None
        #: set once a scan has ended
        self.scanned = threading.Event()

    def view(self) -> _View:
        return _View(self._scanned, self._session.documents)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files found on disk."""
        return tuple(self._scanned)

    def scan(self, folders: Iterable[Path]) -> None:
        """Look through `folders` from the beginning; what an earlier scan finds is dropped."""
        self._generation += 1
        generation, wanted = self._generation, tuple(folders)
        self.scanned.clear()
        self._read(search(wanted), lambda found: self._take(found, generation))

    def look_at(self, paths: Iterable[Path]) -> None:
        """Read files again that may have changed, come or gone."""
        generation, wanted = self._generation, tuple(paths)
        if wanted:
            self._read(wanted, lambda found: self._merge(wanted, found, generation))

    def when_read(self, act: Callable[[], None]) -> None:
        """Call `act` on the loop once the folders have been scanned and no file is being read."""
        self._waiting.append(act)
        self._tell()

    def _read(self, paths: Iterable[Path], then: Callable[[_Found], None]) -> None:
        """Read on a thread, and hand over on the loop."""

        def work() -> None:
            found: _Found = {}
            try:
                found = read_all(paths)
            finally:
                self._session.post(lambda: have_read(found))

        def have_read(found: _Found) -> None:
            self._reading -= 1
            then(found)
            self._tell()

        self._reading += 1
        threading.Thread(target=work, name="workspace", daemon=True).start()

    def _tell(self) -> None:
        if self._reading or not self.scanned.is_set():
            return
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def _take(self, found: _Found, generation: int) -> None:
        if generation == self._generation:
            self._replace(found)
            self.scanned.set()

    def _merge(self, looked_at: Iterable[Path], found: _Found, generation: int) -> None:
        if generation == self._generation:
            gone = set(looked_at)
            kept = {path: k for path, k in self._scanned.items() if path not in gone}
            self._replace(dict(list((kept | found).items())[:MOST_FILES]))

    def _replace(self, found: _Found) -> None:
        # A new dictionary each time: views hold on to the old one.
        changed = found != self._scanned
        self._scanned = found
        if changed:
            self._session.publisher.surroundings_changed()


def search(folders: Iterable[Path]) -> Iterator[Path]:
    """The documents below `folders`, up to a bound, each once."""
    seen: set[str] = set()
    files = 0
    for folder in folders:
        for root, inner, names in os.walk(folder):
            inner[:] = sorted(f for f in inner if _is_searched(f))
            if root in seen or "pyvenv.cfg" in names:
                inner.clear()
                continue
            seen.add(root)
            for name in sorted(names):
                if name.endswith(".dlm"):
                    yield Path(root, name)
                    files += 1
            if files >= MOST_FILES or len(seen) >= MOST_FOLDERS:
                log.warning("%s is too large: it was looked through in part", folder)
                return


def is_inside(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a search through `folders` comes by `path`."""
    return any(
        path.is_relative_to(folder) and all(map(_is_searched, path.relative_to(folder).parts[:-1]))
        for folder in folders
    )


def _is_searched(folder: str) -> bool:
    return (not folder.startswith(".") or folder == ".dlm") and folder not in SKIPPED


def read_all(paths: Iterable[Path]) -> dict[Path, KnownDocument]:
    found = {}
    for path in paths:
        document = read_head(path)
        if document is not None:
            found[path] = known(uri_of(path), path, document.frontmatter)
    return found


def read_head(path: Path) -> LiveDocument | None:
    """The document that a file's frontmatter makes; None for what is no file or no text."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES)
    except OSError:
        return None
    text = data.decode("utf-8", "replace")
    lines = text.splitlines(keepends=True)
    if not lines or lines[0].strip("\ufeff \t\r\n") != "---":
        return LiveDocument.open("")
    end = next((i for i, line in enumerate(lines[1:], 1) if line.strip() == "---"), None)
    return LiveDocument.open("".join(lines if end is None else lines[: end + 1]))


def known(uri: str, path: Path | None, front: Frontmatter | None) -> KnownDocument:
    if front is None:
        return KnownDocument(uri, path, None)
    return KnownDocument(uri, path, front.dlm_id, tuple(front.training.adapters or ()))
