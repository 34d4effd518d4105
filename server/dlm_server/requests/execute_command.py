"""`workspace/executeCommand`: hands over to the commands of the engine's room.

What comes before the client has said its settings waits for them: they say where the store is
and whether the folder is trusted.
"""

from __future__ import annotations

import logging
from typing import Any

from lsprotocol import types as lsp

from dlm_server.dispatch import INTERNAL_ERROR, Pending, RequestFailed, session_request
from dlm_server.session import Session

log = logging.getLogger(__name__)


@session_request("workspace/executeCommand")
def execute_command(session: Session, params: lsp.ExecuteCommandParams) -> Any:
    if session.configured:
        return _execute(session, params)
    pending = Pending()

    def run() -> None:
        if pending.cancelled:
            return
        try:
            value = _execute(session, params)
        except RequestFailed as error:
            pending.reject(error)
        except Exception as error:
            log.exception("%s", params.command)
            said = f"{params.command} failed inside the server: {type(error).__name__}: {error}"
            pending.reject(RequestFailed(INTERNAL_ERROR, said))
        else:
            if isinstance(value, Pending):
                pending.follow(value)
            else:
                pending.resolve(value)

    session.when_configured(run)
    return pending


def _execute(session: Session, params: lsp.ExecuteCommandParams) -> Any:
    from dlm_server.engine.commands import execute

    return execute(session, params.command, params.arguments or [])
