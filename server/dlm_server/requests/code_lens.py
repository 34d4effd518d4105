"""`textDocument/codeLens`: train, cancel, export and versions on top, ask above questions."""

from __future__ import annotations

from collections.abc import Collection

from lsprotocol import types as lsp

from dlm_server.dispatch import session_request
from dlm_server.engine.results import result_key
from dlm_server.engine.service import engine_of
from dlm_server.features.lenses import Facts, lenses
from dlm_server.from_proto import same_document
from dlm_server.session import Session, Snapshot


@session_request("textDocument/codeLens")
def code_lens(session: Session, params: lsp.CodeLensParams) -> list[lsp.CodeLens] | None:
    snapshot = session.snapshot(params.text_document.uri)
    if snapshot is None:
        return None
    queue = engine_of(session).queue
    jobs = [*queue.waiting, *((queue.running,) if queue.running else ())]
    here = same_document(snapshot.uri)
    return lenses_of(snapshot, frozenset(j.kind for j in jobs if same_document(j.uri) == here))


def lenses_of(snapshot: Snapshot, jobs: Collection[str]) -> list[lsp.CodeLens]:
    """The lenses while jobs of these kinds run or wait for the document."""
    if not snapshot.settings.code_lens_enabled:
        return []
    facts = Facts(
        uri=snapshot.uri,
        trusted=snapshot.settings.trusted,
        busy=bool(jobs),
        trained=snapshot.trained,
        result=lambda section, pair: snapshot.results.get(result_key(section, pair)),
    )
    return [
        lsp.CodeLens(
            range=snapshot.range(lens.span),
            command=lsp.Command(lens.title, lens.command, arguments=[dict(lens.argument)]),
        )
        for lens in lenses(snapshot.live, facts)
    ]
