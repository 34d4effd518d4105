"""`dlm repl`: what reaches the model, what a line may change, and a real terminal."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.store.conftest import commit_version
from tests.tiny import FACTS, document_text, write_base

from dlm_engine.cli.conversation import Conversation, Parameters, load, version_of
from dlm_engine.cli.entry import main
from dlm_engine.errors import DocumentError, InferenceError, UsageError
from dlm_engine.jobs import Mix, PromptOutcome, PromptRequest, Share, TrainRequest, train
from dlm_engine.store import Manifest, Store

DOCUMENT = """\
---
dlm_id: 01KADB8Q6NX3V7T0M5E9RCWZ4H
dlm_version: 15
base_model: smollm2-135m
---

A.
"""

#: What the tiny base answers after twelve steps without ever coming to an end.
QUESTION = FACTS[1][0]


@dataclass
class Job:
    """Stands in for asking: answers `A <question>` in two pieces, as version `version`."""

    requests: list[PromptRequest] = field(default_factory=list)
    version: int | None = 2
    left_out: int = 0
    trouble: Exception | None = None
    shares: Callable[[], tuple[Share, ...]] = tuple

    def __call__(
        self,
        request: PromptRequest,
        on_text: Callable[[str], None],
        report: Callable[[str], None],
        resident: object,
        cancelled: Callable[[], bool],
    ) -> PromptOutcome:
        self.requests.append(request)
        if self.trouble is not None:
            raise self.trouble
        on_text("A ")
        on_text(request.question)
        return PromptOutcome(
            f"A {request.question}",
            self.version,
            "smollm2-135m",
            30,
            9,
            "end",
            0.0,
            1.0,
            ("the document changed",),
            self.left_out,
            self.shares(),
        )


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    monkeypatch.setattr("dlm_engine.cli.commands.repl.prompt", job)
    monkeypatch.setattr("dlm_engine.cli.commands.repl.make_resident", object)
    return job


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.dlm"
    path.write_text(DOCUMENT)
    return path


Say = Callable[..., int]


@pytest.fixture
def say(path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Pipe lines into `dlm repl --base`, the one that needs no version; gives the exit code."""

    def run(*lines: str, flags: tuple[str, ...] = ("--base",)) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return main(["repl", str(path), *flags])

    return run


