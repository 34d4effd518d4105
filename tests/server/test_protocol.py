"""Every request gets exactly one answer, and no bytes end the server."""

from __future__ import annotations

import json
import threading

import pytest
from tests.server.harness import GOOD, Client, Json, RemoteError, insertion

from dlm_server import dispatch
from dlm_server.dispatch import Pending, Reach, RequestFailed, RequestHandler
from dlm_server.framing import encoded
from dlm_server.session import Session

URI = "file:///w/a.dlm"


@pytest.fixture
def pendings(monkeypatch: pytest.MonkeyPatch) -> list[Pending]:
    """A method `test/later` whose answers the test gives."""
    made: list[Pending] = []

    def later(session: Session, params: object) -> Pending:
        made.append(Pending())
        return made[-1]

    handler = RequestHandler("test/later", Reach.SESSION, later)
    monkeypatch.setitem(dispatch.REQUESTS, "test/later", handler)
    return made


def error_of(client: Client, method: str, params: object = None) -> Json:
    with pytest.raises(RemoteError) as caught:
        client.request(method, params)
    return caught.value.error


def test_requests_before_initialize_are_refused_and_notifications_ignored(client: Client) -> None:
    client.open(URI, GOOD)
    assert error_of(client, "textDocument/hover", {})["code"] == dispatch.SERVER_NOT_INITIALIZED
    client.initialize()
    client.settled()


def test_requests_after_shutdown_are_refused(client: Client) -> None:
    client.initialize()
    assert client.request("shutdown") is None
    assert error_of(client, "shutdown")["code"] == dispatch.INVALID_REQUEST
    client.open(URI, GOOD)


def test_a_second_initialize_is_refused(client: Client) -> None:
    client.initialize()
    assert error_of(client, "initialize", {})["code"] == dispatch.INVALID_REQUEST


@pytest.mark.parametrize("params", [None, [], "x"])
def test_initialize_without_an_object_is_refused_and_may_come_again(
    client: Client, params: object
) -> None:
    assert error_of(client, "initialize", params)["code"] == dispatch.INVALID_PARAMS
    client.initialize()


@pytest.mark.parametrize("capabilities", [None, 3, [], {"textDocument": []}, {"general": None}])
def test_nonsense_capabilities_count_as_none(client: Client, capabilities: object) -> None:
    params = {"processId": "x", "rootUri": 3, "capabilities": capabilities, "workspaceFolders": 1}
    result = client.request("initialize", params)
    assert result["capabilities"]["positionEncoding"] == "utf-16"


def test_unknown_methods_are_refused_and_unknown_notifications_ignored(client: Client) -> None:
    client.initialize()
    assert error_of(client, "test/none")["code"] == dispatch.METHOD_NOT_FOUND
    assert error_of(client, "$/none")["code"] == dispatch.METHOD_NOT_FOUND
    client.notify("test/none")
    client.notify("$/none", {"a": 1})
    client.settled()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (None, "missing"),
        ([1], "object"),
        ({}, "textDocument"),
        ({"textDocument": 3}, "textDocument"),
    ],
)
def test_wrong_parameters_are_refused_with_what_is_wrong(
    client: Client, params: object, said: str
) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    error = error_of(client, "textDocument/diagnostic", params)
    assert error["code"] == dispatch.INVALID_PARAMS
    assert said in error["message"].replace("text_document", "textDocument")


def test_wrong_parameters_of_a_notification_are_told_once(client: Client) -> None:
    client.initialize()
    for _ in range(3):
        client.notify("textDocument/didChange", {"textDocument": {"uri": URI}})
    assert "textDocument/didChange" in client.expect("window/showMessage")["message"]
    client.settled()


def test_a_document_that_is_not_open_is_answered_with_nothing(client: Client) -> None:
    client.initialize()
    client.change(URI, 2, insertion(0, 0, "x"))
    client.close(URI)
    result = client.request("textDocument/diagnostic", {"textDocument": {"uri": URI}})
    assert result["items"] == []


def test_an_exception_is_an_internal_error_and_the_server_lives(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, params: object) -> object:
        raise ZeroDivisionError("no")

    handler = RequestHandler("test/fail", Reach.SESSION, fail)
    monkeypatch.setitem(dispatch.REQUESTS, "test/fail", handler)
    client.initialize()
    for _ in range(2):
        error = error_of(client, "test/fail", {})
        assert error["code"] == dispatch.INTERNAL_ERROR
        assert "ZeroDivisionError" in error["message"]


