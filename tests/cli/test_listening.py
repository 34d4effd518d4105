"""`dlm train --listen-rpc`: what a stranger, an attacker and a friend are answered over HTTP."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from dlm_engine.cli import injected as injecting
from dlm_engine.cli import listening as receiving
from dlm_engine.cli.injected import Injections, Probe
from dlm_engine.cli.listening import Listener, address_of, listening, usable_token
from dlm_engine.errors import UsageError
from dlm_engine.jobs import Injected
from dlm_engine.store import Store, read_injected

TOKEN = "correct-horse-battery"
GOOD: dict[str, Any] = {
    "method": "inject_probe",
    "params": {"prompt": "Who rings?", "reference": "Bo.", "tags": ["harvest"]},
}


@pytest.fixture
def injections() -> Injections:
    return Injections()


@pytest.fixture
def listener(injections: Injections) -> Iterator[Listener]:
    with listening(("127.0.0.1", 0), TOKEN, injections) as found:
        yield found


def ask(
    listener: Listener,
    body: bytes | dict[str, Any] | None = None,
    *,
    method: str = "POST",
    path: str = "/rpc",
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", listener.server_port, timeout=30)
    data = (
        json.dumps(GOOD if body is None else body).encode() if not isinstance(body, bytes) else body
    )
    try:
        connection.request(
            method, path, data, {"Authorization": f"Bearer {TOKEN}", **(headers or {})}
        )
        answer = connection.getresponse()
        text = answer.read()
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, json.loads(text) if text else {}
    finally:
        connection.close()


def raw(listener: Listener, data: bytes) -> bytes:
    """What comes back for exactly these bytes, until the other side ends."""
    with socket.create_connection(("127.0.0.1", listener.server_port), timeout=30) as connection:
        connection.sendall(data)
        return rest(connection)


def rest(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def params(**changed: Any) -> dict[str, Any]:
    return {**GOOD, "params": {**GOOD["params"], **changed}}


def test_a_probe_is_accepted_and_waits(listener: Listener, injections: Injections) -> None:
    status, answer = ask(listener)
    assert (status, answer) == (200, {"accepted": True, "next_cycle_eta_s": 1, "queue_depth": 1})
    assert ask(listener, params(prompt="  One?\r\nTwo? ", tags=[]))[1]["queue_depth"] == 2
    assert injections.take() == (Injected("Who rings?", "Bo."), Injected("One?\nTwo?", "Bo."))
    assert injections.waiting == 0
    # No tags is none; what else stands at the top is not ours to read.
    assert ask(listener, {**GOOD, "id": 1, "params": {"prompt": "a", "reference": "b"}})[0] == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "BREW", "HEAD"])
def test_another_method_is_not_found(method: str, listener: Listener) -> None:
    assert ask(listener, method=method)[0] == 404


@pytest.mark.parametrize("path", ["/", "/rpc/", "/rpc?token=x", "/../rpc", "/RPC"])
def test_another_path_is_not_found_before_anything_else(path: str, listener: Listener) -> None:
    assert ask(listener, path=path, headers={"Authorization": "no"})[0] == 404


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer \xe9"]
)
def test_a_wrong_token_is_refused_before_the_body_is_read(given: str, listener: Listener) -> None:
    status, answer = ask(listener, b"no JSON", headers={"Authorization": given})
    assert (status, answer) == (401, {"error": "the token is missing or wrong"})


def test_no_token_or_two_are_refused(listener: Listener) -> None:
    assert raw(listener, b"POST /rpc HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.0 401 ")
    twice = f"Authorization: Bearer {TOKEN}\r\n".encode() * 2
    assert raw(listener, b"POST /rpc HTTP/1.1\r\n" + twice + b"\r\n").startswith(b"HTTP/1.0 401 ")


HUGE = b"x" * (receiving.MOST_BODY + 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body must have"),
        (HUGE, "the body must have"),
        (b"{", "not JSON"),
        (b'{"method": "\xff"}', "not JSON"),
        (json.dumps(GOOD).encode("utf-16"), "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"1" * 60_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "method is missing"),
        ({"method": "inject_probe"}, "params must be"),
        ({"method": "inject_probe", "params": []}, "params must be"),
        (params(prompt=1), "params must be"),
        (params(tags="a"), "params must be"),
        (params(weight=3), "params must be"),
        (params(prompt=" \n "), "must not be blank"),
        (params(reference="\t"), "must not be blank"),
        (params(prompt="half \ud800"), "prompt has characters"),
        (params(reference="\x1b[2J"), "reference has characters"),
        (params(tags=["ok", "a\x00"]), "tags[1] has characters"),
        (params(reference="It is ghp_" + "a1B2" * 9), "reference looks like it holds a secret"),
        (params(tags=["password: Xk29-vQ1z8Rt"]), "tags[0] looks like it holds a secret"),
    ],
    ids=range(21),
)
def test_what_cannot_be_learned_is_refused_and_says_why(
    body: Any, said: str, listener: Listener, injections: Injections
) -> None:
    status, answer = ask(listener, body)
    assert status == 400
    assert said in answer["error"]
    assert "ghp_" not in answer["error"]
    assert injections.waiting == 0


def test_an_unknown_method_of_the_body_is_not_found(listener: Listener) -> None:
    assert ask(listener, {"method": "stop", "params": 1})[0] == 404


HEAD = f"POST /rpc HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 0x10\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"\x16\x03\x01 hello there\r\n\r\n",
        b"POST /rpc HTTP/9.9\r\n\r\n",
        b"POST /rpc HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(10),
)
def test_what_is_no_proper_request_is_answered_shortly(data: bytes, listener: Listener) -> None:
    answer = raw(listener, data)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert TOKEN.encode() not in answer
    assert len(answer) < 400
    assert ask(listener)[0] == 200


def test_a_body_that_ends_early_is_refused(listener: Listener) -> None:
    with socket.create_connection(("127.0.0.1", listener.server_port), timeout=30) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        assert b"shorter than Content-Length" in rest(connection)


def test_who_is_slow_is_cut_off_while_others_are_served(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "_DEADLINE", 1.0)
    port = listener.server_port
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as head,
        socket.create_connection(("127.0.0.1", port), timeout=30) as body,
    ):
        head.sendall(b"POST /rpc HT")
        body.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert ask(listener)[0] == 200
        assert b"did not arrive in time" in rest(body)
        assert rest(head) == b""


def test_one_who_sends_a_byte_now_and_then_meets_the_same_deadline() -> None:
    """The deadline is of the whole request, not of each read."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        limited = receiving._Limited(ours, 0.0, 100)
        theirs.send(b"x")
        with pytest.raises(TimeoutError):
            limited.read(1)


