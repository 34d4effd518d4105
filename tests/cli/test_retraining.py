"""`dlm train --watch` with what is sent to it, counted cycles, and a conversation meanwhile."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import FACTS, document_text, write_base
from tests.training.named import KITCHEN, named_text

from dlm_engine.cli import watching
from dlm_engine.cli.commands.repl import Talk
from dlm_engine.cli.console import Console
from dlm_engine.cli.conversation import Parameters
from dlm_engine.cli.entry import main
from dlm_engine.errors import StoreLocked
from dlm_engine.jobs import (
    Ending,
    Injected,
    PromptOutcome,
    PromptRequest,
    Start,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.store import Store, learned_by, read_injected

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
TOKEN = "correct-horse-battery"
TRAINED = TrainOutcome(Ending.TRAINED, version=3, steps=5, learned=1, rows=1, seconds=1.0)
HELD = StoreLocked("/s", "is in use by process 7", "wait")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(document_text("smollm2-135m"))
    return path


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("DLM_PROBE_TOKEN", TOKEN)
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def send(port: int, prompt: str, reference: str = "Yes.") -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = {"method": "inject_probe", "params": {"prompt": prompt, "reference": reference}}
    try:
        head = {"Authorization": f"Bearer {TOKEN}"}
        connection.request("POST", "/rpc", json.dumps(body), head)
        answer = connection.getresponse()
        assert answer.status == 200
        found: dict[str, Any] = json.loads(answer.read())
        return found
    finally:
        connection.close()


Step = Callable[[], TrainOutcome]


@dataclass
class Job:
    """Stands in for training: does one step after another, and keeps what it was asked."""

    steps: list[Step]
    requests: list[TrainRequest] = field(default_factory=list)

    def __call__(self, request: TrainRequest, *rest: object) -> TrainOutcome:
        self.requests.append(request)
        return self.steps[len(self.requests) - 1]()


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job([])
    monkeypatch.setattr("dlm_engine.cli.commands.train.train", job)
    return job


def fail() -> TrainOutcome:
    raise HELD


def trained() -> TrainOutcome:
    return TRAINED


def listen(path: Path, port: int, *flags: str) -> int:
    return main(["train", str(path), "--watch", "--listen-rpc", f"127.0.0.1:{port}", *flags])


def test_what_arrives_while_a_cycle_runs_is_learned_by_the_next_and_by_those_after(
    path: Path, port: int, job: Job, capsys: pytest.CaptureFixture[str], own_home: Path
) -> None:
    text = path.read_bytes()

    def sending(prompt: str) -> Step:
        def step() -> TrainOutcome:
            send(port, prompt)
            return TRAINED

        return step

    job.steps = [sending("One?"), sending("Two?"), trained]
    assert listen(path, port, "--max-cycles", "2") == 0
    one, two = Injected("One?", "Yes."), Injected("Two?", "Yes.")
    assert [request.injected for request in job.requests] == [(), (one,), (one, two)]
    assert {request.start for request in job.requests} == {Start.FURTHER}
    said = capsys.readouterr().err
    assert f"listening on http://127.0.0.1:{port}/rpc\n" in said
    assert said.count("questions were sent\n") == 2
    assert said.endswith("2 cycles done\n")
    assert TOKEN not in said
    assert path.read_bytes() == text
    assert [line.prompt for line in read_injected(Store(own_home, DLM_ID))] == ["One?", "Two?"]


def test_what_could_not_be_learned_stays_for_the_next_cycle(
    path: Path,
    port: int,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def changes(path: Path, ended: object) -> Iterator[None]:
        send(port, "One?")
        for number in range(3):
            path.write_text(document_text("smollm2-135m", ((f"{number}?", "a"),)))
            yield None

    monkeypatch.setattr(watching, "_changes", changes)
    job.steps = [trained, fail, trained, fail]
    # The last of the cycles decides, for whoever waits for the end.
    assert listen(path, port, "--max-cycles", "3") == 1
    one = (Injected("One?", "Yes."),)
    assert [request.injected for request in job.requests] == [(), one, one, one]
    assert "what was sent stays for the next cycle" in capsys.readouterr().err


def test_the_end_from_outside_writes_down_what_waits(
    path: Path,
    port: int,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_home: Path,
) -> None:
    def changes(path: Path, ended: object) -> Iterator[None]:
        send(port, "One?")
        os.kill(os.getpid(), signal.SIGTERM)
        yield None

    monkeypatch.setattr(watching, "_changes", changes)
    job.steps = [trained]
    assert listen(path, port) == 0
    (line,) = read_injected(Store(own_home, DLM_ID))
    assert (line.prompt, line.run_id, line.adapter_version) == ("One?", None, None)
    assert line.source_addr.startswith("127.0.0.1:")
    said = capsys.readouterr().err
    assert "no longer watching" in said
    assert "1 accepted, but learned by no version" in said
    with pytest.raises(ConnectionRefusedError):
        send(port, "Two?")


def test_a_real_run_learns_it_and_says_which_version_knows(
    tmp_path: Path,
    port: int,
    own_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dlm_engine.training import anchors

    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    monkeypatch.setenv("DLM_THREADS", "1")
    base = write_base(tmp_path / "base")
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(base), extra="training:\n  num_epochs: 2\n"))
    real = watching._changes

    def changes(path: Path, ended: threading.Event | None) -> Iterator[None]:
        send(port, "Who rings the bell?", "Bo rings it.")
        yield from real(path, ended)

    monkeypatch.setattr(watching, "_changes", changes)
    text = path.read_bytes()
    assert listen(path, port, "--max-cycles", "1") == 0
    store = Store(own_home, DLM_ID)
    current = store.current()
    assert current is not None
    questions = [row.question for row in learned_by(current) or ()]
    assert questions == [*(question for question, _ in FACTS), "Who rings the bell?"]
    (line,) = read_injected(store)
    assert (line.run_id, line.adapter_version) == (2, 2)
    assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--listen-rpc", "127.0.0.1:0"], "DLM_PROBE_TOKEN is not set"),
        (["--listen-rpc", "nowhere"], "DLM_PROBE_TOKEN is not set"),
        (["--repl", "--max-cycles", "1"], "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    flags: list[str],
    said: str,
    path: Path,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    own_home: Path,
) -> None:
    monkeypatch.delenv("DLM_PROBE_TOKEN", raising=False)
    assert main(["train", str(path), "--watch", *flags]) == 2
    assert said in capsys.readouterr().err
    assert job.requests == []
    assert not own_home.exists()
    folder = path.parent / "folder"
    folder.mkdir()
    assert main(["train", str(folder), "--base", "smollm2-135m", "--watch", *flags]) == 2
    assert list(folder.iterdir()) == []


def test_an_address_that_is_taken_is_refused_before_anything_starts(
    path: Path, port: int, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", port)):
        assert listen(path, port) == 2
    assert "cannot listen there" in capsys.readouterr().err
    assert job.requests == []


@pytest.mark.parametrize("flag", [["--repl"], ["--listen-rpc", "a:1"], ["--max-cycles", "1"]])
def test_without_watch_they_are_refused(
    flag: list[str], path: Path, job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(path), *flag]) == 2
    assert f"{flag[0]}: goes with --watch" in capsys.readouterr().err
    assert job.requests == []


def test_listening_to_others_than_this_machine_is_warned_of(
    path: Path,
    port: int,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job.steps = [lambda: TrainOutcome(Ending.CANCELLED)]
    assert main(["train", str(path), "--watch", "--listen-rpc", f"0.0.0.0:{port}"]) == 0
    assert "others reach it, and the token and the texts travel unencrypted" in (
        capsys.readouterr().err
    )


# --- a conversation meanwhile -----------------------------------------------------------------


class Lines:
    """Standard input that is no terminal; each line is made when it is asked for."""

    def __init__(self, made: Iterator[str]) -> None:
        self._made = made

    def __iter__(self) -> Iterator[str]:
        return self._made

    def isatty(self) -> bool:
        return False


@dataclass
class Meanwhile:
    """What happened, in order; `training` holds while a training beside the conversation runs."""

    path: Path
    happened: list[str] = field(default_factory=list)
    training: threading.Event = field(default_factory=threading.Event)
    heard: threading.Event = field(default_factory=threading.Event)
    version: int = 1

    def save(self) -> None:
        self.path.write_text(document_text("smollm2-135m", (("New?", "Yes."),)))

    def prompt(self, request: PromptRequest, on_text: Callable[[str], None], *rest: Any) -> Any:
        self.happened.append(f"answer {request.question} by {self.version}")
        on_text("A")
        return PromptOutcome("A", self.version, "smollm2-135m", 3, 1, "end", 0.0, 1.0)


@pytest.fixture
def meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    found = Meanwhile(path)
    status = Console.status

    def spy(console: Console, message: str) -> None:
        if message.startswith("(training;"):
            found.heard.set()
        status(console, message)

    monkeypatch.setattr(Console, "status", spy)
    monkeypatch.setattr("dlm_engine.cli.commands.repl.prompt", found.prompt)
    return found


def talk(path: Path, lines: Iterator[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", Lines(lines))
    return main(["train", str(path), "--watch", "--repl"])


def test_a_question_waits_for_the_training_and_the_new_version_answers(
    meanwhile: Meanwhile,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def beside() -> TrainOutcome:
        meanwhile.training.set()
        assert meanwhile.heard.wait(60)
        meanwhile.version = 2
        meanwhile.happened.append("trained")
        return TRAINED

    def lines() -> Iterator[str]:
        yield "one\n"
        meanwhile.save()
        assert meanwhile.training.wait(60)
        yield "two\n"

    job.steps = [trained, beside]
    assert talk(meanwhile.path, lines(), monkeypatch) == 0
    assert meanwhile.happened == ["answer one by 1", "trained", "answer two by 2"]
    said = capsys.readouterr().err
    assert "(training; the answer follows it" in said
    assert f"{meanwhile.path} has changed" in said
    assert "version 3: 1 of 1 known" in said
    assert "(answered by version 2)" in said


GATE = "  num_epochs: 2\n  gate: {enabled: true, cold_start_floor: 2}\n"


@pytest.mark.parametrize(
    ("settings", "first", "said"),
    [
        ("  num_epochs: 2\n", "harbour", "asking harbour; /adapter NAME asks another: kitchen"),
        (GATE, None, "the newest version answers"),
    ],
    ids=["the first declared", "the gate"],
)
def test_of_several_adapters_one_answers_or_the_gate(
    settings: str,
    first: str | None,
    said: str,
    path: Path,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path.write_text(named_text("smollm2-135m", settings=settings))
    asked: list[str | None] = []

    def answer(request: PromptRequest, *rest: object) -> PromptOutcome:
        asked.append(request.adapter)
        return PromptOutcome("A", None, "smollm2-135m", 3, 1, "end", 0.0, 1.0)

    monkeypatch.setattr("dlm_engine.cli.commands.repl.prompt", answer)
    job.steps = [trained]
    assert talk(path, iter(["one\n"]), monkeypatch) == 0
    assert asked == [first]
    assert said in capsys.readouterr().err


def test_a_conversation_beside_real_trainings_changes_whom_it_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answer needs another adapter on the base that the trainings have in memory."""
    from dlm_engine.training import anchors

    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:2])
    monkeypatch.setenv("DLM_THREADS", "1")
    path = tmp_path / "facts.dlm"
    path.write_text(named_text(write_base(tmp_path / "base"), settings=GATE))
    again = threading.Event()
    status = Console.status

    def spy(console: Console, message: str) -> None:
        status(console, message)
        if message == f"waiting for {path} to change":
            again.set()

    monkeypatch.setattr(Console, "status", spy)

    def lines() -> Iterator[str]:
        yield "/params max_tokens=2\n"
        yield "one\n"
        yield "/adapter kitchen\n"
        yield "two\n"
        more = (*KITCHEN, ("Who cuts the bread?", "Ada cuts it."))
        path.write_text(named_text(tmp_path / "base", kitchen=more, settings=GATE))
        assert again.wait(120)
        yield "three\n"
        yield "/adapter auto\n"
        yield "four\n"

    assert talk(path, lines(), monkeypatch) == 0
    said = capsys.readouterr().err
    changes = [line for line in said.splitlines() if line.startswith("(answered by")]
    assert changes == [
        "(answered by kitchen version 1)",
        "(answered by kitchen version 2)",
        "(answered by harbour version 1 and kitchen version 2)",
    ]