def test_an_answer_that_json_cannot_say_is_an_internal_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = RequestHandler("test/nan", Reach.SESSION, lambda session, params: float("nan"))
    monkeypatch.setitem(dispatch.REQUESTS, "test/nan", handler)
    client.initialize()
    assert error_of(client, "test/nan", {})["code"] == dispatch.INTERNAL_ERROR


def test_an_exception_in_a_notification_is_told_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session, params: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(dispatch.NOTIFICATIONS, "test/fails", [fail])
    client.initialize()
    client.notify("test/fails", {})
    client.notify("test/fails", {})
    assert "test/fails" in client.expect("window/showMessage")["message"]
    client.settled()


def test_a_pending_answer_comes_when_it_is_resolved(
    client: Client, pendings: list[Pending]
) -> None:
    client.initialize()
    first, second = client.ask("test/later", {}), client.ask("test/later", {})
    client.settled()
    session = client.server.session
    session.post(lambda: pendings[1].resolve({"n": 2}))
    assert client.answer(second) == {"n": 2}
    session.post(lambda: pendings[0].reject(RequestFailed(-1, "no")))
    with pytest.raises(RemoteError, match="no"):
        client.answer(first)
    session.post(lambda: pendings[0].resolve(1))
    client.settled()


def test_a_pending_answer_is_cancelled_at_once_and_its_work_told(
    client: Client, pendings: list[Pending]
) -> None:
    client.initialize()
    number = client.ask("test/later", {})
    client.settled()
    stopped = threading.Event()
    client.server.session.post(lambda: pendings[0].on_cancel(stopped.set))
    client.settled()
    client.notify("$/cancelRequest", {"id": number})
    with pytest.raises(RemoteError) as caught:
        client.answer(number)
    assert caught.value.code == dispatch.REQUEST_CANCELLED
    assert stopped.wait(10)
    client.server.session.post(lambda: pendings[0].resolve("late"))
    client.settled()


def held(client: Client) -> threading.Event:
    """Stop the loop until the event is set, so that what is sent now is queued together."""
    go, stopped = threading.Event(), threading.Event()

    def wait() -> None:
        stopped.set()
        go.wait(20)

    client.server.loop.post(wait)
    assert stopped.wait(20)
    return go


def arrived(client: Client, go: threading.Event) -> None:
    """Let the loop go on once the reader has handed over everything that was sent."""
    queue = client.server.loop._arrived
    last = client.ask("dlm/no-such-method", number="last")
    deadline = threading.Event()
    while not any("last" in str(item) for item in list_of(queue)):
        deadline.wait(0.001)
    go.set()
    with pytest.raises(RemoteError):
        client.answer(last)


def list_of(queue: object) -> list[object]:
    items = []
    while not queue.empty():  # type: ignore[attr-defined]
        items.append(queue.get())  # type: ignore[attr-defined]
    for item in items:
        queue.put(item)  # type: ignore[attr-defined]
    return items


def test_a_queued_request_is_cancelled_before_it_runs(
    client: Client, pendings: list[Pending]
) -> None:
    client.initialize()
    client.settled()
    go = held(client)
    number = client.ask("test/later", {})
    client.notify("$/cancelRequest", {"id": number})
    arrived(client, go)
    with pytest.raises(RemoteError) as caught:
        client.answer(number)
    assert caught.value.code == dispatch.REQUEST_CANCELLED
    assert pendings == []


@pytest.mark.parametrize("cancelled", [None, {}, {"id": None}, {"id": 99}, {"id": [1]}, []])
def test_cancelling_nothing_is_ignored(client: Client, cancelled: object) -> None:
    client.initialize()
    client.notify("$/cancelRequest", cancelled)
    client.settled()


def test_questions_that_clients_repeat_are_dropped_when_an_edit_waits(client: Client) -> None:
    client.initialize({"textDocument": {"diagnostic": {}}})
    client.open(URI, GOOD)
    client.settled()
    document = {"textDocument": {"uri": URI}}
    go = held(client)
    stale = client.ask("textDocument/diagnostic", document)
    client.change(URI, 2, insertion(5, 0, "x"))
    fresh = client.ask("textDocument/diagnostic", document)
    other = client.ask("textDocument/diagnostic", {"textDocument": {"uri": "file:///w/b.dlm"}})
    arrived(client, go)
    with pytest.raises(RemoteError) as caught:
        client.answer(stale)
    assert caught.value.code == dispatch.SERVER_CANCELLED
    assert caught.value.error["data"] == {"retriggerRequest": True}
    assert client.answer(fresh)["kind"] == "full"
    assert client.answer(other)["items"] == []


