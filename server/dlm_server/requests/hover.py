"""`textDocument/hover`: what the thing under the cursor is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from dlm_server.base_files import tokenizer_file
from dlm_server.dispatch import session_request
from dlm_server.features.token_counts import TOKENIZERS, Encoding
from dlm_server.session import Session, Snapshot
from dlm_server.views import SectionResult

if TYPE_CHECKING:
    from dlm_server.features.hover import Known


@session_request("textDocument/hover")
def hover(session: Session, params: lsp.HoverParams) -> lsp.Hover | None:
    snapshot = session.snapshot(params.text_document.uri)
    if snapshot is None:
        return None

    def again() -> None:
        # Whoever reads a tokenizer first reads it for the token counts in the text as well.
        session.post(lambda: session.refresh("inlayHint"))

    return hover_of(snapshot, params.position, lambda file: TOKENIZERS.ready(file, again))


def hover_of(
    snapshot: Snapshot, position: lsp.Position, tokenizer: Callable[[Path], Encoding | None]
) -> lsp.Hover | None:
    """What to show at a place; `tokenizer` gives the encoding of a file, or None."""
    # Imported with the first question, so that opening an editor does not wait for it.
    from dlm_server.features import hover as feature

    offset = snapshot.offset(position)
    found = feature.hover(snapshot.live, offset, _known(snapshot, offset, tokenizer))
    if found is None:
        return None
    if snapshot.client.hover_markdown:
        contents = lsp.MarkupContent(lsp.MarkupKind.Markdown, found.markdown)
    else:
        contents = lsp.MarkupContent(lsp.MarkupKind.PlainText, feature.plain(found.markdown))
    return lsp.Hover(contents=contents, range=snapshot.range(found.span))


def _known(snapshot: Snapshot, offset: int, tokenizer: Callable[[Path], Encoding | None]) -> Known:
    from dlm_server.engine.results import result_key
    from dlm_server.features.hover import Known

    folder = snapshot.path.parent if snapshot.path else None
    if snapshot.live.in_frontmatter(offset):
        # Nothing there asks the store or a tokenizer.
        return Known(folder)

    def result(section: str, number: int) -> SectionResult | None:
        return snapshot.results.get(result_key(section, number))

    file = tokenizer_file(snapshot)
    encoding = tokenizer(file) if file is not None else None
    return Known(folder, snapshot.trained, result, encoding)
