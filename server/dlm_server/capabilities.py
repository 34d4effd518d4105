"""What the client can do, read once, and what the server offers it.

The client's capabilities are read from plain JSON and never structured as a whole: a client
newer than the library would name a kind it does not know, and no editor may be refused for
that. What is absent or of the wrong shape counts as "cannot".

The offer is plain JSON too, written out here: so `initialize` is answered before the library
of types, the format and the handlers are imported, which takes ten times as long as the answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlm_server.encodings import Encoding


@dataclass(frozen=True, slots=True)
class ClientFeatures:
    """One flat list of facts about the client, all of them "cannot" by default."""

    name: str | None = None
    encoding: Encoding = Encoding.UTF16
    # edits
    document_changes: bool = False
    create_files: bool = False
    change_annotations: bool = False
    apply_edit: bool = False
    # diagnostics
    pull_diagnostics: bool = False
    related_documents: bool = False
    publish_related_information: bool = False
    publish_tags: bool = False
    publish_data: bool = False
    # completion and signature of its items
    snippets: bool = False
    completion_markdown: bool = False
    completion_insert_replace: bool = False
    completion_label_details: bool = False
    completion_item_defaults: frozenset[str] = frozenset()
    completion_resolve: frozenset[str] = frozenset()
    completion_deprecated: bool = False
    # other features of documents
    hover_markdown: bool = False
    hierarchical_symbols: bool = False
    line_folding_only: bool = False
    folding_collapsed_text: bool = False
    folding_limit: int | None = None
    code_action_literals: bool = False
    code_action_is_preferred: bool = False
    code_action_disabled: bool = False
    code_action_data: bool = False
    code_action_resolve: frozenset[str] = frozenset()
    rename_prepare: bool = False
    link_tooltips: bool = False
    definition_links: bool = False
    inlay_hints: bool = False
    inlay_hint_resolve: frozenset[str] = frozenset()
    code_lenses: bool = False
    code_lens_resolve: frozenset[str] = frozenset()
    semantic_token_types: frozenset[str] = frozenset()
    semantic_token_modifiers: frozenset[str] = frozenset()
    semantic_tokens_multiline: bool = False
    semantic_tokens_overlapping: bool = False
    # the window and the workspace
    work_done_progress: bool = False
    show_document: bool = False
    show_message_actions: bool = False
    configuration: bool = False
    workspace_folders: bool = False
    watched_files: bool = False
    relative_patterns: bool = False
    dynamic_configuration: bool = False
    refresh_code_lenses: bool = False
    refresh_inlay_hints: bool = False
    refresh_semantic_tokens: bool = False
    refresh_diagnostics: bool = False
    refresh_folding_ranges: bool = False
    # dlm's own (docs/lsp-extensions.md)
    section_results: bool = False
    status: bool = False


class _Reader:
    """Reads nested JSON by path; anything of another shape reads as absent."""

    def __init__(self, root: object) -> None:
        self._root = root

    def at(self, path: str) -> object:
        value = self._root
        for word in path.split("."):
            value = value.get(word) if isinstance(value, Mapping) else None
        return value

    def yes(self, path: str) -> bool:
        return self.at(path) is True

    def there(self, path: str) -> bool:
        return isinstance(self.at(path), Mapping)

    def number(self, path: str) -> int | None:
        value = self.at(path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def words(self, path: str) -> tuple[str, ...]:
        value = self.at(path)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def chosen_encoding(offered: Iterable[str]) -> Encoding:
    """The first of the client's preferences that is known; UTF-16, which all must know, else."""
    known = {e.value: e for e in Encoding}
    return next((known[name] for name in offered if name in known), Encoding.UTF16)