def test_a_pipe_gives_answers_alone_and_the_model_reads_what_was_said(
    job: Job, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say("one", "", "  two  ", "three") == 0
    captured = capsys.readouterr()
    assert captured.out == "A one\nA two\nA three\n"
    assert captured.err.count("the document changed") == 1
    assert [request.earlier for request in job.requests] == [
        (),
        (("one", "A one"),),
        (("one", "A one"), ("two", "A two")),
    ]
    assert {request.version for request in job.requests} == {"base"}


def test_clear_forgets_and_exit_leaves(job: Job, say: Say) -> None:
    assert say("one", "/CLEAR", "two", "/exit", "three") == 0
    assert [(r.question, r.earlier) for r in job.requests] == [("one", ()), ("two", ())]


def test_turns_that_no_longer_fit_are_told_of_and_not_sent_again(
    job: Job, say: Say, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    Conversation([("a", "b"), ("c", "d")]).save(file)
    job.left_out = 1
    assert say("one", "two", flags=("--base", "--session", str(file))) == 0
    assert job.requests[1].earlier == (("c", "d"), ("one", "A one"))
    said = capsys.readouterr().err
    assert "(the oldest 1 turn no longer fit and are left out)" in said
    # What the model does not read any more is still in the file.
    assert [turn[0] for turn in load(file).turns] == ["a", "c", "one", "two"]


def test_parameters_reach_the_model(job: Job, say: Say) -> None:
    assert say("/params temperature=0.5 top_p=0.9 seed=3", "one", "/params top_p=none", "two") == 0
    first, second = job.requests
    assert (first.temperature, first.top_p, first.seed, first.max_tokens) == (0.5, 0.9, 3, 256)
    assert (second.temperature, second.top_p) == (0.5, None)
    assert (first.top_k, first.repetition_penalty) == (None, None)


@pytest.mark.parametrize("name", ["max_tokens", "max_new_tokens"])
def test_the_other_parameters_and_both_names_of_the_longest_answer(
    job: Job, say: Say, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(f"/params top_k=5 repetition_penalty=1.2 {name}=7", "one") == 0
    (request,) = job.requests
    assert (request.top_k, request.repetition_penalty, request.max_tokens) == (5, 1.2, 7)
    said = capsys.readouterr().err
    assert "top_k=5  repetition_penalty=1.2  max_tokens=7" in said


def test_the_version_can_be_chosen_and_a_newer_one_is_told_of(
    job: Job, say: Say, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("one", "/version 3", "two", "/version current", "three") == 0
    assert [request.version for request in job.requests] == ["base", 3, None]
    assert "asking version 3" in capsys.readouterr().err

    def newer(request: PromptRequest, *rest: object) -> PromptOutcome:
        return PromptOutcome(
            "A", len(job.requests) + len(request.earlier), "b", 1, 1, "end", 0.0, 1.0
        )

    monkeypatch.setattr("dlm_engine.cli.commands.repl.prompt", newer)
    assert say("one", "two") == 0
    assert "(answered by version 4)" in capsys.readouterr().err


def test_history_and_help_are_shown(job: Job, say: Say, capsys: pytest.CaptureFixture[str]) -> None:
    assert say("one", "/history", "/help") == 0
    said = capsys.readouterr().err
    assert "[0] one\n    A one" in said
    for name in ("/save", "/clear", "/params", "/version", "/adapter", "/model", "/exit"):
        assert name in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/nonsense", "/nonsense: there is no such command: /help lists them"),
        ("/save", "/save: needs the name of a file"),
        ("/params heat=3", "'heat=3' is not NAME=VALUE"),
        ("/params temperature=9", "temperature has to be from 0 to 5"),
        ("/params max_tokens=x", "'x' is not a number"),
        ("/params seed=99999999999999999999999", "seed must fit in 64 bits"),
        ("a\udcff", "is not UTF-8 text"),
        ("/params top_k=0", "top_k has to be at least 1"),
        ("/params repetition_penalty=0", "repetition_penalty has to be from 0.1 to 10"),
        ("/params repetition_penalty=nan", "repetition_penalty has to be from 0.1 to 10"),
        ("/adapter tone", "adapter 'tone': is not there: the document has one adapter"),
        ("/version last", "'last' is no version"),
    ],
)
def test_a_command_that_makes_no_sense_ends_a_script(
    job: Job, say: Say, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(line, "one") == 2
    assert message in capsys.readouterr().err
    assert job.requests == []


def test_a_file_that_cannot_be_written_is_named(
    job: Job, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say(f"/save {tmp_path}/nowhere/talk.json") == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/nowhere/talk.json: it is not there (No such file or directory): "
        "check its folder and the disk, or name another file\n"
    )


def test_all_parameters_are_read_before_any_is_changed() -> None:
    before = Parameters(seed=1)
    with pytest.raises(UsageError):
        before.changed(["temperature=1", "seed=-1"])
    assert before == Parameters(seed=1)


def test_an_answer_that_fails_ends_a_script_and_keeps_what_was_said(
    job: Job, say: Say, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talk.json"
    assert say("one", flags=("--base", "--session", str(file))) == 0
    job.trouble = InferenceError("version 2", "is damaged", "train again")
    assert say("two", flags=("--base", "--session", str(file))) == 1
    assert "error: version 2: is damaged: train again" in capsys.readouterr().err
    assert load(file).turns == [("one", "A one")]


def test_a_session_is_messages_that_other_tools_read(job: Job, say: Say, tmp_path: Path) -> None:
    file, copy = tmp_path / "talk.json", tmp_path / "a copy.json"
    assert say("Où ?", f"/save {copy}", flags=("--base", "--session", str(file))) == 0
    assert json.loads(file.read_text("utf-8")) == [
        {"role": "user", "content": "Où ?"},
        {"role": "assistant", "content": "A Où ?"},
    ]
    assert copy.read_bytes() == file.read_bytes()
    assert say("two", flags=("--base", "--session", str(file))) == 0
    assert job.requests[-1].earlier == (("Où ?", "A Où ?"),)
    assert [name for name in os.listdir(tmp_path) if "tmp-" in name] == []


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", "\xff", '[{"role": "user", "content": "a"}]', "[" * 100000],
    ids=["empty", "object", "number", "not UTF-8", "no answer", "deep"],
)
def test_a_file_that_is_no_conversation_is_refused_and_stays(
    job: Job, say: Say, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "talk.json"
    file.write_bytes(text.encode("latin-1"))
    if text == "{}":
        assert load(file).turns == []
        return
    assert say("one", flags=("--base", "--session", str(file))) == 1
    assert "is not a conversation" in capsys.readouterr().err
    assert file.read_bytes() == text.encode("latin-1")
    with pytest.raises(DocumentError):
        load(file)


def test_an_untrained_document_says_so_before_the_first_question(
    job: Job, say: Say, capsys: pytest.CaptureFixture[str], own_home: Path
) -> None:
    assert say("one", flags=()) == 1
    assert "has not been trained yet" in capsys.readouterr().err
    assert not own_home.exists()


ADAPTERS = DOCUMENT.replace(
    "smollm2-135m\n", "smollm2-135m\ntraining:\n  adapters: {tone: {}, facts: {}}\n"
)


@pytest.mark.parametrize(
    ("flags", "adapter", "mix"),
    [
        (("--adapter", "facts"), "facts", None),
        (("--adapter-mix", "tone=1,facts=2"), None, Mix((("tone", 1.0), ("facts", 2.0)))),
    ],
)
def test_named_adapters_are_asked_as_dlm_prompt_asks_them(
    job: Job,
    say: Say,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    adapter: str | None,
    mix: Mix | None,
) -> None:
    path.write_text(ADAPTERS)
    monkeypatch.setattr("dlm_engine.cli.commands.repl.require_answerable", lambda request: None)
    assert say("one", "two", flags=flags) == 0
    assert [(r.question, r.adapter, r.mix) for r in job.requests] == [
        ("one", adapter, mix),
        ("two", adapter, mix),
    ]


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ((), 2, "the document has the adapters tone, facts"),
        (("--adapter", "other"), 2, "choose of: tone, facts"),
        (("--adapter", "facts"), 1, "adapter facts: has not been trained yet"),
        (("--adapter", "facts", "--adapter-mix", "tone=1"), 2, "exclude each other"),
        (("--adapter-mix", "tone=1", "--version-number", "1"), 2, "the number of a version"),
        (("--gate", "auto"), 2, "the document has no gate"),
    ],
)
def test_who_cannot_be_asked_is_refused_before_the_first_question(
    job: Job,
    say: Say,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    path.write_text(ADAPTERS)
    assert say("one", flags=flags) == code
    assert words in capsys.readouterr().err
    assert job.requests == []


@pytest.fixture
def three(path: Path, own_home: Path) -> Path:
    """A document with a gate, whose adapters have a version each, and `facts` two."""
    gate = "training:\n  gate: {enabled: true}\n"
    path.write_text(ADAPTERS.replace("training:\n", gate))
    store = Store(own_home, "01KADB8Q6NX3V7T0M5E9RCWZ4H")
    store.write_manifest(Manifest(dlm_id=store.dlm_id, base_model="smollm2-135m"))
    for adapter in ("tone", "facts", "facts"):
        commit_version(store, adapter)
    return path


Whom = tuple[str | None, Mix | None, int | str | None]


@pytest.mark.parametrize(
    ("flags", "line", "whom", "said"),
    [
        ((), "/adapter facts", ("facts", None, None), "adapter=facts version 2"),
        (("--gate", "off", "--adapter", "tone"), "/adapter facts", ("facts", None, None), ""),
        (
            ("--adapter", "facts", "--version-number", "1"),
            "/adapter",
            ("facts", None, 1),
            "=facts version 1",
        ),
        (
            ("--adapter", "facts", "--version-number", "1"),
            "/adapter tone",
            ("tone", None, None),
            "adapter=tone version 1",
        ),
        (
            (),
            "/adapter tone=0.7, facts=0.3",
            (None, Mix((("tone", 0.7), ("facts", 0.3))), None),
            "adapter=tone version 1 (0.7) and facts version 2 (0.3)",
        ),
        (
            ("--adapter", "tone"),
            "/adapter auto",
            (None, None, None),
            "adapter=tone version 1 and facts version 2, weighed by the gate",
        ),
        (("--adapter", "tone"), "/version base", (None, None, "base"), "asking the bare base"),
    ],
)
def test_another_adapter_answers_from_the_next_question_on(
    job: Job,
    say: Say,
    three: Path,
    flags: tuple[str, ...],
    line: str,
    whom: Whom,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert say("one", line, "two", flags=flags) == 0
    asked = job.requests[1]
    assert (asked.adapter, asked.mix, asked.version) == whom
    assert asked.earlier == (("one", "A one"),)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("/adapter other", 2, "choose of: tone, facts"),
        ("/adapter tone=x", 2, "is not a name with a weight"),
        ("/adapter tone=1,other=1", 2, "choose of: tone, facts"),
    ],
)
def test_an_adapter_that_cannot_be_asked_is_not_chosen(
    job: Job,
    say: Say,
    three: Path,
    line: str,
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert say(line, "one", flags=("--adapter", "tone")) == code
    assert words in capsys.readouterr().err
    assert job.requests == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--adapter", "tone"), "backend=pytorch  base=smollm2-135m  adapter=tone version 1\n"),
        (("--base",), "backend=pytorch  base=smollm2-135m  adapter=none\n"),
    ],
)
def test_the_model_that_answers_is_shown(
    job: Job,
    say: Say,
    three: Path,
    flags: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert say("/model", flags=flags) == 0
    assert said in capsys.readouterr().err


def test_a_mix_is_not_called_the_bare_base(
    job: Job, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = iter([(Share("tone", 1, 0.5), Share("facts", n, 0.5)) for n in (1, 2)])
    job.shares = lambda: next(shares)
    job.version = None
    assert say("one", "two") == 0
    said = capsys.readouterr().err
    assert "(answered by tone version 1 and facts version 2)" in said
    assert "bare base" not in said


def test_flags_that_exclude_each_other(say: Say) -> None:
    assert say(flags=("--base", "--version-number", "2")) == 2
    assert say(flags=("--top-p", "0")) == 2


@pytest.mark.parametrize("name", [".", "nowhere/talk.json"])
def test_a_session_that_could_not_be_kept_is_refused_at_once(
    job: Job, say: Say, tmp_path: Path, name: str
) -> None:
    assert say("one", flags=("--base", "--session", str(tmp_path / name))) == 2
    assert job.requests == []


def test_versions_by_name() -> None:
    assert [version_of(word) for word in ("3", "base", "current")] == [3, "base", None]


# --- a real terminal ---------------------------------------------------------------------


class Terminal:
    """`dlm repl` in a pseudo-terminal; `until` reads what it shows."""

    def __init__(self, *arguments: str) -> None:
        import pty

        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dlm_engine", "repl", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", "DLM_THREADS": "1"},
        )
        os.close(slave)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, wanted: str, seconds: float = 60) -> str:
        """What was shown up to and with `wanted`, which is then taken away."""
        deadline = time.monotonic() + seconds
        while wanted not in self.shown:
            self._read(deadline - time.monotonic(), wanted)
        before, _, self.shown = self.shown.partition(wanted)
        return before + wanted

    def interrupt(self) -> None:
        """Ctrl-C, again where nothing comes of it: what arrives while Python goes from one key to
        waiting for the next is only noticed with another."""
        for _ in range(20):
            os.killpg(self.process.pid, signal.SIGINT)
            if select.select([self.master], [], [], 3)[0]:
                return

    def until_anything(self) -> None:
        while not self.shown:
            self._read(60, "anything")

    def _read(self, seconds: float, wanted: str) -> None:
        ready, _, _ = select.select([self.master], [], [], max(0, seconds))
        assert ready, f"waited for {wanted!r} in {self.shown!r}"
        self.shown += os.read(self.master, 65536).decode("utf-8", "replace")


@pytest.fixture
def terminal(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """On the tiny base after twelve steps, whose answers never come to an end."""
    from dlm_engine.training import anchors

    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:2])
    monkeypatch.setenv("DLM_THREADS", "1")
    document = tmp_path / "facts.dlm"
    base = write_base(tmp_path / "base")
    document.write_text(document_text(str(base), extra="training:\n  num_epochs: 12\n"))
    train(TrainRequest(document, own_home))
    session = str(tmp_path / "talk.json")
    running = Terminal(str(document), "--max-tokens", "8", "--session", session)
    yield running
    running.process.kill()
    running.process.wait()
    os.close(running.master)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_in_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(
    terminal: Terminal, tmp_path: Path, own_home: Path
) -> None:
    terminal.until("> ")
    terminal.type("half a li")
    terminal.until("half a li")
    terminal.interrupt()
    terminal.until("> ")

    terminal.type(f"{QUESTION}\n")
    terminal.until("(cut at max_tokens=8; /params changes that)")
    terminal.until("[1] > ")
    terminal.type("/params max_tokens=400\n")
    terminal.until("max_tokens=400  ")
    terminal.until("[1] > ")
    for _ in range(5):
        # Should this process be held up, the answer comes to its end before it can be stopped.
        terminal.type(f"{QUESTION}\n")
        terminal.until(f"{QUESTION}\r\n")
        terminal.until_anything()
        os.killpg(terminal.process.pid, signal.SIGINT)
        if "(stopped)" in terminal.until("] > "):
            break
    else:
        pytest.fail("no answer was stopped")

    terminal.type("/nonsense\n")
    terminal.until("there is no such command")
    terminal.until("] > ")
    terminal.type("\x04")
    assert terminal.process.wait(60) == 0
    turns = load(tmp_path / "talk.json").turns
    assert {question for question, _ in turns} == {QUESTION}
    assert len(turns) >= 2
    assert all(answer for _, answer in turns)
    assert QUESTION in (own_home / "history").read_text("utf-8").splitlines()
