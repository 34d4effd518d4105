"""Whatever a client says, in whatever order: one answer to each request, and no fault."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.server.features.random_documents import documents
from tests.server.harness import GOOD, Client

from dlm_server import requests
from dlm_server.capabilities import COMMANDS
from dlm_server.dispatch import INTERNAL_ERROR, NOTIFICATIONS, load_notifications

load_notifications()
#: in a folder that is not trusted no command starts the engine but this one
SAID = [c for c in COMMANDS if c != "dlm.restartEngine"]
URIS = st.sampled_from(["file:///w/a.dlm", "file:///w/b.dlm", "untitled:c", "", "file:///%00", "x"])
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(-9, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
NUMBERS = st.integers(0, 12) | st.sampled_from([-1, 2**31 - 1, 2**31, 2**70])


def mostly(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is right, and now and then anything."""
    return st.integers(0, 19).flatmap(lambda n: right if n else ANYTHING)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of these fields, some left out now and then."""
    left_out = st.sets(st.sampled_from(sorted(fields)), max_size=1)
    there = st.integers(0, 9).flatmap(lambda n: st.just(set()) if n else left_out)
    whole = st.fixed_dictionaries({name: mostly(value) for name, value in fields.items()})
    return st.tuples(whole, there).map(lambda t: {k: v for k, v in t[0].items() if k not in t[1]})


TEXTS = documents() | st.sampled_from(["", "x" * 5000, GOOD])
POSITIONS = objects(line=NUMBERS, character=NUMBERS)
RANGES = objects(start=POSITIONS, end=POSITIONS)
#: every field that any method reads, as a message may have more than its method needs
PARAMS = objects(
    textDocument=objects(uri=URIS, version=NUMBERS, languageId=st.just("dlm"), text=TEXTS),
    position=POSITIONS,
    range=RANGES,
    positions=st.lists(POSITIONS, max_size=2),
    contentChanges=st.lists(objects(range=RANGES, text=TEXTS) | objects(text=TEXTS), max_size=2),
    context=objects(diagnostics=st.just([]), includeDeclaration=st.booleans()),
    options=objects(tabSize=NUMBERS, insertSpaces=st.booleans()),
    query=st.text(max_size=3),
    ch=st.just("\n"),
    newName=st.text(max_size=5),
    command=st.sampled_from([*SAID, "dlm.no-such-command"]),
    arguments=st.lists(objects(uri=URIS, version=NUMBERS), max_size=2),
    previousResultIds=st.just([]),
    settings=objects(dlm=ANYTHING),
    changes=st.lists(objects(uri=URIS, type=st.integers(1, 3)), max_size=2),
    event=objects(added=st.just([]), removed=st.just([])),
    reason=st.integers(1, 3),
)
METHODS = st.sampled_from(
    [*requests.MODULES, *sorted(NOTIFICATIONS), "initialize", "$/cancelRequest", "no/such", ""]
    + ["textDocument/didOpen", "textDocument/didChange"] * 8
)
IDS = st.integers(1, 9) | st.sampled_from(["a", "b", ""])
JUNK_IDS: st.SearchStrategy[Any] = st.sampled_from([None, True, 1.5, [1], {}])
REQUESTS = st.fixed_dictionaries({"method": METHODS, "id": IDS, "params": mostly(PARAMS)})
MESSAGES = st.one_of(
    REQUESTS,
    REQUESTS,
    st.fixed_dictionaries({"method": METHODS, "params": mostly(PARAMS)}),
    st.fixed_dictionaries({"method": METHODS, "params": mostly(PARAMS)}),
    st.fixed_dictionaries({"method": METHODS, "id": JUNK_IDS, "params": ANYTHING}),
    st.fixed_dictionaries({"method": ANYTHING.filter(lambda m: not isinstance(m, str)), "id": IDS}),
    st.builds(lambda i: {"method": "$/cancelRequest", "params": {"id": i}}, IDS | ANYTHING),
    st.fixed_dictionaries({"id": IDS | JUNK_IDS, "result": ANYTHING}),
    ANYTHING.filter(lambda m: not isinstance(m, list | dict)),
    st.just([]),
)


def asked(messages: list[Any]) -> Counter[int | str]:
    """How many answers each id is owed."""
    owed: Counter[int | str] = Counter()
    for message in messages:
        if not isinstance(message, dict) or "id" not in message or "result" in message:
            continue
        number = message["id"]
        if isinstance(number, int | str) and not isinstance(number, bool):
            owed[number] += 1
    return owed


class _Kept(logging.Handler):
    """Keeps what was logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(before=st.lists(MESSAGES, max_size=3), after=st.lists(MESSAGES, max_size=25))
def test_every_request_is_answered_once_and_the_server_goes_on(
    before: list[Any], after: list[Any]
) -> None:
    before = [m for m in before if not isinstance(m, dict) or m.get("method") != "initialize"]
    client = Client()
    handler = _Kept(logging.ERROR)
    logging.getLogger("dlm_server").addHandler(handler)
    try:
        for message in before:
            client.send(message)
        client.ask("initialize", {"initializationOptions": {"trusted": False}}, "initialize")
        client.notify("initialized", {})
        for message in after:
            client.send(message)
        client.open("file:///w/last.dlm", GOOD)
        place = {"line": 3, "character": 2}
        where = {"textDocument": {"uri": "file:///w/last.dlm"}, "position": place}
        client.ask("textDocument/hover", where, "hover")
        assert "smollm2-135m" in str(client.answer("hover"))
    finally:
        answers, unread = client.leave()
        logging.getLogger("dlm_server").removeHandler(handler)
    owed = asked([*before, *after])
    assert {n: answers[n] for n in owed} == owed
    assert [m for m in unread if m.get("error", {}).get("code") == INTERNAL_ERROR] == []
    assert [record.getMessage() for record in handler.records] == []


def test_a_message_counts_as_asked_by_its_id() -> None:
    said = [{"method": "a", "id": 1}, {"method": "b", "id": 1}, {"method": "c", "id": True}]
    assert asked([*said, {"id": 2, "result": None}, [], 3]) == {1: 2}
