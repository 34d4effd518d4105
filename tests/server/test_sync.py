"""After any edits the server's text is the client's, in every unit of columns."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.harness import GOOD, Client, Json, insertion

from dlm_server.encodings import Encoding, to_column, to_units

URI = "file:///w/a.dlm"
PIECES = st.sampled_from(
    [
        *("\n", "\r\n", "\r", "\u2028", "\u0085", "\x0c", "\ufeff"),
        *("a", "é", "漢", "😀", "e\u0301", "\ud800", "\udc00"),
        *("::", "::prose::\n", "### Q\n", "x" * 300),
    ]
)


def joined(pieces: list[str]) -> str:
    """As it arrives: two halves of a character that meet in one JSON string become one."""
    text: str = json.loads(json.dumps("".join(pieces)))
    return text


TEXTS = st.lists(PIECES, max_size=8).map(joined)
LONG_LINES = st.sampled_from(["x" * 100_000, "a\ud800é漢😀" * 20_000])
LONG_TEXTS = st.lists(PIECES | LONG_LINES, max_size=8).map(joined)
WIDTH = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}
BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


def units(text: str, encoding: str) -> int:
    return len(text.encode(WIDTH[encoding], "surrogatepass")) // BYTES[encoding]


def position(text: str, offset: int, encoding: str) -> Json:
    """Where `offset` is, counted the slow and plain way."""
    # Between the two characters of one line end there is no position: it means the line's end.
    if offset and text[offset - 1 : offset + 1] == "\r\n":
        offset -= 1
    starts = [0, *(m.end() for m in re.finditer(r"\r\n|\n|\r", text))]
    line = max(i for i, start in enumerate(starts) if start <= offset)
    return {"line": line, "character": units(text[starts[line] : offset], encoding)}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_any_edits_leave_the_text_of_the_client(encoding: str) -> None:
    version = 0

    @settings(
        max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(start=LONG_TEXTS, edits=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), TEXTS)))
    def check(start: str, edits: list[tuple[float, float, str]]) -> None:
        nonlocal version
        version += 1
        text = GOOD + start
        client.open(URI, text, version)
        changes = []
        for one, other, new in edits:
            first, last = sorted(round(place * len(text)) for place in (one, other))
            place = {
                "start": position(text, first, encoding),
                "end": position(text, last, encoding),
            }
            first -= first > 0 and text[first - 1 : first + 1] == "\r\n"
            last -= last > 0 and text[last - 1 : last + 1] == "\r\n"
            text = text[:first] + new + text[last:]
            changes.append({"range": place, "text": new})
        version += 1
        client.change(URI, version, *changes)
        client.settled()
        document = client.server.session.document(URI)
        assert document is not None
        assert document.live.text == text
        assert document.version == version
        client.close(URI)

    client = Client()
    client.initialize(
        {"general": {"positionEncodings": [encoding]}, "textDocument": {"diagnostic": {}}}
    )
    try:
        check()
    finally:
        client.finish()


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, "utf-16"),
        ([], "utf-16"),
        (["utf-8", "utf-16"], "utf-8"),
        (["utf-32", "utf-8"], "utf-32"),
        (["utf-7", "utf-8"], "utf-8"),
        (["utf-16"], "utf-16"),
        ("utf-8", "utf-16"),
    ],
)
def test_the_clients_first_choice_is_taken(client: Client, offered: object, chosen: str) -> None:
    result = client.initialize({"general": {"positionEncodings": offered}})
    assert result["capabilities"]["positionEncoding"] == chosen


@pytest.mark.parametrize(
    ("encoding", "columns"),
    [
        # the column inside a character means its start
        (Encoding.UTF8, [0, 1, 1, 2, 2, 2, 2, 3, 4, 4]),
        (Encoding.UTF16, [0, 1, 2, 2, 3, 4, 4]),
        (Encoding.UTF32, [0, 1, 2, 3, 4, 4]),
    ],
)
def test_columns_of_a_line(encoding: Encoding, columns: list[int]) -> None:
    line = "aé😀b"
    assert [to_column(line, n, encoding) for n in range(len(columns))] == columns
    for column in range(len(line) + 1):
        assert to_column(line, to_units(line, column, encoding), encoding) == column


@settings(max_examples=300)
@given(TEXTS.map(lambda t: re.sub("[\r\n]", "", t)), st.sampled_from(list(Encoding)))
def test_columns_agree_with_counting_one_by_one(line: str, encoding: Encoding) -> None:
    for column in range(len(line) + 1):
        assert to_units(line, column, encoding) == units(line[:column], encoding.value)
    ends = [units(line[:column], encoding.value) for column in range(len(line) + 1)]
    for given_units in range(ends[-1] + 3):
        wanted = max(i for i, end in enumerate(ends) if end <= given_units)
        assert to_column(line, given_units, encoding) == wanted


def test_positions_beyond_the_text_mean_its_end(client: Client) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    client.open(URI, "ab\ncd")
    client.change(URI, 2, insertion(9, 9, "e"))
    client.change(URI, 3, insertion(0, 99, "c"))
    reverse = {"start": {"line": 1, "character": 2}, "end": {"line": 1, "character": 0}}
    client.change(URI, 4, {"range": reverse, "text": "X"})
    client.settled()
    document = client.server.session.document(URI)
    assert document is not None
    assert document.live.text == "abc\nXe"


def test_a_change_without_a_range_is_the_whole_text(client: Client) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    client.open(URI, "ab")
    client.change(URI, 2, {"text": "new"}, insertion(0, 0, "very "))
    client.settled()
    document = client.server.session.document(URI)
    assert document is not None
    assert document.live.text == "very new"


def test_two_spellings_of_a_uri_are_one_document(client: Client) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    client.open("file:///w/a%20%C3%A9.dlm", "ab")
    client.change("file:///w/a%20é.dlm", 2, insertion(0, 0, "c"))
    client.settled()
    assert [d.live.text for d in client.server.session.documents] == ["cab"]