def test_connections_beyond_the_number_are_turned_away_and_the_rest_served(
    listener: Listener, injections: Injections
) -> None:
    port = listener.server_port
    idle = [
        socket.create_connection(("127.0.0.1", port), timeout=30)
        for _ in range(receiving.MOST_CONNECTIONS)
    ]
    try:
        assert b"503" in raw(listener, b"")
    finally:
        for connection in idle:
            connection.close()

    def once(number: int) -> int:
        while True:
            try:
                status = ask(listener, params(prompt=f"Question {number}?"))[0]
            except OSError:  # turned away before it was heard out
                continue
            if status != 503:
                return status

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(once, range(100))) == [200] * 100
    assert len(injections.take()) == 100


def test_a_full_queue_says_so(
    listener: Listener, injections: Injections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(injecting, "MOST_WAITING", 2)
    assert [ask(listener)[0] for _ in range(3)] == [200, 200, 429]
    assert ask(listener)[1] == {"error": "the queue is full", "queue_depth": 2}
    injections.take()
    assert ask(listener)[0] == 200
    monkeypatch.setattr(injecting, "MOST_HELD", 1)
    assert ask(listener)[0] == 429


def test_nothing_that_was_sent_is_printed(
    listener: Listener, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(listener)
    ask(listener, path=f"/rpc?token={TOKEN}")
    ask(listener, headers={"Authorization": "Bearer wrong-word"})
    raw(listener, b"\x00\xff\r\n\r\n")
    with socket.create_connection(("127.0.0.1", listener.server_port)) as connection:
        # A reset while the answer is written.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
    ask(listener)
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_after_the_end_nobody_listens(injections: Injections) -> None:
    before = threading.active_count()
    with listening(("127.0.0.1", 0), TOKEN, injections) as listener:
        assert listener.is_local
        assert listener.url == f"http://127.0.0.1:{listener.server_port}/rpc"
        with pytest.raises(UsageError, match="cannot listen there"):
            listening(("127.0.0.1", listener.server_port), TOKEN, injections).__enter__()
    with pytest.raises(ConnectionRefusedError):
        ask(listener)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7464", ("127.0.0.1", 7464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        *((bad, None) for bad in ("7464", ":7464", "a:", "a:x", "::1:80", "[]:1", "")),
    ],
)
def test_addresses(text: str, address: tuple[str, int] | None) -> None:
    if address:
        assert address_of(text) == address
    else:
        with pytest.raises(UsageError, match="is not HOST:PORT"):
            address_of(text)