def client_features(initialize: Mapping[str, Any]) -> ClientFeatures:
    """What the parameters of `initialize` say about the client."""
    reader = _Reader(initialize)
    c = _Reader(initialize.get("capabilities"))
    name = reader.at("clientInfo.name")
    workspace, text = "workspace.", "textDocument."
    item = text + "completion.completionItem."
    return ClientFeatures(
        name=name if isinstance(name, str) else None,
        encoding=chosen_encoding(c.words("general.positionEncodings")),
        document_changes=c.yes(workspace + "workspaceEdit.documentChanges"),
        create_files="create" in c.words(workspace + "workspaceEdit.resourceOperations"),
        change_annotations=c.there(workspace + "workspaceEdit.changeAnnotationSupport"),
        apply_edit=c.yes(workspace + "applyEdit"),
        pull_diagnostics=c.there(text + "diagnostic"),
        related_documents=c.yes(text + "diagnostic.relatedDocumentSupport"),
        publish_related_information=c.yes(text + "publishDiagnostics.relatedInformation")
        or c.yes(text + "diagnostic.relatedInformation"),
        publish_tags=c.there(text + "publishDiagnostics.tagSupport")
        or c.there(text + "diagnostic.tagSupport"),
        publish_data=c.yes(text + "publishDiagnostics.dataSupport")
        or c.yes(text + "diagnostic.dataSupport"),
        snippets=c.yes(item + "snippetSupport"),
        completion_markdown="markdown" in c.words(item + "documentationFormat"),
        completion_insert_replace=c.yes(item + "insertReplaceSupport"),
        completion_label_details=c.yes(item + "labelDetailsSupport"),
        completion_item_defaults=frozenset(
            c.words(text + "completion.completionList.itemDefaults")
        ),
        completion_resolve=frozenset(c.words(item + "resolveSupport.properties")),
        completion_deprecated=c.there(item + "tagSupport"),
        hover_markdown="markdown" in c.words(text + "hover.contentFormat"),
        hierarchical_symbols=c.yes(text + "documentSymbol.hierarchicalDocumentSymbolSupport"),
        line_folding_only=c.yes(text + "foldingRange.lineFoldingOnly"),
        folding_collapsed_text=c.yes(text + "foldingRange.foldingRange.collapsedText"),
        folding_limit=c.number(text + "foldingRange.rangeLimit"),
        code_action_literals=c.there(text + "codeAction.codeActionLiteralSupport"),
        code_action_is_preferred=c.yes(text + "codeAction.isPreferredSupport"),
        code_action_disabled=c.yes(text + "codeAction.disabledSupport"),
        code_action_data=c.yes(text + "codeAction.dataSupport"),
        code_action_resolve=frozenset(c.words(text + "codeAction.resolveSupport.properties")),
        rename_prepare=c.yes(text + "rename.prepareSupport"),
        link_tooltips=c.yes(text + "documentLink.tooltipSupport"),
        definition_links=c.yes(text + "definition.linkSupport"),
        inlay_hints=c.there(text + "inlayHint"),
        inlay_hint_resolve=frozenset(c.words(text + "inlayHint.resolveSupport.properties")),
        code_lenses=c.there(text + "codeLens"),
        code_lens_resolve=frozenset(c.words(text + "codeLens.resolveSupport.properties")),
        semantic_token_types=frozenset(c.words(text + "semanticTokens.tokenTypes")),
        semantic_token_modifiers=frozenset(c.words(text + "semanticTokens.tokenModifiers")),
        semantic_tokens_multiline=c.yes(text + "semanticTokens.multilineTokenSupport"),
        semantic_tokens_overlapping=c.yes(text + "semanticTokens.overlappingTokenSupport"),
        work_done_progress=c.yes("window.workDoneProgress"),
        show_document=c.yes("window.showDocument.support"),
        show_message_actions=c.there("window.showMessage.messageActionItem"),
        configuration=c.yes(workspace + "configuration"),
        workspace_folders=c.yes(workspace + "workspaceFolders"),
        watched_files=c.yes(workspace + "didChangeWatchedFiles.dynamicRegistration"),
        relative_patterns=c.yes(workspace + "didChangeWatchedFiles.relativePatternSupport"),
        dynamic_configuration=c.yes(workspace + "didChangeConfiguration.dynamicRegistration"),
        refresh_code_lenses=c.yes(workspace + "codeLens.refreshSupport"),
        refresh_inlay_hints=c.yes(workspace + "inlayHint.refreshSupport"),
        refresh_semantic_tokens=c.yes(workspace + "semanticTokens.refreshSupport"),
        refresh_diagnostics=c.yes(workspace + "diagnostics.refreshSupport"),
        refresh_folding_ranges=c.yes(workspace + "foldingRange.refreshSupport"),
        section_results=c.yes("experimental.dlm.sectionResults"),
        status=c.yes("experimental.dlm.status"),
    )


