"""`textDocument/codeAction`: fixes and rewrites, each an edit of this version of the document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lsprotocol import types as lsp

from dlm_server.dispatch import request
from dlm_server.features.action_kinds import Asked
from dlm_server.session import Snapshot

if TYPE_CHECKING:
    from dlm_server.features.actions import Action


@request("textDocument/codeAction")
def code_action(snapshot: Snapshot, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    # Imported with the first question, so that opening an editor does not wait for it.
    from dlm_server.features.actions import actions

    context = params.context
    automatic = context.trigger_kind == lsp.CodeActionTriggerKind.Automatic
    found = actions(
        snapshot.live,
        [finding.diagnostic for finding in snapshot.findings],
        snapshot.span(params.range),
        context.only or (),
        Asked.BY_THE_EDITOR if automatic else Asked.BY_A_PERSON,
    )
    return [_action(snapshot, action, context.diagnostics) for action in found]


def _action(snapshot: Snapshot, action: Action, shown: Sequence[lsp.Diagnostic]) -> lsp.CodeAction:
    made = lsp.CodeAction(
        title=action.title,
        kind=action.kind.value,
        edit=snapshot.workspace_edit(action.edits),
    )
    if action.span is not None:
        place = snapshot.range(action.span)
        solved = [d for d in shown if d.code == action.code and d.range == place]
        made.diagnostics = solved or None
    if snapshot.client.code_action_is_preferred and action.preferred:
        made.is_preferred = True
    return made
