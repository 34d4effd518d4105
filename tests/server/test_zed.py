"""A session as Zed holds it: what it says in `initialize`, in which order, and what it can take.

Written from Zed's source (crates/lsp/src/lsp.rs, crates/project/src/lsp_store.rs), not recorded.
Each answer is read as the protocol's type, since Zed drops an answer that it cannot read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from tests.server.harness import GOOD, Client, Json, codes, insertion

from dlm_server.conversion import converter
from dlm_server.to_proto import uri_of

INITIALIZE = Path(__file__).with_name("zed_initialize.json")
#: a wrong fence, letters of two UTF-16 units before a place, an adapter and a missing picture
TEXT = (
    GOOD.removesuffix("---\n")
    + "training:\n  adapters:\n    tone: {}\n---\n# Notes\n\n::instruction#tone::\n### Q\n"
    + '😀 a  \n### A\nb\n\n::image path="a.png" alt="x"::\n::instrction::\n### Q\nc\n'
)
#: the requests of a server that Zed answers; to others it answers that there is no such method
ANSWERED = {
    "workspace/configuration",
    "workspace/workspaceFolders",
    "window/workDoneProgress/create",
    "window/showMessageRequest",
    "client/registerCapability",
    "client/unregisterCapability",
    "workspace/applyEdit",
    "workspace/inlayHint/refresh",
    "workspace/codeLens/refresh",
    "workspace/semanticTokens/refresh",
    "workspace/diagnostic/refresh",
}
#: what Zed asks a server of an extension for, where the manifest names no kinds
KINDS = ["", "quickfix", "refactor", "refactor.extract", "source"]


class Zed(Client):
    """Answers what Zed answers, at once; anything else stays unread and fails the test."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Json] = []
        #: `lsp.dlm.settings`, as the extension hands them to Zed
        self.configuration: Json = {"dlm": None}

    def _take(self, message: Json) -> None:
        if "id" not in message or "method" not in message or message["method"] not in ANSWERED:
            super()._take(message)
            return
        self.asked.append(message)
        self.reply(message, self.said(message["method"], message.get("params")))

    def said(self, method: str, params: Any) -> Any:
        if method != "workspace/configuration":
            return None
        return [self.configuration.get(item["section"]) for item in params["items"]]

    def begin(self, folder: Path) -> Json:
        text = INITIALIZE.read_text(encoding="utf-8").replace("FOLDER", str(folder))
        params = {"processId": os.getpid(), **json.loads(text)}
        # Zed counts its requests from 0.
        offered: Json = self.answer(self.ask("initialize", params, number=0))["capabilities"]
        self.notify("initialized", {})
        self.notify("workspace/didChangeConfiguration", {"settings": self.configuration})
        return offered

    def read(self, method: str, params: Json) -> Any:
        """The answer, which must be of the protocol's type."""
        result = self.request(method, params)
        response: Any = lsp.METHOD_TO_TYPES[method][1]
        converter().structure({"jsonrpc": "2.0", "id": 1, "result": result}, response)
        return result


@pytest.fixture
def zed() -> Iterator[Zed]:
    made = Zed()
    yield made
    made.finish()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "notes.dlm"
    made.write_text(TEXT, encoding="utf-8")
    return made


def at(uri: str, **more: object) -> Json:
    return {"textDocument": {"uri": uri}, **more}


def place(text: str, into: int = 0) -> Json:
    """The position `into` characters after the beginning of the line that holds `text`."""
    return {"line": TEXT[: TEXT.index(text)].count("\n"), "character": into}


def whole() -> Json:
    return {
        "start": {"line": 0, "character": 0},
        "end": {"line": TEXT.count("\n"), "character": 0},
    }


def pulled(zed: Zed, uri: str, known: str | None = None) -> Json:
    params = at(uri, identifier="dlm", **({"previousResultId": known} if known else {}))
    found: Json = zed.read("textDocument/diagnostic", params)
    return found


def edits_of(action: Json) -> list[Json]:
    """The edits, which must be told in a way that Zed said it takes."""
    assert set(action["edit"]) == {"documentChanges"}
    found: list[Json] = []
    for change in action["edit"]["documentChanges"]:
        assert change.get("kind", "create") in {"create", "rename", "delete"}
        found += change.get("edits", [])
    assert not any("annotationId" in edit for edit in found)
    return found


