"""The client of the worker against workers that crash, hang, babble, start slowly or starve."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.server.engine.turning import TurnedLoop

from dlm_engine.worker.messages import Ending, Initialize, Progress, Prompt, Result, Text
from dlm_server.engine import client as clients
from dlm_server.engine.client import EngineClient, Launch, State

FAKE = Path(__file__).with_name("fake_worker.py")


@dataclass
class Bench:
    """A client, its loop, and everything it ever said."""

    client: EngineClient
    loop: TurnedLoop
    folder: Path
    states: list[State] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    said: list[Progress | Text] = field(default_factory=list)

    def run(self, question: str = "?") -> None:
        self.client.run("prompt", Prompt("p", question), self.said.append, self.results.append)

    def result(self) -> Result:
        """The next result."""
        count = len(self.results)
        self.loop.until(lambda: len(self.results) > count)
        return self.results[-1]

    def wait(self, state: State) -> None:
        self.loop.until(lambda: self.client.state is state)

    def appears(self, name: str) -> None:
        """Wait for a file that the worker leaves."""

        def look() -> None:
            self.loop.after(0.01, look)

        look()
        self.loop.until((self.folder / name).exists)

    @property
    def starts(self) -> int:
        return len(list(self.folder.glob("start-*")))


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def bench(mood: str, hurry: float = 1.0, python: str = sys.executable) -> Bench:
        loop = TurnedLoop(hurry)
        launch = Launch(
            (python, str(FAKE), mood, str(tmp_path)),
            {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            Initialize(os.getpid(), str(tmp_path)),
        )
        client = EngineClient(loop, lambda: launch)
        one = Bench(client, loop, tmp_path)
        client._changed = lambda: one.states.append(client.state)
        made.append(one)
        return one

    yield bench
    for one in made:
        one.client.close()


def test_nothing_starts_before_it_is_needed_and_then_it_stays(make: Make) -> None:
    bench = make("good")
    assert bench.starts == 0
    assert bench.client.state is State.OFF
    bench.run("first")
    assert bench.result().ending is Ending.DONE
    bench.run("second")
    assert bench.result() == Result(Ending.DONE, version=1)
    assert bench.starts == 1
    assert [s for s in bench.said if isinstance(s, Text) and "second" in s.text]
    assert bench.states == [
        *(State.STARTING, State.BUSY, State.IDLE),
        *(State.BUSY, State.IDLE),
    ]


def test_a_slow_start_keeps_the_job_waiting(make: Make) -> None:
    bench = make("slow start")
    bench.run()
    bench.appears("waiting")
    assert bench.client.state is State.STARTING
    (bench.folder / "go").touch()
    assert bench.result().ending is Ending.DONE


def test_a_job_cancelled_before_the_start_never_runs(make: Make) -> None:
    bench = make("slow start")
    bench.run()
    bench.client.cancel()
    assert bench.results[-1].ending is Ending.CANCELLED
    (bench.folder / "go").touch()
    bench.wait(State.IDLE)
    assert bench.said == []


def test_a_start_that_takes_for_ever_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "START_SECONDS", 0.2)
    bench = make("slow start")
    bench.run()
    bench.wait(State.RESTARTING)
    assert "signal 9" in (bench.client.message or "")
    assert bench.results == []
    (bench.folder / "go").touch()
    assert bench.result().ending is Ending.DONE


def test_a_crash_fails_the_job_and_the_engine_starts_again(make: Make) -> None:
    bench = make("crashes once")
    bench.run()
    result = bench.result()
    assert result.ending is Ending.FAILED
    assert result.trouble is not None
    assert "signal 9" in result.trouble.problem
    assert bench.client.state is State.RESTARTING
    assert 1.0 in bench.loop.delays
    bench.run("again")
    assert bench.result() == Result(Ending.DONE, version=2)


def test_three_crashes_are_enough(make: Make) -> None:
    bench = make("crashes", hurry=50)
    for _ in range(clients.MOST_FAILURES):
        bench.run()
        assert bench.result().ending is Ending.FAILED
    assert bench.client.state is State.FAILED
    assert {1.0, 5.0} <= set(bench.loop.delays)
    assert "three minutes" in (bench.client.message or "")
    bench.run()
    assert bench.results[-1].ending is Ending.UNAVAILABLE
    assert "dlm.restartEngine" in str(bench.results[-1].trouble)
    assert bench.starts == 3
    bench.client.restart()
    bench.wait(State.IDLE)
    assert bench.starts == 4


def test_an_engine_that_never_starts_gives_up_and_answers(make: Make) -> None:
    bench = make("never starts", hurry=50)
    bench.run()
    result = bench.result()
    assert result.ending is Ending.UNAVAILABLE
    assert bench.client.state is State.FAILED
    assert bench.starts == 3
    assert "no module named dlm_engine" in bench.client.ring.text()


def test_a_python_that_is_not_there_is_said_at_once(make: Make) -> None:
    bench = make("good", python="/nowhere/python")
    bench.run()
    assert bench.results[-1].ending is Ending.UNAVAILABLE
    assert "/nowhere/python" in str(bench.results[-1].trouble)
    assert bench.client.state is State.FAILED


def test_another_version_of_the_engine_is_refused_with_its_words(make: Make) -> None:
    bench = make("other version")
    bench.run()
    assert bench.result().ending is Ending.UNAVAILABLE
    assert "protocol 99" in (bench.client.message or "")
    assert bench.client.state is State.FAILED


def test_garbage_on_its_output_ends_it(make: Make) -> None:
    bench = make("garbage")
    bench.run()
    assert bench.result().ending is Ending.FAILED
    assert "no message" in bench.client.deaths[-1]
    assert bench.client.state is State.RESTARTING


def test_an_answer_without_sense_is_a_failure(make: Make) -> None:
    bench = make("nonsense")
    bench.run()
    assert bench.result().ending is Ending.FAILED
    assert bench.client.state is State.IDLE


def test_it_is_never_started_again_after_it_ran_out_of_memory(make: Make) -> None:
    bench = make("out of memory")
    bench.run()
    result = bench.result()
    assert result.ending is Ending.FAILED
    assert result.trouble is not None
    assert result.trouble.kind == "out-of-memory"
    assert bench.client.state is State.FAILED
    bench.run()
    assert bench.results[-1].ending is Ending.UNAVAILABLE
    assert bench.starts == 1


def test_a_worker_that_leaves_just_as_work_comes_is_started_for_it(make: Make) -> None:
    bench = make("leaves at once")
    bench.run()
    assert bench.result() == Result(Ending.DONE, version=2)
    assert State.RESTARTING not in bench.states


def test_a_kind_cancel_is_enough_for_a_kind_worker(make: Make) -> None:
    bench = make("hangs")
    bench.run()
    bench.appears("hanging")
    bench.client.cancel()
    assert bench.result().ending is Ending.CANCELLED
    assert bench.client.state is State.IDLE


@pytest.mark.parametrize("mood", ["deaf", "deaf to the first signal"])
def test_a_cancel_that_is_not_heard_ends_in_a_kill(mood: str, make: Make) -> None:
    bench = make(mood)
    bench.run()
    bench.appears("hanging")
    bench.client.cancel()
    bench.client.cancel()
    assert bench.result().ending is Ending.CANCELLED
    assert bench.client.state is State.OFF
    assert len(bench.results) == 1
    assert bench.client.deaths == []


def test_a_job_that_says_nothing_for_ever_is_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SILENCE_SECONDS", 0.5)
    bench = make("hangs")
    bench.run()
    assert bench.result().ending is Ending.FAILED


def test_restarting_ends_what_runs_and_is_ready_for_more(make: Make) -> None:
    bench = make("hangs")
    bench.run()
    bench.appears("hanging")
    bench.client.restart()
    assert bench.result().ending is Ending.CANCELLED
    bench.wait(State.IDLE)
    assert bench.starts == 2


def test_stopping_kills_what_does_not_stop(make: Make) -> None:
    bench = make("stays")
    bench.run()
    assert bench.result().ending is Ending.DONE
    bench.client.stop()
    bench.wait(State.OFF)
    assert bench.starts == 1


def test_what_it_says_on_the_side_is_kept_but_not_for_ever(make: Make) -> None:
    bench = make("good")
    bench.run()
    bench.result()
    bench.client.stop()
    bench.wait(State.OFF)
    assert "job 2" in bench.client.ring.text()
    for _ in range(100):
        bench.client.ring.write(b"x" * 10_000)
    assert len(bench.client.ring.text()) <= 256 * 1024
    bench.client.ring.write(b"newest")
    assert bench.client.ring.text(6) == "newest"
