"""What the server offers is what its handlers can do, for every kind of client."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from lsprotocol import types as lsp
from tests.server.harness import GOOD, insertion

from dlm_server import requests
from dlm_server.capabilities import ClientFeatures, client_features, offered
from dlm_server.conversion import converter, plain
from dlm_server.dispatch import handler_of
from dlm_server.engine import commands
from dlm_server.features import highlights
from dlm_server.features.action_kinds import ActionKind
from dlm_server.features.on_type import TRIGGER

FLAGS = [f.name for f in fields(ClientFeatures) if f.type == "bool"]
NONE = ClientFeatures()


def able(*names: str) -> ClientFeatures:
    changes: dict[str, Any] = dict.fromkeys(names, True)
    return replace(NONE, **changes)


CLIENTS = [NONE, able(*FLAGS), *map(able, FLAGS)]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_offer_is_one_the_protocol_knows(client: ClientFeatures) -> None:
    offer = offered(client)
    assert plain(converter().structure(offer, lsp.ServerCapabilities)) == offer


def test_the_offer_names_what_there_is() -> None:
    offer = offered(CLIENTS[1])
    legend = offer["semanticTokensProvider"]["legend"]
    assert legend == {"tokenTypes": list(highlights.TOKEN_TYPES), "tokenModifiers": []}
    assert offer["executeCommandProvider"]["commands"] == list(commands.COMMANDS)
    assert offer["experimental"]["dlm"]["commands"] == sorted(commands.COMMANDS)
    kinds = [kind.value for kind in ActionKind]
    assert offer["codeActionProvider"]["codeActionKinds"] == kinds
    assert offer["documentOnTypeFormattingProvider"] == {"firstTriggerCharacter": TRIGGER}


def test_what_a_client_cannot_use_is_not_offered_to_it() -> None:
    assert offered(able("rename_prepare"))["renameProvider"] == {"prepareProvider": True}
    assert offered(NONE)["renameProvider"] == {"prepareProvider": False}
    assert "diagnosticProvider" in offered(able("pull_diagnostics"))
    assert "codeActionProvider" in offered(able("code_action_literals"))
    assert {"diagnosticProvider", "codeActionProvider"}.isdisjoint(offered(NONE))


def test_every_offer_has_a_handler() -> None:
    methods = {
        "renameProvider": {"textDocument/rename", "textDocument/prepareRename"},
        "semanticTokensProvider": {
            "textDocument/semanticTokens/full",
            "textDocument/semanticTokens/range",
        },
        "codeLensProvider": {"textDocument/codeLens", "codeLens/resolve"},
        "executeCommandProvider": {"workspace/executeCommand"},
        "workspaceSymbolProvider": {"workspace/symbol"},
        "diagnosticProvider": {"textDocument/diagnostic", "workspace/diagnostic"},
        "documentFormattingProvider": {"textDocument/formatting"},
        "documentRangeFormattingProvider": {"textDocument/rangeFormatting"},
        "documentOnTypeFormattingProvider": {"textDocument/onTypeFormatting"},
    }
    offers = [k for k in offered(CLIENTS[1]) if k.endswith("Provider")]
    wanted: set[str] = set()
    for offer in offers:
        wanted |= methods.get(offer, {f"textDocument/{offer.removesuffix('Provider')}"})
    assert wanted == set(requests.MODULES)
    for method, module in requests.MODULES.items():
        handler = handler_of(method)
        assert handler is not None
        assert handler.function.__module__ == module


def test_capabilities_of_unknown_kinds_are_no_obstacle() -> None:
    capabilities = {
        "textDocument": {
            "completion": {"completionItem": {"snippetSupport": True, "tagSupport": {"x": [99]}}},
            "codeAction": {"codeActionLiteralSupport": {"codeActionKind": {"valueSet": ["new"]}}},
            "documentSymbol": {"symbolKind": {"valueSet": [1, 999]}},
        },
        "workspace": {"workspaceEdit": {"failureHandling": "newest"}},
    }
    found = client_features({"capabilities": capabilities})
    assert found.snippets
    assert found.code_action_literals


def imported(code: str, names: str) -> list[str]:
    """Which of `names` are imported when `code` has run in a process of its own."""
    code = f"import sys; from dlm_server.serving import build; {code}; "
    code += f"print(*sorted(set({names!r}.split()) & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_answering_initialize_imports_neither_the_types_nor_the_format() -> None:
    code = (
        "server = build(lambda data: None); "
        "server.protocol.take({'id': 1, 'method': 'initialize', 'params': {}}); "
        "server.protocol.step()"
    )
    assert imported(code, "lsprotocol cattrs yaml pydantic tree_sitter") == []


ITEM = {"uri": "file:///a.dlm", "languageId": "dlm", "version": 1, "text": GOOD}
CHANGE = {
    "textDocument": {"uri": ITEM["uri"], "version": 2},
    "contentChanges": [insertion(5, 0, "x")],
}
SESSION = (
    "server = build(lambda data: {end!r} in data and server.loop.stop()); "
    "say = lambda **m: server.loop.deliver({{'params': {{}}, **m}}); "
    "say(id=1, method='initialize'); say(method='initialized'); "
    "say(method='textDocument/didOpen', params={{'textDocument': {item!r}}}); "
    "{more}; server.loop.run(server.protocol)"
)


def test_neither_the_first_diagnostics_nor_the_first_edit_wait_for_the_types() -> None:
    more = f"say(method='textDocument/didChange', params={CHANGE!r})"
    code = SESSION.format(end=b"publishDiagnostics", item=ITEM, more=more)
    assert imported(code, "lsprotocol cattrs dlm_server.engine.service") == []


def test_listing_export_targets_imports_nothing_that_exports() -> None:
    asked = {"command": "dlm.exportTargets", "arguments": [{"uri": ITEM["uri"]}]}
    more = f"say(id=2, method='workspace/executeCommand', params={asked!r})"
    code = SESSION.format(end=b"Q4_K_M", item=ITEM, more=more)
    names = "model run capabilities checks llama quantise"
    modules = " ".join(f"dlm_engine.export.{name}" for name in names.split())
    assert imported(code, modules) == ["dlm_engine.export.model"]