def test_a_session(zed: Zed, path: Path) -> None:
    uri = uri_of(path)
    offered = zed.begin(path.parent)
    assert offered["positionEncoding"] == "utf-16"
    assert offered["textDocumentSync"]["save"] == {"includeText": False}
    zed.open(uri, TEXT, version=0)

    first = pulled(zed, uri)
    assert {"fence-unknown", "media-missing"} <= set(codes(first["items"]))
    assert pulled(zed, uri, first["resultId"])["kind"] == "unchanged"

    found = zed.read(
        "textDocument/completion",
        at(uri, position=place("base_model", 12), context={"triggerKind": 1}),
    )
    for item in found["items"]:
        assert item.get("insertTextMode", 1) in (1, 2)
        assert item["textEdit"]["range"]["start"] == place("base_model", 12)
    assert "smollm2-135m" in [item["label"] for item in found["items"]]
    hover = zed.read("textDocument/hover", at(uri, position=place("base_model", 3)))
    assert hover["contents"]["kind"] == "markdown"

    asked = {"diagnostics": first["items"], "only": KINDS}
    actions = zed.read("textDocument/codeAction", at(uri, range=whole(), context=asked))
    fix = next(action for action in actions if action["kind"] == "quickfix")
    # Zed asks for more only where something is missing.
    assert {"title", "kind", "edit", "diagnostics"} == set(fix)
    assert [edit["newText"] for edit in edits_of(fix)] == ["instruction"]

    hints = zed.read("textDocument/inlayHint", at(uri, range=whole()))
    assert any("until learned" in hint["label"] for hint in hints)
    commands = offered["executeCommandProvider"]["commands"]
    lenses = [lens["command"] for lens in zed.read("textDocument/codeLens", at(uri))]
    assert [lens["title"] for lens in lenses] == ["Train", "Ask"]
    assert all(lens["command"] in commands for lens in lenses)
    links = zed.read("textDocument/documentLink", at(uri))
    assert all(link["target"] and link["tooltip"] for link in links)

    symbols = zed.read("textDocument/documentSymbol", at(uri))
    assert "Notes" in [symbol["name"] for symbol in symbols]
    folds = zed.read("textDocument/foldingRange", at(uri))
    assert {fold.get("kind", "region") for fold in folds} == {"region"}
    assert len(zed.read("textDocument/semanticTokens/full", at(uri))["data"]) % 5 == 0

    on_name = at(uri, position=place("::instruction#tone", 16))
    prepared = zed.read("textDocument/prepareRename", on_name)
    assert prepared["range"]["start"] == place("::instruction#tone", 14)
    renamed = zed.read("textDocument/rename", {**on_name, "newName": "calm"})
    assert len(edits_of({"edit": renamed})) == 2

    # In the line of the emoji, which is two of Zed's units.
    zed.change(uri, 1, insertion(place("😀")["line"], 4, "bc"))
    zed.notify("textDocument/didSave", at(uri))
    formatted = zed.read(
        "textDocument/formatting", at(uri, options={"tabSize": 2, "insertSpaces": True})
    )
    assert formatted
    outline = zed.read("textDocument/documentSymbol", at(uri))
    assert "😀 abc" in [symbol["name"] for symbol in outline]
    zed.close(uri)
    zed.settled()


def test_the_problems_of_a_folder_come_to_the_token_that_zed_names(zed: Zed, path: Path) -> None:
    zed.begin(path.parent)
    params = {
        "identifier": "dlm",
        "previousResultIds": [],
        "partialResultToken": "workspace/diagnostic/0/0",
    }
    reports = zed.read("workspace/diagnostic", params)["items"]
    assert [report["uri"] for report in reports] == [uri_of(path)]
    assert "fence-unknown" in codes(reports[0]["items"])


def test_settings_are_those_that_the_extension_hands_over(zed: Zed, path: Path) -> None:
    uri = uri_of(path)
    zed.configuration = {"dlm": {"codeLens": {"enabled": False}}}
    zed.begin(path.parent)
    zed.open(uri, TEXT, version=0)
    zed.settled()
    assert zed.read("textDocument/codeLens", at(uri)) == []
    zed.configuration = {"dlm": None}
    zed.notify("workspace/didChangeConfiguration", {"settings": zed.configuration})
    zed.settled()
    assert len(zed.read("textDocument/codeLens", at(uri))) == 2
    sections = [
        item["section"]
        for message in zed.asked
        if message["method"] == "workspace/configuration"
        for item in message["params"]["items"]
    ]
    assert set(sections) == {"dlm"}


def test_what_is_watched_is_registered_in_one_request(zed: Zed, path: Path) -> None:
    zed.begin(path.parent)
    zed.settled()
    (message,) = [m for m in zed.asked if m["method"] == "client/registerCapability"]
    methods = [r["method"] for r in message["params"]["registrations"]]
    assert methods == ["workspace/didChangeWatchedFiles", "workspace/didChangeConfiguration"]
