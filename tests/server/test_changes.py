"""Changes that wait behind each other are one edit, and nobody can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.document.test_live import check_equal, documents
from tests.server.harness import GOOD, Client, Json, codes, insertion
from tests.server.test_sync import TEXTS, joined, position

from dlm_engine.document import LiveDocument
from dlm_server import dispatch
from dlm_server.dispatch import Reach, RequestHandler
from dlm_server.framing import Framer
from dlm_server.serving import Server, build
from dlm_server.session import Session

URIS = ("file:///w/a.dlm", "file:///w/b%20c.dlm")


@dataclass
class Wire:
    """A server without threads: what it is given waits until it is told to go on."""

    server: Server
    said: list[bytes]

    def take(self, method: str, params: object, number: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        self.server.protocol.take(message if number is None else {**message, "id": number})

    def go(self) -> None:
        while self.server.protocol.step():
            pass

    def answers(self) -> list[Any]:
        framer = Framer()
        messages = [m for data in self.said for m in framer.feed(data)]
        return [m["result"] for m in messages if "result" in m]

    def live(self, uri: str) -> LiveDocument:
        document = self.server.session.document(uri)
        assert document is not None
        return document.live


def wire(encoding: str = "utf-16") -> Wire:
    said: list[bytes] = []
    made = Wire(build(said.append), said)
    able = {
        "general": {"positionEncodings": [encoding]},
        "textDocument": {"diagnostic": {}},
    }
    made.take("initialize", {"processId": None, "rootUri": None, "capabilities": able}, 0)
    made.take("initialized", {})
    made.go()
    made.said.clear()
    return made


def opening(uri: str, text: str) -> Json:
    item = {"uri": uri, "languageId": "dlm", "version": 1, "text": text}
    return {"textDocument": item}


def changing(uri: str, version: int, *changes: Json) -> Json:
    document = {"uri": uri, "version": version}
    return {"textDocument": document, "contentChanges": list(changes)}


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request whose answer is what the server has: `test/look`."""

    def look(session: Session, params: Json) -> list[object]:
        document = session.document(params["uri"])
        return [] if document is None else [document.version, document.live.text]

    handler = RequestHandler("test/look", Reach.SESSION, look)
    monkeypatch.setitem(dispatch.REQUESTS, "test/look", handler)