#: in the order of its numbers on the wire, which `features/semantic_tokens` counts by
TOKEN_TYPES = (
    "punctuation",
    "heading",
    "type",
    "keyword",
    "namespace",
    "parameter",
    "operator",
    "string",
    "comment",
    "macro",
    "header",
    "modifier",
    "label",
    "nearMiss",
    "property",
    "number",
    "boolean",
    "enumMember",
)
COMMANDS = (
    "dlm.train",
    "dlm.cancel",
    "dlm.prompt",
    "dlm.askSection",
    "dlm.askSelection",
    "dlm.probe",
    "dlm.export",
    "dlm.adapters",
    "dlm.exportTargets",
    "dlm.versions",
    "dlm.rollback",
    "dlm.runs",
    "dlm.openStore",
    "dlm.restartEngine",
    "dlm.migrate",
    "dlm.newDocument",
    "dlm.newId",
    "dlm.debugInformation",
    "dlm/listBaseModels",
    "dlm/documentState",
    "dlm.setBaseModel",
    "dlm.addSourceDirective",
)


def offered(client: ClientFeatures) -> dict[str, Any]:
    """The server's capabilities, as they go over the wire."""
    found: dict[str, Any] = {
        "positionEncoding": client.encoding.value,
        "textDocumentSync": {
            "openClose": True,
            "change": 2,
            "willSave": True,
            "save": {"includeText": False},
        },
        "workspace": {"workspaceFolders": {"supported": True, "changeNotifications": True}},
        # A blank starts a completion because the value of a key comes after one.
        "completionProvider": {"triggerCharacters": [":", "#", "!", '"', "/", " "]},
        "hoverProvider": {},
        "definitionProvider": {},
        "referencesProvider": {},
        "documentHighlightProvider": {},
        "documentSymbolProvider": {"label": "dlm"},
        "workspaceSymbolProvider": {},
        "codeLensProvider": {"resolveProvider": "command" in client.code_lens_resolve},
        "documentLinkProvider": {"resolveProvider": False},
        "documentFormattingProvider": {},
        "documentRangeFormattingProvider": {},
        "documentOnTypeFormattingProvider": {"firstTriggerCharacter": "\n"},
        "renameProvider": {"prepareProvider": client.rename_prepare},
        "foldingRangeProvider": {},
        "selectionRangeProvider": {},
        "inlayHintProvider": {"resolveProvider": False},
        "semanticTokensProvider": {
            "legend": {"tokenTypes": list(TOKEN_TYPES), "tokenModifiers": []},
            "full": True,
            "range": True,
        },
        "executeCommandProvider": {"commands": list(COMMANDS)},
        "experimental": {"dlm": {"version": 1, "commands": sorted(COMMANDS)}},
    }
    # Without literals a client knows actions as commands only, and dlm's are edits.
    if client.code_action_literals:
        kinds = ["quickfix", "refactor.rewrite", "source.fixAll.dlm", "source.migrate.dlm"]
        found["codeActionProvider"] = {"codeActionKinds": kinds}
    if client.pull_diagnostics:
        found["diagnosticProvider"] = {
            "interFileDependencies": True,
            "workspaceDiagnostics": True,
            "identifier": "dlm",
        }
    return found