@pytest.mark.parametrize("text", ["127.0.0.1:99999", "a:65536", "a:" + "9" * 5000])
def test_a_port_that_is_too_large(text: str) -> None:
    with pytest.raises(UsageError, match="the port is too large: there are none above 65535"):
        address_of(text)


@pytest.mark.parametrize("token", [None, "", "two words", "caf\xe9", "a\nb"])
def test_a_token_that_cannot_be_one_is_refused_and_not_repeated(token: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        usable_token(token)
    assert not token or token not in str(caught.value)


# --- the queue --------------------------------------------------------------------------------


def probe(prompt: str, reference: str = "Yes.") -> Probe:
    return Probe(prompt, reference, (), "127.0.0.1:9", "2026-01-02T03:04:05Z")


def test_a_cycle_is_due_once_it_is_quiet_or_something_waits_too_long() -> None:
    now = [100.0]
    queue = Injections(lambda: now[0])
    assert not queue.due()
    queue.put(probe("a"))
    assert not queue.due()
    now[0] += 0.31
    assert queue.due()
    for _ in range(20):  # someone who never pauses
        now[0] += 0.2
        queue.put(probe("b"))
    assert queue.due()
    queue.take()
    assert not queue.due()


def test_the_estimate_is_the_rest_of_the_cycle_that_runs() -> None:
    now = [0.0]
    queue = Injections(lambda: now[0])
    with queue.cycle():
        now[0] = 20.0
    assert queue.seconds_to_next_cycle() == 1
    with queue.cycle():
        now[0] = 25.0
        assert queue.seconds_to_next_cycle() == 16


def test_every_cycle_learns_all_so_far_and_of_one_question_the_newest() -> None:
    queue = Injections()
    queue.put(probe("Who is it?", "Ana."))
    queue.put(probe("And?"))
    queue.take()
    queue.put(probe("Who  is it?", "Bo."))
    assert queue.take() == (Injected("And?", "Yes."), Injected("Who  is it?", "Bo."))


def test_the_rest_is_written_down_at_the_end(tmp_path: Path) -> None:
    store = Store(tmp_path, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    queue = Injections()
    assert queue.record_rest(store) == 0
    assert not store.exists()
    queue.put(probe("a"))
    queue.take()
    queue.put(probe("b"))
    assert queue.record_rest(store) == 2
    assert [(line.prompt, line.adapter_version) for line in read_injected(store)] == [
        ("a", None),
        ("b", None),
    ]
