"""Whole sessions the way real editors hold them: what they announce, send and expect."""

from __future__ import annotations

from pathlib import Path

from tests.server.harness import GOOD, Client, Json, codes, insertion

from dlm_server.to_proto import uri_of

#: Visual Studio Code 1.9x with vscode-languageclient 9, shortened to what a server reads
VSCODE: Json = {
    "workspace": {
        "applyEdit": True,
        "workspaceEdit": {
            "documentChanges": True,
            "resourceOperations": ["create", "rename", "delete"],
            "failureHandling": "textOnlyTransactional",
            "changeAnnotationSupport": {"groupsOnLabel": True},
        },
        "configuration": True,
        "didChangeWatchedFiles": {"dynamicRegistration": True, "relativePatternSupport": True},
        "didChangeConfiguration": {"dynamicRegistration": True},
        "workspaceFolders": True,
        "codeLens": {"refreshSupport": True},
        "inlayHint": {"refreshSupport": True},
        "semanticTokens": {"refreshSupport": True},
        "diagnostics": {"refreshSupport": True},
        "foldingRange": {"refreshSupport": True},
    },
    "textDocument": {
        "publishDiagnostics": {"relatedInformation": True, "versionSupport": False},
        "synchronization": {"dynamicRegistration": True, "willSave": True, "didSave": True},
        "completion": {
            "contextSupport": True,
            "completionItem": {
                "snippetSupport": True,
                "documentationFormat": ["markdown", "plaintext"],
                "insertReplaceSupport": True,
                "labelDetailsSupport": True,
                "resolveSupport": {"properties": ["documentation", "detail"]},
            },
            "completionList": {"itemDefaults": ["commitCharacters", "editRange"]},
        },
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "documentSymbol": {"hierarchicalDocumentSymbolSupport": True},
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["", "quickfix"]}},
            "isPreferredSupport": True,
            "dataSupport": True,
            "resolveSupport": {"properties": ["edit"]},
        },
        "rename": {"prepareSupport": True, "prepareSupportDefaultBehavior": 1},
        "foldingRange": {"rangeLimit": 5000, "lineFoldingOnly": True},
        "diagnostic": {"dynamicRegistration": True, "relatedDocumentSupport": False},
    },
    "window": {"workDoneProgress": True, "showDocument": {"support": True}},
    "general": {
        "staleRequestSupport": {"cancel": True, "retryOnContentModified": []},
        "positionEncodings": ["utf-16"],
    },
}

#: Neovim 0.11, shortened likewise
NEOVIM: Json = {
    "general": {"positionEncodings": ["utf-8", "utf-16", "utf-32"]},
    "workspace": {
        "applyEdit": True,
        "configuration": True,
        "workspaceFolders": True,
        "didChangeConfiguration": {"dynamicRegistration": False},
        "didChangeWatchedFiles": {"dynamicRegistration": False, "relativePatternSupport": True},
        "workspaceEdit": {"resourceOperations": ["rename", "create", "delete"]},
    },
    "textDocument": {
        "synchronization": {"didSave": True, "willSave": True, "willSaveWaitUntil": True},
        "publishDiagnostics": {
            "relatedInformation": True,
            "tagSupport": {"valueSet": [1, 2]},
            "dataSupport": True,
        },
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "codeAction": {
            "codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["", "quickfix"]}},
            "dataSupport": True,
        },
    },
    "window": {"workDoneProgress": True, "showDocument": {"support": True}},
}


def test_visual_studio_code(client: Client, tmp_path: Path) -> None:
    uri = uri_of(tmp_path / "notes.dlm")
    client.initialize(
        VSCODE,
        options={},
        settings={"train": {"on": "never"}},
        clientInfo={"name": "Visual Studio Code", "version": "1.96.0"},
        rootUri=uri_of(tmp_path),
        workspaceFolders=[{"uri": uri_of(tmp_path), "name": "w"}],
        trace="off",
    )
    registered = client.expect_message("client/registerCapability")
    methods = [r["method"] for r in registered["params"]["registrations"]]
    assert methods == ["workspace/didChangeWatchedFiles", "workspace/didChangeConfiguration"]
    client.reply(registered)
    client.open(uri, GOOD + "Caf\u00e9 \U0001f600 words.\n\n::instrction::\n", 1)
    document = {"textDocument": {"uri": uri}}
    first = client.request("textDocument/diagnostic", {**document, "identifier": "dlm"})
    assert "fence-unknown" in codes(first["items"])
    # Typing over an emoji, counted in UTF-16, then asking for everything an editor asks for.
    client.change(uri, 2, insertion(7, 7, "u"), insertion(5, 5, "", removed=2))
    asked = [
        client.ask("textDocument/documentSymbol", document),
        client.ask("textDocument/foldingRange", document),
        client.ask("textDocument/semanticTokens/full", document),
        client.ask("textDocument/codeLens", document),
        client.ask("textDocument/hover", {**document, "position": {"line": 3, "character": 2}}),
        client.ask("textDocument/documentLink", document),
    ]
    assert all(client.answer(number) is not None for number in asked)
    client.notify("textDocument/willSave", {**document, "reason": 1})
    client.notify("textDocument/didSave", document)
    previous = {"previousResultId": first["resultId"]}
    second = client.request("textDocument/diagnostic", {**document, **previous})
    assert "fence-unknown" not in codes(second["items"])
    open_document = client.server.session.document(uri)
    assert open_document is not None
    assert "Caf\u00e9  words." in open_document.live.text
    client.close(uri)
    assert client.server.session.settings.train_on == "never"


def test_neovim(client: Client, tmp_path: Path) -> None:
    uri = uri_of(tmp_path / "notes.dlm")
    settings = {"diagnostics": {"debounceMilliseconds": 0}, "train": {"on": "never"}}
    result = client.initialize(
        NEOVIM,
        options={},
        settings=settings,
        clientInfo={"name": "Neovim", "version": "0.11.4"},
        rootPath=str(tmp_path),
        rootUri=uri_of(tmp_path),
        workspaceFolders=[{"uri": uri_of(tmp_path), "name": str(tmp_path)}],
        trace="off",
        workDoneToken="1",
    )
    assert result["capabilities"]["positionEncoding"] == "utf-8"
    client.notify("workspace/didChangeConfiguration", {"settings": {"dlm": settings}})
    client.open(uri, GOOD + "Caf\u00e9 words.\n\n::instrction::\n", 0)
    assert "fence-unknown" in codes(client.published(uri, 0))
    # Two bytes make the accented letter.
    client.change(uri, 3, insertion(5, 5, "s"))
    client.published(uri, 3)
    client.change(uri, 4, insertion(7, 7, "u"))
    assert "fence-unknown" not in codes(client.published(uri, 4))
    position = {"textDocument": {"uri": uri}, "position": {"line": 3, "character": 2}}
    assert client.request("textDocument/hover", position) is not None
    open_document = client.server.session.document(uri)
    assert open_document is not None
    assert "Caf\u00e9s words." in open_document.live.text
    client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})
    client.settled()
    client.close(uri)
    assert client.published(uri) == []
