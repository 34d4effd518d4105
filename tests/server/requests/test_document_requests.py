"""What the client gets: positions in its units, versioned edits, only what it can show."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types as lsp
from tests.server.features.cursor import HEAD, at_cursor, declared

from dlm_engine.document import LiveDocument
from dlm_server.capabilities import ClientFeatures
from dlm_server.dispatch import RequestFailed
from dlm_server.encodings import Encoding as Units
from dlm_server.features.token_counts import Encoding
from dlm_server.requests.code_action import code_action
from dlm_server.requests.completion import completion
from dlm_server.requests.definition import definition
from dlm_server.requests.document_highlight import document_highlight
from dlm_server.requests.document_link import document_link
from dlm_server.requests.hover import hover_of
from dlm_server.requests.prepare_rename import prepare_rename
from dlm_server.requests.references import references
from dlm_server.requests.rename import rename
from dlm_server.session import Snapshot

URI = "file:///room/a.dlm"
NAMED = lsp.TextDocumentIdentifier(URI)
FULL = ClientFeatures(
    document_changes=True,
    snippets=True,
    completion_markdown=True,
    hover_markdown=True,
    code_action_literals=True,
    code_action_is_preferred=True,
    link_tooltips=True,
    rename_prepare=True,
)


def snapshot(live: LiveDocument, client: ClientFeatures = FULL) -> Snapshot:
    return Snapshot(uri=URI, path=Path("/room/a.dlm"), version=7, live=live, client=client)


def at(marked: str, client: ClientFeatures = FULL) -> tuple[Snapshot, lsp.Position]:
    live, offset = at_cursor(marked)
    taken = snapshot(live, client)
    return taken, taken.position(offset)


def positions(marked: str, client: ClientFeatures = FULL) -> lsp.CompletionList:
    taken, position = at(marked, client)
    return completion(taken, lsp.CompletionParams(NAMED, position))


def item(found: lsp.CompletionList, label: str) -> lsp.CompletionItem:
    return next(i for i in found.items if i.label == label)


def edit_of(found: lsp.CompletionItem) -> lsp.TextEdit:
    assert isinstance(found.text_edit, lsp.TextEdit)
    return found.text_edit


def changes(edit: lsp.WorkspaceEdit | None) -> list[lsp.TextEdit]:
    """The edits of this document, which name its version."""
    assert edit is not None
    assert edit.document_changes is not None
    (change,) = edit.document_changes
    assert isinstance(change, lsp.TextDocumentEdit)
    assert (change.text_document.uri, change.text_document.version) == (URI, 7)
    return [e for e in change.edits if isinstance(e, lsp.TextEdit)]


def applied(live: LiveDocument, edits: list[lsp.TextEdit], client: ClientFeatures = FULL) -> str:
    taken = snapshot(live, client)
    return live.edit(sorted(((*taken.span(e.range), e.new_text) for e in edits), reverse=True)).text


@pytest.mark.parametrize("encoding", list(Units))
def test_a_completion_replaces_the_word_in_the_units_of_the_client(encoding: Units) -> None:
    client = ClientFeatures(encoding=encoding)
    marked = HEAD[:-4] + "system_prompt: '🦆'\nexport: {default_quant: Q8‸} # 🦆\n---\n"
    found = item(positions(marked, client), "Q4_K_M")
    live, _ = at_cursor(marked)
    assert applied(live, [edit_of(found)], client) == live.text.replace("Q8", "Q4_K_M")


def test_only_a_client_that_takes_snippets_gets_them() -> None:
    marked = HEAD[:-4] + "tr‸\n---\n"
    found = item(positions(marked), "training")
    assert found.insert_text_format == lsp.InsertTextFormat.Snippet
    assert edit_of(found).new_text == "training:\n  $0"
    found = item(positions(marked, ClientFeatures()), "training")
    assert found.insert_text_format is None
    assert edit_of(found).new_text == "training:"


def test_documentation_is_plain_for_a_client_without_markdown() -> None:
    marked = HEAD[:-4] + "training:\n  ‸\n---\n"
    for client, words in ((FULL, "`qlora`"), (ClientFeatures(), "(qlora,")):
        documentation = item(positions(marked, client), "adapter").documentation
        assert isinstance(documentation, lsp.MarkupContent)
        assert words in documentation.value
        assert (documentation.kind is lsp.MarkupKind.Markdown) == (client is FULL)


def test_a_list_that_was_cut_is_incomplete(tmp_path: Path) -> None:
    for number in range(201):
        (tmp_path / f"{number}.png").touch()
    live, offset = at_cursor(HEAD + '::image path="‸"::\n')
    taken = Snapshot(uri=URI, path=tmp_path / "a.dlm", version=1, live=live, client=FULL)
    found = completion(taken, lsp.CompletionParams(NAMED, taken.position(offset)))
    assert found.is_incomplete
    assert not positions(HEAD + "::‸").is_incomplete


@pytest.mark.parametrize("client", [FULL, ClientFeatures()])
def test_hover(client: ClientFeatures) -> None:
    taken, position = at(HEAD.replace("base_model: s", "base_model: ‸s"), client)
    found = hover_of(taken, position, lambda file: None)
    assert found is not None
    assert isinstance(found.contents, lsp.MarkupContent)
    assert ("**" in found.contents.value) == client.hover_markdown
    assert found.range == lsp.Range(lsp.Position(3, 12), lsp.Position(3, 24))
    taken, position = at(HEAD + "text\nmo‸re\n", client)
    assert hover_of(taken, position, lambda file: None) is None


def test_a_section_is_counted_with_the_tokenizer_of_its_base() -> None:
    taken, position = at(HEAD + "::instr‸uction::\n### Q\na b\n### A\nc d e\n")
    files: list[Path] = []

    def tokenizer(file: Path) -> Encoding:
        files.append(file)
        return lambda text: len(text.split())

    found = hover_of(taken, position, tokenizer)
    assert found is not None
    assert isinstance(found.contents, lsp.MarkupContent)
    assert "- 5 tokens, 1 question" in found.contents.value
    assert [file.name for file in files] == ["tokenizer.json"]
    assert "SmolLM2-135M-Instruct" in str(files[0])


TWO = declared("to‸ne") + "::prose#tone::\nx\n\n::prose#tone::\ny\n"


def test_adapters_are_found() -> None:
    taken, position = at(TWO)
    declaration = lsp.Range(lsp.Position(6, 4), lsp.Position(6, 8))
    on_fences = [lsp.Range(lsp.Position(line, 8), lsp.Position(line, 12)) for line in (9, 12)]
    for where in (position, on_fences[0].start, on_fences[1].end):
        there = definition(taken, lsp.DefinitionParams(NAMED, where))
        assert there == [lsp.Location(URI, declaration)]
        for with_declaration in (True, False):
            context = lsp.ReferenceContext(include_declaration=with_declaration)
            every = references(taken, lsp.ReferenceParams(context, NAMED, where))
            expected = [declaration] * with_declaration + on_fences
            assert [location.range for location in every] == expected
        marks = document_highlight(taken, lsp.DocumentHighlightParams(NAMED, where))
        assert [mark.kind for mark in marks] == [
            lsp.DocumentHighlightKind.Write,
            lsp.DocumentHighlightKind.Read,
            lsp.DocumentHighlightKind.Read,
        ]
    elsewhere = lsp.Position(10, 0)
    assert definition(taken, lsp.DefinitionParams(NAMED, elsewhere)) == []


def test_rename() -> None:
    taken, position = at(TWO)
    prepared = prepare_rename(taken, lsp.PrepareRenameParams(NAMED, position))
    assert prepared == lsp.PrepareRenamePlaceholder(
        lsp.Range(lsp.Position(6, 4), lsp.Position(6, 8)), "tone"
    )
    assert prepare_rename(taken, lsp.PrepareRenameParams(NAMED, lsp.Position(10, 0))) is None
    edits = changes(rename(taken, lsp.RenameParams(NAMED, position, "voice")))
    assert applied(taken.live, edits) == taken.live.text.replace("tone", "voice")
    with pytest.raises(RequestFailed, match="no adapter name"):
        rename(taken, lsp.RenameParams(NAMED, position, "No!"))


def test_links() -> None:
    live = LiveDocument.open(HEAD + '::image path="b c.png"::\n')
    found = document_link(snapshot(live), lsp.DocumentLinkParams(NAMED))
    assert [link.target for link in found] == [
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        "file:///room/b%20c.png",
    ]
    assert all(link.tooltip for link in found)
    found = document_link(snapshot(live, ClientFeatures()), lsp.DocumentLinkParams(NAMED))
    assert not any(link.tooltip for link in found)


def asked(
    taken: Snapshot, place: lsp.Range, shown: list[lsp.Diagnostic], only: list[str] | None = None
) -> list[lsp.CodeAction]:
    context = lsp.CodeActionContext(diagnostics=shown, only=only)
    return code_action(taken, lsp.CodeActionParams(NAMED, place, context))


def test_a_quick_fix_names_the_problem_it_solves_and_the_version_it_edits() -> None:
    live = LiveDocument.open(HEAD + "::instrction::\n### Q\na\n### A\nb\n")
    place = lsp.Range(lsp.Position(5, 2), lsp.Position(5, 12))
    solved = lsp.Diagnostic(range=place, message="x", code="fence-unknown", source="dlm")
    other = lsp.Diagnostic(range=place, message="y", code="other")
    (found,) = asked(snapshot(live), place, [other, solved])
    assert found.diagnostics == [solved]
    assert found.is_preferred
    assert found.kind == lsp.CodeActionKind.QuickFix
    assert applied(live, changes(found.edit)) == live.text.replace("instrction", "instruction")


def test_fix_all_and_migration_are_asked_for_by_kind() -> None:
    live = LiveDocument.open(HEAD.replace("15", "3") + "::Prose::  \ntext\n")
    nowhere = lsp.Range(lsp.Position(6, 0), lsp.Position(6, 0))
    (found,) = asked(snapshot(live), nowhere, [], ["source.fixAll"])
    fixed = applied(live, changes(found.edit))
    assert fixed == live.text.replace("::Prose::  ", "::prose::")
    (found,) = asked(snapshot(live), nowhere, [], ["source.migrate"])
    assert applied(live, changes(found.edit)) == live.text.replace(": 3", ": 15")
