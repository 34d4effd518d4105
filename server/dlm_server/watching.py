"""The sources of open documents, whose coming and going the client is asked to tell.

Beside the registration of what is watched anyway, because which paths these are changes as
documents are written. Only clients that watch paths outside the workspace are asked; for the
others a save looks again.
"""

from __future__ import annotations

from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dlm_server.conversion import Plain
from dlm_server.to_proto import uri_of

if TYPE_CHECKING:
    from dlm_server.documents import OpenDocument
    from dlm_server.session import Session

_ID: Final = "dlm-sources"
_METHOD: Final = "workspace/didChangeWatchedFiles"
#: created and deleted
_KIND: Final = 1 | 4


def sources_of(document: OpenDocument) -> frozenset[Path]:
    """Where a document's sources lie, there or not."""
    frontmatter = document.live.frontmatter
    if frontmatter is None or document.path is None:
        return frozenset()
    folder = document.path.parent
    found: set[Path] = set()
    for source in frontmatter.training.sources or ():
        try:
            found.add(Path(normpath(folder / Path(source.path).expanduser())))
        except RuntimeError:
            # A `~name` that stands for nobody.
            continue
    return frozenset(found)


class SourceWatch:
    """What the client was asked to watch last."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._watched: frozenset[Path] = frozenset()

    def follow(self) -> None:
        """Have the client watch what the open documents name now."""
        client = self._session.client
        if not client.watched_files or not client.relative_patterns:
            return
        wanted = frozenset(path for d in self._session.documents for path in sources_of(d))
        if wanted == self._watched:
            return
        known = {"id": _ID, "method": _METHOD}
        if self._watched:
            # Spelt so in the protocol.
            gone = Plain(unregisterations=[known])
            self._session.request("client/unregisterCapability", gone)
        self._watched = wanted
        if wanted:
            watchers = [
                {
                    "globPattern": {"baseUri": uri_of(path.parent), "pattern": path.name},
                    "kind": _KIND,
                }
                for path in sorted(wanted)
            ]
            asked = {**known, "registerOptions": {"watchers": watchers}}
            self._session.request("client/registerCapability", Plain(registrations=[asked]))
