"""`textDocument/documentLink`: media, sources and the base, each a click away."""

from __future__ import annotations

from pathlib import Path

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.session import Snapshot
from dlm_server.to_proto import uri_of


@request("textDocument/documentLink")
def document_link(snapshot: Snapshot, params: lsp.DocumentLinkParams) -> list[lsp.DocumentLink]:
    # Imported with the first question, so that opening an editor does not wait for it.
    from dlm_server.features.links import links

    folder = snapshot.path.parent if snapshot.path else None
    return [
        lsp.DocumentLink(
            range=snapshot.range(link.span),
            target=uri_of(link.target) if isinstance(link.target, Path) else link.target,
            tooltip=link.tooltip if snapshot.client.link_tooltips else None,
        )
        for link in links(snapshot.live, folder)
    ]