def test_a_duplicate_id_is_refused_and_the_first_still_answered(
    client: Client, pendings: list[Pending]
) -> None:
    client.initialize()
    client.ask("test/later", {}, number="twice")
    client.settled()
    client.send({"jsonrpc": "2.0", "id": "twice", "method": "shutdown"})
    with pytest.raises(RemoteError, match="not answered yet"):
        client.answer("twice")
    client._answers["twice"] -= 1
    client.server.session.post(lambda: pendings[0].resolve(1))
    assert client.answer("twice") == 1


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"{", dispatch.PARSE_ERROR),
        (b"\xff\xfe", dispatch.PARSE_ERROR),
        (b"[" * 100_000, dispatch.PARSE_ERROR),
        (b"1" * 5000, dispatch.PARSE_ERROR),
        (b"3", dispatch.INVALID_REQUEST),
        (b"{}", dispatch.INVALID_REQUEST),
        (b'{"method": 3}', dispatch.INVALID_REQUEST),
        (b'{"id": 1.5, "method": "x"}', dispatch.INVALID_REQUEST),
        (b'{"id": null, "method": "x"}', dispatch.INVALID_REQUEST),
        (b'{"id": true, "method": "x"}', dispatch.INVALID_REQUEST),
        (b"[]", dispatch.INVALID_REQUEST),
        (b'[{"method": "x"}]', dispatch.INVALID_REQUEST),
    ],
)
def test_what_is_no_message_is_answered_without_an_id(
    client: Client, message: bytes, code: int
) -> None:
    client.initialize()
    client.send_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(message), message))
    with pytest.raises(RemoteError) as caught:
        client.answer(None)
    assert caught.value.code == code
    client.settled()


def test_each_request_of_a_batch_is_refused(client: Client) -> None:
    client.initialize()
    client._asked |= {"a", "b"}
    client.send([{"jsonrpc": "2.0", "id": i, "method": "shutdown"} for i in ("a", "b")])
    for number in ("a", "b"):
        with pytest.raises(RemoteError, match="batches"):
            client.answer(number)
    client.settled()


@pytest.mark.parametrize("miscounted", [-5, -1, 1, 7, 60])
def test_a_wrong_content_length_costs_one_message(client: Client, miscounted: int) -> None:
    client.initialize()
    body = json.dumps({"jsonrpc": "2.0", "method": "test/none", "params": {"x": "y" * 50}})
    client.send_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body) + miscounted, body.encode()))
    client.send({"jsonrpc": "2.0", "method": "test/none"})
    number = client.ask("test/after")
    with pytest.raises(RemoteError):
        client.answer(number)
    seen = 0
    while client._unread:
        with pytest.raises(RemoteError) as caught:
            client.answer(None)
        assert caught.value.code == dispatch.PARSE_ERROR
        seen += 1
    assert seen in (1, 2), seen


@pytest.mark.parametrize("head", [b"Content-Length: x\r\n\r\n", b"Hello\r\n\r\n", b"\r\n\r\n"])
def test_a_header_without_a_length_is_skipped(client: Client, head: bytes) -> None:
    client.initialize()
    client.send_bytes(head)
    client.settled_after_garbage()


def test_params_with_a_key_jsonrpc_are_no_message(client: Client) -> None:
    client.initialize()
    params = {"command": "dlm.none", "arguments": [{"jsonrpc": "2.0", "id": 1, "method": "x"}]}
    with pytest.raises(RemoteError):
        client.request("workspace/executeCommand", params)


def test_answers_to_nothing_are_ignored(client: Client) -> None:
    client.initialize()
    client.send({"jsonrpc": "2.0", "id": 77, "result": None})
    client.send({"jsonrpc": "2.0", "id": [1], "error": "x"})
    client.settled()


def test_a_huge_message_arrives(client: Client) -> None:
    client.initialize()
    client.open(URI, GOOD + "Some words.\n" * 500_000)
    found = client.published(URI, 1)
    assert found[-1]["code"] == "document-large"


def test_text_with_half_a_surrogate_pair_is_kept(client: Client) -> None:
    client.initialize()
    client.open(URI, GOOD + "half \ud800 pair\n")
    assert client.published(URI, 1) == []
    document = client.server.session.document(URI)
    assert document is not None
    assert document.live.text.endswith("half \ud800 pair\n")
    assert json.loads(encoded("\ud800").partition(b"\r\n\r\n")[2]) == "\ud800"
