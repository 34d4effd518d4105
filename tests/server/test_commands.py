"""Commands that are refused: in words, with their parts, and never for long."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.server.harness import Client, RemoteError

from dlm_server.dispatch import REQUEST_FAILED


def refused(client: Client, name: str, **argument: Any) -> dict[str, Any]:
    """The error that a command ends in."""
    with pytest.raises(RemoteError) as caught:
        client.request("workspace/executeCommand", {"command": name, "arguments": [argument]})
    return caught.value.error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_named_pipe_is_refused_and_holds_nobody_up(client: Client, tmp_path: Path) -> None:
    client.initialize(options={"dlm": {"home": str(tmp_path)}})
    pipe = tmp_path / "x.dlm"
    os.mkfifo(pipe)
    error = refused(client, "dlm.versions", uri=pipe.as_uri())
    assert error["code"] == REQUEST_FAILED
    assert "is not a regular file" in error["message"]
