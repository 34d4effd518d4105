"""From the protocol to dlm: URIs to paths, positions and ranges to code-point offsets.

Positions are converted once, here, so that nothing behind this border counts anything but
code points. Any position is accepted: one beyond the text means its end, as editors expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pygls.uris import to_fs_path

from dlm_engine.document import LiveDocument, Span
from dlm_server.dispatch import INVALID_PARAMS, RequestFailed
from dlm_server.documents import OpenDocument
from dlm_server.encodings import Encoding, to_column

if TYPE_CHECKING:
    from lsprotocol import types as lsp


def path_of(uri: str) -> Path | None:
    """The file a URI names; None for an unsaved document and for other schemes."""
    if not uri.startswith("file:"):
        return None
    try:
        path = to_fs_path(uri)
        return Path(path) if path and "\0" not in path else None
    except ValueError:
        return None


def opened(params: object) -> OpenDocument:
    """The document that `didOpen` brings, as plain JSON.

    Raises:
        RequestFailed: something is missing or of the wrong kind.
    """
    item = params.get("textDocument") if isinstance(params, Mapping) else None
    match item:
        case {
            "uri": str(uri),
            "languageId": str(language),
            "version": int(version),
            "text": str(text),
        } if -(2**31) <= version < 2**31:
            return OpenDocument(uri, path_of(uri), language, version, LiveDocument.open(text))
    why = "textDocument/didOpen: textDocument must have uri, languageId, version and text"
    raise RequestFailed(INVALID_PARAMS, why)


def same_document(uri: str) -> str:
    """One spelling for every spelling of a URI: editors differ in what they percent-encode."""
    if "%" not in uri:
        return uri
    try:
        return unquote(uri) if urlsplit(uri).scheme else uri
    except ValueError:
        return uri


def offset(live: LiveDocument, position: lsp.Position, encoding: Encoding) -> int:
    """The code-point offset a position means."""
    if position.line >= live.line_count:
        return len(live.text)
    start = live.line_start(position.line)
    if position.character == 0:
        return start
    return start + to_column(live.line_text(position.line), position.character, encoding)


def span(live: LiveDocument, range_: lsp.Range, encoding: Encoding) -> Span:
    """The code-point span a range means; a reversed range is put right."""
    start = offset(live, range_.start, encoding)
    end = offset(live, range_.end, encoding)
    return Span(start, end) if start <= end else Span(end, start)


def edited(
    live: LiveDocument,
    changes: Sequence[
        lsp.TextDocumentContentChangePartial | lsp.TextDocumentContentChangeWholeDocument
    ],
    encoding: Encoding,
) -> LiveDocument:
    """`live` after the changes of one `didChange`, each of which sees the ones before it."""
    from lsprotocol import types as lsp

    for change in changes:
        if isinstance(change, lsp.TextDocumentContentChangePartial):
            live = live.edit([(*span(live, change.range, encoding), change.text)])
        else:
            live = LiveDocument.open(change.text)
    return live
