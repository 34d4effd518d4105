"""What the server itself finds wrong is said in an editor's words, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.server.harness import Client, RemoteError

from dlm_server.engine.client import State
from dlm_server.engine.status import status_json
from dlm_server.to_proto import uri_of


def test_a_command_that_is_refused(client: Client, tmp_path: Path) -> None:
    client.initialize()
    params = {"command": "dlm.runs", "arguments": [{"uri": uri_of(tmp_path / "nowhere.dlm")}]}
    with pytest.raises(RemoteError) as caught:
        client.request("workspace/executeCommand", params)
    assert caught.value.error["message"] == f"{tmp_path}/nowhere.dlm: does not exist: save it first"
    assert caught.value.error["data"]["remedy"] == "save it first"


def test_the_status() -> None:
    message = "not trained: a.dlm: does not exist: create it with `dlm init a.dlm`"
    said = status_json(State.OFF, message, None, 0, None)
    assert said["message"] == "not trained: a.dlm: does not exist: save it first"
