"""The same requests through a real connection: advertised, answered once, never with an error."""

from __future__ import annotations

from typing import Any

import pytest
from tests.server.harness import GOOD, Client, RemoteError, insertion

URI = "file:///room/a.dlm"
TEXT = GOOD.removesuffix("---\n") + "training:\n  adapters:\n    tone: {}\n---\n"
CAPABILITIES = {
    "workspace": {"workspaceEdit": {"documentChanges": True}},
    "textDocument": {
        "diagnostic": {},
        "completion": {"completionItem": {"snippetSupport": True}},
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": []}}},
        "rename": {"prepareSupport": True},
    },
}


@pytest.fixture
def opened(client: Client) -> Client:
    offered = client.initialize(CAPABILITIES)["capabilities"]
    for name in (
        "completion",
        "hover",
        "codeAction",
        "definition",
        "references",
        "documentHighlight",
        "documentLink",
    ):
        assert offered[f"{name}Provider"] is not None, name
    assert offered["renameProvider"] == {"prepareProvider": True}
    client.open(URI, TEXT + "::instruction#tone::\n### Q\na\n\n::prose#tone::\ntext\n::")
    return client


def asked(client: Client, method: str, line: int, character: int, **more: object) -> Any:
    where = {"line": line, "character": character}
    named = {"textDocument": {"uri": URI}, "position": where}
    return client.request(f"textDocument/{method}", {**named, **more})


def test_completion_and_hover(opened: Client) -> None:
    found = asked(opened, "completion", 14, 2)
    assert found["isIncomplete"] is False
    assert found["items"][0]["textEdit"]["range"]["start"] == {"line": 14, "character": 0}
    assert asked(opened, "hover", 3, 3)["contents"]["kind"] == "markdown"
    assert asked(opened, "hover", 13, 1) is None


def test_adapters(opened: Client) -> None:
    there = {"start": {"line": 6, "character": 4}, "end": {"line": 6, "character": 8}}
    assert asked(opened, "definition", 8, 16) == [{"uri": URI, "range": there}]
    context = {"includeDeclaration": True}
    assert len(asked(opened, "references", 8, 16, context=context)) == 3
    assert len(asked(opened, "documentHighlight", 8, 16)) == 3
    assert asked(opened, "prepareRename", 6, 5) == {"range": there, "placeholder": "tone"}
    (change,) = asked(opened, "rename", 6, 5, newName="voice")["documentChanges"]
    assert change["textDocument"] == {"uri": URI, "version": 1}
    assert len(change["edits"]) == 3
    with pytest.raises(RemoteError, match="no adapter name"):
        asked(opened, "rename", 6, 5, newName="A b")


def test_actions_and_links(opened: Client) -> None:
    place = {"start": {"line": 9, "character": 0}, "end": {"line": 9, "character": 0}}
    report = opened.request("textDocument/diagnostic", {"textDocument": {"uri": URI}})
    shown = [item for item in report["items"] if item["code"] == "answer-missing"]
    params = {
        "textDocument": {"uri": URI},
        "range": place,
        "context": {"diagnostics": shown, "only": ["quickfix"]},
    }
    (action,) = opened.request("textDocument/codeAction", params)
    assert action["title"] == "Add ### A"
    assert action["diagnostics"] == shown
    (link,) = opened.request("textDocument/documentLink", {"textDocument": {"uri": URI}})
    assert link["target"].startswith("https://huggingface.co/")


def test_lenses_are_resolved_for_clients_that_can_ask(client: Client) -> None:
    able = {
        "textDocument": {
            "diagnostic": {},
            "codeLens": {"resolveSupport": {"properties": ["command"]}},
        }
    }
    offered = client.initialize(able)["capabilities"]
    assert offered["codeLensProvider"] == {"resolveProvider": True}
    client.open(URI, GOOD + "::instruction::\n### Q !probe\na\n### A\nb\n")
    train, ask = client.request("textDocument/codeLens", {"textDocument": {"uri": URI}})
    assert train["command"]["title"] == "Train"
    assert "command" not in ask
    resolved = client.request("codeLens/resolve", ask)
    assert resolved["range"] == ask["range"]
    assert resolved["command"]["title"] == "Ask probe"
    assert resolved["command"]["arguments"] == [ask["data"]]
    client.change(URI, 2, insertion(8, 0, "c"))
    with pytest.raises(RemoteError, match="has changed"):
        client.request("codeLens/resolve", ask)
    with pytest.raises(RemoteError, match="no lens of dlm"):
        client.request("codeLens/resolve", {"range": ask["range"], "data": 7})


def test_lenses_are_whole_for_all_others(client: Client) -> None:
    offered = client.initialize({"textDocument": {"diagnostic": {}}})["capabilities"]
    assert offered["codeLensProvider"] == {"resolveProvider": False}
    client.open(URI, GOOD + "::instruction::\n### Q\na\n### A\nb\n")
    found = client.request("textDocument/codeLens", {"textDocument": {"uri": URI}})
    assert [lens["command"]["title"] for lens in found] == ["Train", "Ask"]
