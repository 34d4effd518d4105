"""`workspace/symbol`: questions, headings and adapters of every document of the workspace.

Open documents count as they stand in the editor, the others as they stand on disk. Those
are read once, and again when their time or size changes, and only so many per question
that typing is not held up: an editor asks again with every letter, so the rest follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from lsprotocol import types as lsp

from dlm_engine.document import LiveDocument
from dlm_engine.document import decode as decoded
from dlm_engine.errors import DocumentError
from dlm_server import to_proto
from dlm_server.dispatch import session_request
from dlm_server.encodings import Encoding
from dlm_server.features.workspace_symbols import Findable, findable, search
from dlm_server.from_proto import same_document
from dlm_server.requests.document_symbol import KINDS
from dlm_server.session import Session

_LARGEST = 1024 * 1024
_MOST_FILES = 2000
_SECONDS = 0.1

#: what can be found in a document, each with its place in the client's units
_Places = tuple[tuple[Findable, lsp.Range], ...]


@session_request("workspace/symbol")
def workspace_symbol(
    session: Session, params: lsp.WorkspaceSymbolParams
) -> list[lsp.SymbolInformation]:
    documents = list(_documents(session))
    made: list[lsp.SymbolInformation] = []
    for found in search([[f for f, _ in places] for _, places in documents], params.query):
        uri, places = documents[found.document]
        symbol, place = places[found.index]
        made.append(
            lsp.SymbolInformation(
                location=lsp.Location(uri, place),
                name=symbol.name,
                kind=KINDS[symbol.kind],
                container_name=symbol.container,
            )
        )
    return made


def _documents(session: Session) -> Iterator[tuple[str, _Places]]:
    encoding = session.client.encoding
    seen: set[str] = set()
    for document in session.documents:
        seen.add(same_document(document.uri))
        yield document.uri, _places(document.live, encoding)
    until = time.monotonic() + _SECONDS
    for known in session.index.view().documents():
        if known.path is None or same_document(known.uri) in seen:
            continue
        seen.add(same_document(known.uri))
        try:
            facts = known.path.stat()
            if facts.st_size <= _LARGEST:
                yield known.uri, _on_disk(known.path, facts.st_mtime_ns, facts.st_size, encoding)
        except (OSError, DocumentError):
            # Gone, or no text: there is nothing in it to find.
            continue
        if time.monotonic() > until:
            return


@lru_cache(maxsize=_MOST_FILES)
def _on_disk(path: Path, mtime_ns: int, size: int, encoding: Encoding) -> _Places:
    with path.open("rb") as file:
        data = file.read(_LARGEST)
    return _places(LiveDocument.open(decoded(data, str(path))), encoding)


def _places(live: LiveDocument, encoding: Encoding) -> _Places:
    return tuple((f, to_proto.range_(live, f.span, encoding)) for f in findable(live))
