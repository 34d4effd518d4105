"""Commands that are refused: in words, with their parts, and never for long."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.server.harness import GOOD, Client, RemoteError

from dlm_server.dispatch import INVALID_PARAMS, REQUEST_FAILED

SOMEWHERE = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
NOWHERE = {"start": {"line": -1, "character": 0}, "end": {"line": 0, "character": 1}}


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


@pytest.mark.parametrize(
    ("uri", "problem", "remedy"),
    [
        ("untitled:Untitled-1", "is not saved yet", "save it as a file first"),
        ("file://", "is not saved yet", "save it as a file first"),
        ("vscode-vfs://github/a/b.dlm", "is no file on this machine (vscode-vfs:)", "save a copy"),
        ("git:/a/b.dlm?HEAD", "is no file on this machine (git:)", "save a copy"),
        pytest.param(
            "file:///c%3A/notes/b.dlm",
            "is no file on this machine (file:)",
            "save a copy",
            marks=pytest.mark.skipif(os.name == "nt", reason="a path of this system"),
        ),
    ],
)
def test_a_document_that_is_no_file_here_is_refused_as_what_it_is(
    client: Client, uri: str, problem: str, remedy: str
) -> None:
    client.initialize()
    client.open(uri, GOOD + "\nwords\n")
    client.published(uri, 1)
    error = refused(client, "dlm.train", uri=uri)
    assert error["code"] == REQUEST_FAILED
    assert error["message"].startswith(f"the document {problem}: {remedy}")


@pytest.mark.parametrize(
    ("name", "argument", "code", "message"),
    [
        ("dlm.no", {}, INVALID_PARAMS, "command 'dlm.no': does not exist"),
        ("dlm.train", {}, INVALID_PARAMS, "argument uri: Field required"),
        ("dlm.askSection", {}, INVALID_PARAMS, "argument sectionId: or a position is needed"),
        ("dlm.askSection", {"sectionId": "x"}, REQUEST_FAILED, "the question is not in the"),
        ("dlm.askSection", {"position": {"line": -1, "character": 0}}, INVALID_PARAMS, "argument "),
        ("dlm.askSelection", {"range": NOWHERE}, INVALID_PARAMS, "argument range: must have"),
        ("dlm.askSelection", {"range": SOMEWHERE}, REQUEST_FAILED, "the selection is no text"),
        ("dlm.setBaseModel", {"key": "x"}, REQUEST_FAILED, "the base 'x' is not known"),
        ("dlm.newId", {}, REQUEST_FAILED, "the editor cannot apply edits"),
    ],
)
def test_a_refusal_has_its_parts(
    client: Client, tmp_path: Path, name: str, argument: dict[str, Any], code: int, message: str
) -> None:
    client.initialize(options={"dlm": {"home": str(tmp_path)}})
    path = tmp_path / "x.dlm"
    path.write_text(GOOD + "\nwords\n")
    client.open(path.as_uri(), path.read_text())
    client.published(path.as_uri(), 1)
    named = {} if message.startswith("argument uri") else {"uri": path.as_uri()}
    error = refused(client, name, **named, **argument)
    assert error["code"] == code
    assert error["message"].startswith(message)
    assert set(error["data"]) == {"subject", "problem", "remedy"}
    assert error["data"]["problem"] in error["message"]


def test_a_folder_that_is_not_trusted_is_a_refusal_with_its_parts(
    client: Client, tmp_path: Path
) -> None:
    client.initialize(options={"dlm": {"home": str(tmp_path), "trusted": False}})
    error = refused(client, "dlm.train", uri=(tmp_path / "x.dlm").as_uri())
    assert error["data"]["subject"] == "the folder"
    assert "is not trusted" in error["message"]