edits = st.tuples(st.floats(0, 1), st.floats(0, 1), TEXTS)
whole = TEXTS.map(lambda text: (None, None, text))
#: a change of a document, or a look at it
steps = st.tuples(st.sampled_from(URIS), st.none() | st.lists(edits | edits | whole, max_size=3))


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(start=documents.map(lambda text: joined([text])), todo=st.lists(steps, max_size=12))
def test_queued_changes_are_as_one_by_one(
    encoding: str, start: str, todo: list[tuple[str, list[Any] | None]]
) -> None:
    together, apart = wire(encoding), wire(encoding)
    texts = dict.fromkeys(URIS, start)
    seen: list[list[object]] = []

    def say(method: str, params: object, number: int | None = None) -> None:
        together.take(method, params, number)
        apart.take(method, params, number)
        apart.go()

    for uri in URIS:
        say("textDocument/didOpen", opening(uri, start))
    versions = dict.fromkeys(URIS, 1)
    for number, (uri, changes) in enumerate(todo, 1):
        text = texts[uri]
        if changes is None:
            seen.append([versions[uri], text])
            say("test/look", {"uri": uri}, number)
            continue
        said: list[Json] = []
        for one, other, new in changes:
            if one is None:
                text = new
                said.append({"text": new})
                continue
            first, last = sorted(round(place * len(text)) for place in (one, other))
            place = [position(text, at, encoding) for at in (first, last)]
            said.append({"range": {"start": place[0], "end": place[1]}, "text": new})
            first -= first > 0 and text[first - 1 : first + 1] == "\r\n"
            last -= last > 0 and text[last - 1 : last + 1] == "\r\n"
            text = text[:first] + new + text[last:]
        versions[uri] += 1
        texts[uri] = text
        say("textDocument/didChange", changing(uri, versions[uri], *said))
    together.go()
    assert together.answers() == apart.answers() == seen
    for uri in URIS:
        check_equal(together.live(uri), texts[uri])
        assert apart.live(uri).diagnostics == together.live(uri).diagnostics


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many edits each reading of a document took in."""
    found: list[int] = []
    drafted = LiveDocument.drafted

    def counted(self: LiveDocument, draft: Any) -> LiveDocument:
        found.append(len(draft.places.text) - len(self.text))
        return drafted(self, draft)

    monkeypatch.setattr(LiveDocument, "drafted", counted)
    return found


@pytest.mark.usefixtures("looking")
def test_what_waits_together_is_read_once(read: list[int]) -> None:
    made = wire()
    for uri in URIS:
        made.take("textDocument/didOpen", opening(uri, GOOD))
    for version in range(2, 52):
        made.take("textDocument/didChange", changing(URIS[0], version, insertion(5, 0, "x")))
    made.go()
    assert read == [50]
    # A question, or another document's change, comes in its place.
    read.clear()
    for version, uri in ((52, URIS[0]), (53, URIS[0]), (2, URIS[1]), (54, URIS[0])):
        made.take("textDocument/didChange", changing(uri, version, insertion(5, 0, "y")))
    made.take("test/look", {"uri": URIS[0]}, 7)
    made.take("textDocument/didChange", changing(URIS[0], 55, insertion(5, 0, "z")))
    made.go()
    assert read == [2, 1, 1, 1]
    assert made.answers() == [[54, GOOD + "yyy" + "x" * 50]]


def test_of_whole_texts_only_the_last_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = LiveDocument.open.__func__  # type: ignore[attr-defined]

    def counted(cls: type[LiveDocument], text: str) -> LiveDocument:
        opened.append(text)
        made: LiveDocument = original(cls, text)
        return made

    monkeypatch.setattr(LiveDocument, "open", classmethod(counted))
    made = wire()
    made.take("textDocument/didOpen", opening(URIS[0], "a"))
    for version in range(2, 12):
        made.take("textDocument/didChange", changing(URIS[0], version, {"text": f"{version}"}))
    made.take("textDocument/didChange", changing(URIS[0], 12, insertion(0, 2, "!")))
    made.go()
    assert opened == ["a", "11"]
    assert made.live(URIS[0]).text == "11!"


START: Json = {"line": 0, "character": 0}
WRONG: dict[str, Json] = {
    "no text": {"range": {"start": START, "end": START}},
    "a text that is none": {"text": 3},
    "no end": {"range": {"start": START}, "text": "x"},
    "a line before the first": {
        "range": {"start": {"line": -1, "character": 0}, "end": START},
        "text": "x",
    },
    "a column that is no number": {
        "range": {"start": START, "end": {"line": 0, "character": "1"}},
        "text": "x",
    },
}


@pytest.mark.parametrize("name", WRONG)
def test_a_change_that_cannot_be_read_is_told_and_leaves_its_neighbours(
    client: Client, name: str
) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    client.open(URIS[0], "ab")
    client.change(URIS[0], 2, insertion(0, 2, "c"))
    client.change(URIS[0], 3, insertion(0, 0, "x"), WRONG[name])
    client.change(URIS[0], 4, insertion(0, 3, "d"))
    assert "textDocument/didChange" in client.expect("window/showMessage")["message"]
    client.settled()
    document = client.server.session.document(URIS[0])
    assert document is not None
    assert (document.version, document.live.text) == (4, "abcd")


def test_a_version_that_goes_back_and_a_document_that_is_not_open(client: Client) -> None:
    client.initialize()
    client.open(URIS[0], GOOD + "::instrction::\n", 7)
    assert "fence-unknown" in codes(client.published(URIS[0], 7))
    client.change(URIS[1], 2, insertion(0, 0, "x"))
    client.change(URIS[0], 3, insertion(5, 7, "u"))
    assert "fence-unknown" not in codes(client.published(URIS[0], 3))
    client.settled()
