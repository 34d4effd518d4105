"""`textDocument/completion`: what may be written at the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.session import Snapshot

if TYPE_CHECKING:
    from dlm_server.features.completion import Completion

#: by `Offer`
_KINDS = {
    "key": lsp.CompletionItemKind.Property,
    "value": lsp.CompletionItemKind.Value,
    "base": lsp.CompletionItemKind.Module,
    "adapter": lsp.CompletionItemKind.Reference,
    "fence": lsp.CompletionItemKind.Struct,
    "header": lsp.CompletionItemKind.Keyword,
    "attribute": lsp.CompletionItemKind.Property,
    "file": lsp.CompletionItemKind.File,
    "folder": lsp.CompletionItemKind.Folder,
}


@request("textDocument/completion")
def completion(snapshot: Snapshot, params: lsp.CompletionParams) -> lsp.CompletionList:
    # Imported with the first question, so that opening an editor does not wait for it.
    from dlm_server.features.completion import Surroundings, complete

    around = Surroundings(snapshot.path.parent if snapshot.path else None)
    found = complete(snapshot.live, snapshot.offset(params.position), around)
    return lsp.CompletionList(
        is_incomplete=not found.complete, items=[_item(snapshot, item) for item in found.items]
    )


def _item(snapshot: Snapshot, item: Completion) -> lsp.CompletionItem:
    client = snapshot.client
    snippet = item.snippet if client.snippets else None
    edit = lsp.TextEdit(
        range=snapshot.range(item.edit.span),
        new_text=item.edit.new_text if snippet is None else snippet,
    )
    return lsp.CompletionItem(
        label=item.label,
        kind=_KINDS[item.offer],
        detail=item.detail or None,
        documentation=_documentation(snapshot, item.documentation),
        sort_text=item.sort or None,
        # A client filters by what stands in the range that is replaced.
        filter_text=item.label,
        insert_text_format=None if snippet is None else lsp.InsertTextFormat.Snippet,
        # The lines of a snippet are indented from the line it begins on.
        insert_text_mode=None if snippet is None else lsp.InsertTextMode.AdjustIndentation,
        text_edit=edit,
    )


def _documentation(snapshot: Snapshot, markdown: str) -> lsp.MarkupContent | None:
    from dlm_server.features.hover import plain

    if not markdown:
        return None
    if snapshot.client.completion_markdown:
        return lsp.MarkupContent(lsp.MarkupKind.Markdown, markdown)
    return lsp.MarkupContent(lsp.MarkupKind.PlainText, plain(markdown))