def test_leaving_stops_the_training_and_waits_for_it(
    meanwhile: Meanwhile, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(request: TrainRequest, tell: object, cancelled: Any, resident: object) -> TrainOutcome:
        if not job.requests:
            job.requests.append(request)
            return TRAINED
        meanwhile.training.set()
        assert cancelled.__self__.wait(60)
        assert cancelled()
        meanwhile.happened.append("stopped")
        return TrainOutcome(Ending.CANCELLED)

    def lines() -> Iterator[str]:
        meanwhile.save()
        assert meanwhile.training.wait(60)
        yield "/exit\n"

    monkeypatch.setattr("dlm_engine.cli.commands.train.train", run)
    before = threading.active_count()
    assert talk(meanwhile.path, lines(), monkeypatch) == 0
    assert meanwhile.happened == ["stopped"]
    assert threading.active_count() == before


def test_what_cannot_be_trained_is_said_and_the_conversation_goes_on(
    meanwhile: Meanwhile,
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def beside() -> TrainOutcome:
        meanwhile.training.set()
        raise HELD

    def lines() -> Iterator[str]:
        meanwhile.save()
        assert meanwhile.training.wait(60)
        yield "one\n"

    job.steps = [trained, beside]
    assert talk(meanwhile.path, lines(), monkeypatch) == 0
    assert meanwhile.happened == ["answer one by 1"]
    assert "error: /s: is in use by process 7: wait" in capsys.readouterr().err


def talk_about(path: Path, home: Path) -> Talk:
    asking = PromptRequest(path, home, "")
    return Talk(Console(), asking, Parameters(None, None, 9, None), None, None)


def test_a_question_that_waits_can_be_taken_back(
    meanwhile: Meanwhile, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = talk_about(path, tmp_path)
    done = threading.Event()
    taken = threading.Event()

    def hold() -> None:
        with asked.machine:
            taken.set()
            assert meanwhile.heard.wait(60)
            asked.interrupts(signal.SIGINT, None)
            assert done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert taken.wait(60)
    assert asked.hear("one")
    done.set()
    holder.join()
    assert meanwhile.happened == []
    assert "(taken back)" in capsys.readouterr().err


def test_what_a_training_says_stands_above_the_line_that_is_typed(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from dlm_engine.cli import beside

    asked = talk_about(path, tmp_path)
    aside = beside._Aside(talk=asked)
    monkeypatch.setattr(beside, "is_terminal", lambda stream: True)
    aside.status("version 2")
    assert capsys.readouterr() == ("", "version 2\n")
    asked.shown = "[1] > "
    aside.status("version 3")
    captured = capsys.readouterr()
    assert captured.out.startswith("\r\x1b[K")
    assert captured.out.endswith("[1] > ")
    assert captured.err == "version 3\n"
