"""`textDocument/documentSymbol`: nested, or as one list where the client knows no nesting."""

from __future__ import annotations

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.symbols import Kind, Symbol, flattened, symbols
from dlm_server.session import Snapshot

KINDS = {
    Kind.FRONTMATTER: lsp.SymbolKind.Namespace,
    Kind.BLOCK: lsp.SymbolKind.Object,
    Kind.LIST: lsp.SymbolKind.Array,
    Kind.VALUE: lsp.SymbolKind.Property,
    Kind.PROSE: lsp.SymbolKind.Module,
    Kind.INSTRUCTION: lsp.SymbolKind.Class,
    Kind.PREFERENCE: lsp.SymbolKind.Interface,
    Kind.MEDIA: lsp.SymbolKind.File,
    Kind.UNKNOWN: lsp.SymbolKind.Null,
    Kind.HEADING: lsp.SymbolKind.String,
    Kind.QUESTION: lsp.SymbolKind.Function,
    Kind.PROBE: lsp.SymbolKind.Event,
    Kind.ADAPTER: lsp.SymbolKind.TypeParameter,
    Kind.NOTE: lsp.SymbolKind.Null,
}


@request("textDocument/documentSymbol")
def document_symbol(
    snapshot: Snapshot, params: lsp.DocumentSymbolParams
) -> list[lsp.DocumentSymbol] | list[lsp.SymbolInformation]:
    found = symbols(snapshot.live)
    if snapshot.client.hierarchical_symbols:
        return [_nested(snapshot, symbol) for symbol in found]
    return [
        lsp.SymbolInformation(
            location=lsp.Location(params.text_document.uri, snapshot.range(symbol.span)),
            name=symbol.name,
            kind=KINDS[symbol.kind],
            container_name=container,
        )
        for symbol, container in flattened(found)
    ]


def _nested(snapshot: Snapshot, symbol: Symbol) -> lsp.DocumentSymbol:
    return lsp.DocumentSymbol(
        name=symbol.name,
        kind=KINDS[symbol.kind],
        range=snapshot.range(symbol.span),
        selection_range=snapshot.range(symbol.selection),
        detail=symbol.detail or None,
        children=[_nested(snapshot, child) for child in symbol.children],
    )
