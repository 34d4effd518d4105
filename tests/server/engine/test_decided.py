"""Which refusals a person is asked about, what of it is taken, and what is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dlm_engine.document import LiveDocument
from dlm_engine.worker.messages import Accept, Choice, Ending, Result, Trouble
from dlm_server.dispatch import Pending
from dlm_server.engine import refused
from dlm_server.engine.arguments import Target
from dlm_server.engine.queue import Job
from dlm_server.engine.service import Engine
from dlm_server.session import Session

TARGET = Target("file:///a.dlm", Path("/a.dlm"), LiveDocument.open(""))
LOCK = Trouble("LockError", "dlm.lock", "differs", "", ("update", "ignore"))
FRESH = Trouble("TrainingError", "state", "is spoilt", "", ("fresh",))
LICENCE = Trouble("LicenceRequired", "base", "asks", "", ("licence",), "X-1", "https://x")
OTHER = Trouble("LicenceRequired", "base", "asks", "", ("licence",), "Y-1", "https://y")
ACCEPT = "Accept the licence X-1"


@dataclass
class Asked:
    """A session whose user takes `takes`, one after the other, and a job that is refused with
    `refusals` until each has been decided."""

    refusals: list[Trouble | None]
    takes: list[str | None] = field(default_factory=list)
    buttons: bool = True
    trusted: bool = True
    offered: list[list[str]] = field(default_factory=list)
    begun: list[Accept] = field(default_factory=list)
    end: Result | None = None

    def __post_init__(self) -> None:
        self.engine = SimpleNamespace(licences=set(), cancel=lambda job: 0)
        self.client = SimpleNamespace(show_message_actions=self.buttons, show_document=False)
        self.settings = SimpleNamespace(trusted=self.trusted)

    def request(self, method: str, params: Any, then: Callable[[Any, None], None]) -> None:
        self.offered.append([action["title"] for action in params["actions"]])
        title = self.takes.pop(0)
        then(None if title is None else {"title": title}, None)

    def run(self, among: tuple[Choice, ...] = ("fresh", "update", "ignore", "licence")) -> None:
        def start(accept: Accept, done: Callable[[Result], None]) -> Job:
            self.begun.append(accept)
            trouble = self.refusals.pop(0)
            ending = Ending.DONE if trouble is None else Ending.UNAVAILABLE
            done(Result(ending, trouble))
            return Job(1, "train", TARGET.uri, "", "train", None)

        def ended(result: Result) -> None:
            self.end = result

        session, engine = cast(Session, self), cast(Engine, self.engine)
        refused.decided(session, engine, TARGET, Accept(), Pending(), ended, start, among)


LOCKED, ANEW, LICENSED = Accept(lock="update"), Accept(fresh=True), Accept(licence=True)


@pytest.mark.parametrize(
    ("refusals", "takes", "begun"),
    [
        ([None], [], [Accept()]),
        ([LOCK, None], ["Accept the change"], [Accept(), LOCKED]),
        ([FRESH, None], ["Train anew"], [Accept(), ANEW]),
        ([LICENCE, None], [ACCEPT], [Accept(), LICENSED]),
        (
            [LICENCE, LOCK, FRESH, None],
            [ACCEPT, "Ignore it this once", "Train anew"],
            [
                Accept(),
                LICENSED,
                Accept(licence=True, lock="ignore"),
                Accept(fresh=True, licence=True, lock="ignore"),
            ],
        ),
    ],
)
def test_the_job_goes_on_as_decided(
    refusals: list[Trouble | None], takes: list[str | None], begun: list[Accept]
) -> None:
    asked = Asked(refusals, takes)
    asked.run()
    assert asked.begun == begun
    assert asked.end == Result(Ending.DONE)
    assert asked.takes == []


@pytest.mark.parametrize(
    ("asked", "ending"),
    [
        (Asked([LICENCE], [None]), Ending.CANCELLED),
        (Asked([LICENCE], [ACCEPT], trusted=False), Ending.CANCELLED),
        (Asked([LICENCE], buttons=False), Ending.UNAVAILABLE),
        # One that was made and did not help is not offered again.
        (Asked([LICENCE, LICENCE], [ACCEPT]), Ending.UNAVAILABLE),
    ],
)
def test_what_is_not_decided_ends_with_the_refusal(asked: Asked, ending: Ending) -> None:
    asked.run()
    assert asked.end == Result(ending, LICENCE)


def test_only_a_training_can_be_begun_with_what_only_a_training_takes() -> None:
    asked = Asked([FRESH])
    asked.run(("licence",))
    assert (asked.offered, asked.end) == ([], Result(Ending.UNAVAILABLE, FRESH))


def test_an_accepted_licence_is_remembered_and_no_other() -> None:
    asked = Asked([LICENCE, None, LICENCE, None, OTHER], [ACCEPT, None])
    asked.run()
    asked.run(("licence",))
    assert asked.end == Result(Ending.DONE)
    assert asked.offered == [[ACCEPT]]
    asked.run()
    assert asked.offered == [[ACCEPT], ["Accept the licence Y-1"]]
