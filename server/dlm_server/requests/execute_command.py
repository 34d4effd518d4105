"""`workspace/executeCommand`: hands over to the commands of the engine's room."""

from __future__ import annotations

from typing import Any

from lsprotocol import types as lsp

from dlm_server.dispatch import session_request
from dlm_server.session import Session


@session_request("workspace/executeCommand")
def execute_command(session: Session, params: lsp.ExecuteCommandParams) -> Any:
    from dlm_server.engine.commands import execute

    return execute(session, params.command, params.arguments or [])
