"""What the server offers is what its handlers can do, for every kind of client."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import pytest
from lsprotocol import types as lsp

from dlm_server.capabilities import COMMANDS, ClientFeatures, client_features, offered
from dlm_server.conversion import plain
from dlm_server.dispatch import REQUESTS, load_handlers

FLAGS = [f.name for f in fields(ClientFeatures) if f.type == "bool"]
NONE = ClientFeatures()


def able(*names: str) -> ClientFeatures:
    changes: dict[str, Any] = dict.fromkeys(names, True)
    return replace(NONE, **changes)


CLIENTS = [NONE, able(*FLAGS), *map(able, FLAGS)]


def said_by_the_handlers(client: ClientFeatures) -> Any:
    capabilities = lsp.ServerCapabilities()
    for module in load_handlers():
        if hasattr(module, "CAPABILITY"):
            setattr(capabilities, module.CAPABILITY, module.options(client))
    return plain(capabilities)


@pytest.mark.parametrize("client", CLIENTS)
def test_the_offer_is_what_the_handlers_say(client: ClientFeatures) -> None:
    own = {"positionEncoding", "textDocumentSync", "workspace", "experimental"}
    offer = offered(client)
    assert {k: v for k, v in offer.items() if k not in own} == said_by_the_handlers(client)
    assert offer["experimental"]["dlm"]["commands"] == sorted(COMMANDS)


def test_every_offer_has_a_handler() -> None:
    load_handlers()
    methods = {
        "renameProvider": {"textDocument/rename", "textDocument/prepareRename"},
        "semanticTokensProvider": {
            "textDocument/semanticTokens/full",
            "textDocument/semanticTokens/range",
        },
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
    assert wanted == {m for m in REQUESTS if not m.startswith("test/")}


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


def test_answering_initialize_imports_neither_the_types_nor_the_format() -> None:
    code = (
        "import sys; from dlm_server.serving import build; "
        "server = build(lambda data: None); "
        "server.protocol.take({'id': 1, 'method': 'initialize', 'params': {}}); "
        "server.protocol.step(); "
        "print(*sorted({'lsprotocol', 'cattrs', 'yaml', 'pydantic', 'tree_sitter'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
