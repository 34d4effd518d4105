"""What the outline, folding, colouring, hint, lens and formatting requests send."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types as lsp
from tests.server.features.cursor import HEAD
from tests.server.features.random_documents import documents

from dlm_engine.document import LiveDocument, Span
from dlm_server import to_proto
from dlm_server.capabilities import ClientFeatures
from dlm_server.encodings import Encoding
from dlm_server.features.highlights import TOKEN_TYPES
from dlm_server.features.semantic_tokens import tokens
from dlm_server.features.symbols import Kind, symbols
from dlm_server.requests.code_lens import lenses_of
from dlm_server.requests.document_symbol import KINDS, document_symbol
from dlm_server.requests.folding_range import folding_range
from dlm_server.requests.formatting import formatting
from dlm_server.requests.inlay_hint import hints_of
from dlm_server.requests.on_type_formatting import on_type_formatting
from dlm_server.requests.range_formatting import range_formatting
from dlm_server.requests.selection_range import selection_range
from dlm_server.requests.semantic_tokens import encoded, full, in_range, of_document
from dlm_server.requests.workspace_symbol import workspace_symbol
from dlm_server.session import Snapshot
from dlm_server.settings import Settings
from dlm_server.views import KnownDocument, KnownDocuments

URI = "file:///a.dlm"
DOCUMENT = lsp.TextDocumentIdentifier(URI)
TABS = lsp.FormattingOptions(tab_size=4, insert_spaces=True)


def snapshot(text: str, *, settings: Settings | None = None, **client: Any) -> Snapshot:
    return Snapshot(
        URI, None, 1, LiveDocument.open(text), settings or Settings(), ClientFeatures(**client)
    )


def lines(start: int, end: int) -> lsp.Range:
    return lsp.Range(lsp.Position(start, 0), lsp.Position(end, 0))


def test_folds_up_to_the_limit_of_the_client() -> None:
    text = "::instruction::\n### Q\na\n### A\nb\n"
    params = lsp.FoldingRangeParams(DOCUMENT)
    found = folding_range(snapshot(text), params)
    assert [(f.start_line, f.end_line, f.kind) for f in found] == [
        (0, 4, "region"),
        (1, 2, None),
        (3, 4, None),
    ]
    assert found[0].start_character is None
    assert len(folding_range(snapshot(text, folding_limit=1), params)) == 1


def test_symbols_nested_and_flat() -> None:
    text = "::prose::\n# 😀 A\nx\n"
    params = lsp.DocumentSymbolParams(DOCUMENT)
    (nested,) = document_symbol(snapshot(text, hierarchical_symbols=True), params)
    assert isinstance(nested, lsp.DocumentSymbol)
    assert nested.children is not None
    assert (nested.name, nested.kind) == ("😀 A", lsp.SymbolKind.Module)
    assert nested.children[0].selection_range == lsp.Range(lsp.Position(1, 0), lsp.Position(1, 6))
    flat = document_symbol(snapshot(text), params)
    assert [(s.name, getattr(s, "container_name", "")) for s in flat] == [
        ("😀 A", None),
        ("😀 A", "😀 A"),
    ]
    assert set(KINDS) == set(Kind)


def decoded(text: str, data: list[int], encoding: Encoding) -> list[tuple[str, str]]:
    made, line, column = [], 0, 0
    units = "utf-16-le" if encoding is Encoding.UTF16 else "utf-8"
    width = 2 if encoding is Encoding.UTF16 else 1
    for i in range(0, len(data), 5):
        down, right, length, kind, modifiers = data[i : i + 5]
        line, column = line + down, right if down else column + right
        raw = text.split("\n")[line].encode(units)[column * width : (column + length) * width]
        made.append((TOKEN_TYPES[kind], raw.decode(units)))
        assert modifiers == 0
    return made


@pytest.mark.parametrize("encoding", [Encoding.UTF8, Encoding.UTF16])
def test_tokens_in_the_clients_units(encoding: Encoding) -> None:
    text = '::image alt="é😀" path="x"::\nwords\n::prose::\n'
    shot = snapshot(text, encoding=encoding)
    found = decoded(text, list(full(shot, lsp.SemanticTokensParams(DOCUMENT)).data), encoding)
    assert ("string", "é😀") in found
    assert found[-2:] == [("keyword", "prose"), ("punctuation", "::")]
    ranged = in_range(shot, lsp.SemanticTokensRangeParams(DOCUMENT, lines(1, 3)))
    assert decoded(text, list(ranged.data), encoding) == found[-3:]


def test_selections_are_chained() -> None:
    params = lsp.SelectionRangeParams(DOCUMENT, [lsp.Position(0, 1)])
    (chain,) = selection_range(snapshot("one two\n"), params)
    assert chain.range == lsp.Range(lsp.Position(0, 0), lsp.Position(0, 3))
    assert chain.parent is not None
    assert chain.parent.range.end == lsp.Position(0, 7)
    assert selection_range(snapshot(""), params)[0].parent is None


def test_formatting_of_all_and_of_a_range() -> None:
    shot = snapshot("::prose:: \na\n\n\n\n::prose:: \nb")
    whole = formatting(shot, lsp.DocumentFormattingParams(DOCUMENT, TABS))
    assert [(e.range.start.line, e.new_text) for e in whole] == [
        (0, ""),
        (2, "\n"),
        (5, ""),
        (6, "\n"),
    ]
    part = range_formatting(shot, lsp.DocumentRangeFormattingParams(DOCUMENT, lines(0, 1), TABS))
    assert part == whole[:1]


def test_enter_and_no_other_key() -> None:
    shot = snapshot("::instruction::\n")
    at = lsp.Position(1, 0)
    enter, colon = (lsp.DocumentOnTypeFormattingParams(DOCUMENT, at, c, TABS) for c in "\n:")
    assert on_type_formatting(shot, enter) == [lsp.TextEdit(lsp.Range(at, at), "### Q\n")]
    assert on_type_formatting(shot, colon) == []


@dataclass(frozen=True)
class Result:
    state: str = "ok"
    adapted: str | None = "She did."


ASKED = HEAD + "::instruction::\n### Q\nWho?\n### A\nShe.\n"


def labels(shot: Snapshot, within: lsp.Range, tokens: int | None = None) -> list[str]:
    encoding = None if tokens is None else (lambda text: tokens)
    return [str(h.label) for h in hints_of(shot, within, lambda file: encoding)]


def with_result(shot: Snapshot) -> Snapshot:
    section = shot.live.document.sections[0].id
    return replace(shot, results={section: Result()})  # type: ignore[dict-item]


def test_hints_follow_the_settings_and_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlm_server.requests.inlay_hint.hidden_size", lambda shot: 576)
    shot, everything = snapshot(ASKED), lines(0, 99)
    base = "→ HuggingFaceTB/SmolLM2-135M-Instruct"
    planned = "→ rank 16, rate 0.002, until learned"
    assert labels(shot, everything) == [base, planned, "~2 tokens"]
    assert labels(shot, everything, 3) == [base, planned, "6 tokens"]
    assert labels(shot, lines(5, 9)) == ["~2 tokens"]
    no_tokens = replace(shot, settings=Settings(inlay_hints_tokens=False))
    assert labels(no_tokens, everything) == [base, planned]
    assert labels(replace(shot, settings=Settings(inlay_hints_enabled=False)), everything) == []


def test_answers_are_hints_only_where_nothing_else_shows_them() -> None:
    everything = lines(0, 99)
    assert "⇒ She did." in labels(with_result(snapshot(ASKED)), everything)
    drawn = with_result(snapshot(ASKED, section_results=True))
    assert "⇒ She did." not in labels(drawn, everything)
    wanted = replace(drawn, settings=Settings(results_display="hints"))
    assert "⇒ She did." in labels(wanted, everything)
    off = replace(with_result(snapshot(ASKED)), settings=Settings(results_display="off"))
    assert "⇒ She did." not in labels(off, everything)


def titles(shot: Snapshot, *jobs: str) -> list[str]:
    return [lens["command"]["title"] for lens in lenses_of(shot, jobs)]


def test_lenses_are_commands() -> None:
    shot = snapshot(ASKED)
    train, ask = lenses_of(shot, ())
    named = [{"uri": URI}]
    assert train["command"] == {"title": "Train", "command": "dlm.train", "arguments": named}
    assert ask["command"]["command"] == "dlm.askSection"
    assert titles(shot, "train") == ["Cancel", "Ask"]
    stale = replace(shot, results={shot.live.document.sections[0].id: Result("stale")})  # type: ignore[dict-item]
    assert titles(stale) == ["Train", "Ask · stale"]
    assert lenses_of(replace(shot, settings=Settings(code_lens_enabled=False)), ()) == []
    assert lenses_of(replace(shot, settings=Settings(trusted=False)), ()) == []


@pytest.mark.parametrize("encoding", list(Encoding))
@given(text=documents(), changes=st.lists(st.tuples(st.floats(0, 1), st.text(max_size=3))))
def test_lenses_kept_with_sections_are_as_fresh_ones(
    encoding: Encoding, text: str, changes: list[tuple[float, str]]
) -> None:
    shot = snapshot(HEAD + text, encoding=encoding)
    lenses_of(shot, ())
    for at, new in changes:
        place = round(at * len(shot.live.text))
        shot = replace(shot, live=shot.live.edit([(place, place, new)]))
        fresh = replace(shot, live=LiveDocument.open(shot.live.text))
        assert lenses_of(shot, ()) == lenses_of(fresh, ())


def test_lenses_of_an_edited_document_look_only_at_what_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = HEAD + "::instruction::\n### Q\na\n### A\nb\n" * 200
    shot = snapshot(text)
    before = lenses_of(shot, ())
    assert len(before) == 201
    looked: list[Span] = []
    original = to_proto.places

    def counted(live: LiveDocument, span: Span, encoding: Encoding) -> Any:
        looked.append(span)
        return original(live, span, encoding)

    monkeypatch.setattr(to_proto, "places", counted)
    at = len(HEAD) + len("::instruction::\n")
    edited = replace(shot, live=shot.live.edit([(at, at, "\n")]))
    after = lenses_of(edited, ())
    # The one on top, and that of the section.
    assert len(looked) == 2
    lines = [lens["range"]["start"]["line"] for lens in before]
    assert [lens["range"]["start"]["line"] for lens in after] == [0, *(n + 1 for n in lines[1:])]


def test_symbols_of_open_documents_and_of_files(tmp_path: Path) -> None:
    file = tmp_path / "b.dlm"
    file.write_text("# Harbour 😀\n", encoding="utf-8")
    gone, binary = tmp_path / "gone.dlm", tmp_path / "c.dlm"
    binary.write_bytes(b"\xff\xfe\x00")
    on_disk = [KnownDocument(p.as_uri(), p, None) for p in (file, gone, binary)]
    known = KnownDocuments((*on_disk, KnownDocument(URI, file, None)))
    opened = SimpleNamespace(uri=URI, live=LiveDocument.open("# Hall\n"))
    session: Any = SimpleNamespace(
        client=ClientFeatures(),
        documents=iter([opened]),
        index=SimpleNamespace(view=lambda: known),
    )
    found = workspace_symbol(session, lsp.WorkspaceSymbolParams("ha"))
    assert [(s.name, s.location.uri) for s in found] == [
        ("Hall", URI),
        ("Harbour 😀", file.as_uri()),
    ]
    assert found[1].location.range.end == lsp.Position(0, 12)
    file.write_text("# Other\n", encoding="utf-8")
    session.documents = iter([])
    names = [s.name for s in workspace_symbol(session, lsp.WorkspaceSymbolParams(""))]
    assert names == ["Other", "Other"]


@given(text=documents(), edits=st.lists(st.tuples(st.floats(0, 1), documents()), max_size=4))
def test_what_sections_keep_is_what_a_fresh_document_says(
    text: str, edits: list[tuple[float, str]]
) -> None:
    live = LiveDocument.open(text)
    for place, new in edits:
        of_document(live, Encoding.UTF16)
        symbols(live)
        start = round(place * len(live.text))
        live = live.edit([(start, start, new)])
    fresh = LiveDocument.open(live.text)
    assert of_document(live, Encoding.UTF16) == encoded(fresh, tokens(fresh), Encoding.UTF16)
    assert symbols(live) == symbols(fresh)
