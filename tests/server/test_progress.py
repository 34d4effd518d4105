"""Work is shown only when it lasts, can be cancelled, and is always ended and forgotten."""

from __future__ import annotations

import threading
from typing import Any

from tests.server.harness import Client

from dlm_server.progress import Progress

ABLE = {"window": {"workDoneProgress": True}}


def on_loop(client: Client, act: Any) -> Any:
    """Run `act` on the loop and give back what it returns."""
    done, found = threading.Event(), []

    def run() -> None:
        found.append(act())
        done.set()

    client.server.session.post(run)
    assert done.wait(20)
    return found[0]


def begun(client: Client, on_cancel: Any = None) -> tuple[Progress, dict[str, Any]]:
    session = client.server.session
    progress = on_loop(client, lambda: Progress(session, "Work", on_cancel, delay=0))
    return progress, client.expect_message("window/workDoneProgress/create")


def test_work_is_begun_reported_and_ended(client: Client) -> None:
    client.initialize(ABLE)
    progress, asked = begun(client)
    client.reply(asked)
    token = asked["params"]["token"]
    begin = client.expect("$/progress", token=token)["value"]
    assert (begin["kind"], begin["title"], begin["cancellable"]) == ("begin", "Work", False)
    on_loop(client, lambda: progress.report("half", 50))
    report = client.expect("$/progress", token=token)["value"]
    assert report == {"kind": "report", "cancellable": False, "message": "half", "percentage": 50}
    on_loop(client, lambda: progress.end("done"))
    assert client.expect("$/progress")["value"] == {"kind": "end", "message": "done"}
    on_loop(client, progress.end)
    assert client.server.session.cancellable == {}


def test_quick_work_shows_nothing(client: Client) -> None:
    client.initialize(ABLE)
    session = client.server.session
    on_loop(client, lambda: Progress(session, "Quick", delay=0.05).end())
    on_loop(client, lambda: session.after(0.1, lambda: None))
    client.settled()


def test_what_the_client_was_asked_for_is_ended_though_the_work_was_over_first(
    client: Client,
) -> None:
    client.initialize(ABLE)
    progress, asked = begun(client)
    on_loop(client, lambda: progress.end("over"))
    client.reply(asked)
    assert client.expect("$/progress")["value"]["kind"] == "begin"
    assert client.expect("$/progress")["value"] == {"kind": "end", "message": "over"}


def test_a_client_that_refuses_is_told_nothing(client: Client) -> None:
    client.initialize(ABLE)
    progress, asked = begun(client)
    client.send({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": 1, "message": "no"}})
    on_loop(client, lambda: progress.report("x", 1))
    on_loop(client, progress.end)


def test_cancelling_tells_the_work_once(client: Client) -> None:
    client.initialize(ABLE)
    told: list[int] = []
    progress, asked = begun(client, lambda: told.append(1))
    client.reply(asked)
    assert client.expect("$/progress")["value"]["cancellable"] is True
    for token in (asked["params"]["token"], asked["params"]["token"], "another"):
        client.notify("window/workDoneProgress/cancel", {"token": token})
    client.settled()
    assert told == [1]
    assert progress.cancelled
    on_loop(client, progress.end)
    assert client.expect("$/progress")["value"]["kind"] == "end"


def test_a_client_without_progress_is_asked_for_nothing(client: Client) -> None:
    client.initialize()
    session = client.server.session
    progress = on_loop(client, lambda: Progress(session, "Work", delay=0))
    on_loop(client, progress.end)
    client.settled()
