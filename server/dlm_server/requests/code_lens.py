"""`textDocument/codeLens`: train, cancel, export and versions on top, ask above questions.

There are as many as questions, and editors ask after every edit: where a question stands is
kept with its section's reading, and what stands above it is told of the questions that are in
view, to clients that say they can ask for it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from lsprotocol import types as lsp

from dlm_engine.document import Section
from dlm_engine.document.moving import moved_span
from dlm_server import to_proto
from dlm_server.conversion import Plain, PlainList
from dlm_server.dispatch import CONTENT_MODIFIED, INVALID_PARAMS, RequestFailed, session_request
from dlm_server.engine.results import result_key
from dlm_server.engine.service import engine_of
from dlm_server.features.lenses import Facts, ask_argument, ask_title, asked, document_lenses
from dlm_server.from_proto import same_document
from dlm_server.session import Session, Snapshot

Json = dict[str, Any]
#: line from the start of the chunk, and column, of both ends
_Place = tuple[int, int, int, int]


@session_request("textDocument/codeLens")
def code_lens(session: Session, params: lsp.CodeLensParams) -> PlainList | None:
    snapshot = session.snapshot(params.text_document.uri)
    if snapshot is None:
        return None
    queue = engine_of(session).queue
    jobs = [*queue.waiting, *((queue.running,) if queue.running else ())]
    here = same_document(snapshot.uri)
    return lenses_of(snapshot, frozenset(j.kind for j in jobs if same_document(j.uri) == here))


@session_request("codeLens/resolve")
def resolve(session: Session, params: lsp.CodeLens) -> Plain:
    """A lens above a question, with its command."""
    match params.data:
        case {"uri": str(uri), "sectionId": str(section_id), "pair": int(pair)}:
            pass
        case _:
            raise RequestFailed(INVALID_PARAMS, "codeLens/resolve: this is no lens of dlm")
    snapshot = session.snapshot(uri)
    if snapshot is not None:
        facts = _facts(snapshot, ())
        for _, section in asked(snapshot.live, facts):
            if section.id == section_id and 0 <= pair < len(section.pairs):
                start, end = params.range.start, params.range.end
                place = _range(start.line, start.character, end.line, end.character)
                return Plain(range=place, command=_ask(facts, section, pair))
    raise RequestFailed(CONTENT_MODIFIED, "the document has changed")


def lenses_of(snapshot: Snapshot, jobs: Collection[str]) -> PlainList:
    """The lenses while jobs of these kinds run or wait for the document."""
    if not snapshot.settings.code_lens_enabled:
        return PlainList()
    live, facts = snapshot.live, _facts(snapshot, jobs)
    lazily = "command" in snapshot.client.code_lens_resolve
    made = PlainList()
    for lens in document_lenses(live, facts):
        start, end = to_proto.places(live, lens.span, snapshot.client.encoding)
        command = {"title": lens.title, "command": lens.command, "arguments": [lens.argument]}
        made.append({"range": _range(*start, *end), "command": command})
    for index, section in asked(live, facts):
        first = live.chunks.lines[index]
        for pair, (line, column, last, stop) in enumerate(_places(snapshot, index)):
            ask: Json = {"range": _range(first + line, column, first + last, stop)}
            if lazily:
                ask["data"] = ask_argument(facts, section, pair)
            else:
                ask["command"] = _ask(facts, section, pair)
            made.append(ask)
    return made


def _facts(snapshot: Snapshot, jobs: Collection[str]) -> Facts:
    results = snapshot.results
    return Facts(
        uri=snapshot.uri,
        trusted=snapshot.settings.trusted,
        busy=bool(jobs),
        trained=snapshot.trained,
        result=lambda section, pair: results.get(result_key(section, pair)) if results else None,
    )


def _places(snapshot: Snapshot, index: int) -> list[_Place]:
    """Where the questions of a chunk stand, kept with its reading."""
    live, encoding = snapshot.live, snapshot.client.encoding
    reading, first = live.chunks.items[index].reading, live.chunks.lines[index]
    name = f"question places in {encoding}"
    if name not in reading.kept:
        by = live.chunks.moved_by(index)
        spans = [pair.question_span for pair in reading.section.pairs] if reading.section else []
        ends = [to_proto.places(live, moved_span(span, by), encoding) for span in spans]
        reading.kept[name] = [(a - first, b, c - first, d) for (a, b), (c, d) in ends]
    found: list[_Place] = reading.kept[name]
    return found


def _range(line: int, column: int, last: int, end: int) -> Json:
    start = {"line": line, "character": column}
    return {"start": start, "end": {"line": last, "character": end}}


def _ask(facts: Facts, section: Section, pair: int) -> Json:
    title, argument = ask_title(facts, section, pair), ask_argument(facts, section, pair)
    return {"title": title, "command": "dlm.askSection", "arguments": [argument]}
