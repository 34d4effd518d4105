"""docs/lsp-extensions.md says what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
from tests.server.harness import GOOD, Client

from dlm_engine.worker.messages import Ending, Phase, Progress, Result
from dlm_server.engine.client import State
from dlm_server.engine.commands import COMMANDS
from dlm_server.engine.queue import Job
from dlm_server.engine.service import engine_of
from dlm_server.engine.status import JobState, Last, status_json

PAGE = Path(__file__).resolve().parents[3] / "docs" / "lsp-extensions.md"
TEXT = PAGE.read_text(encoding="utf-8")


def documented() -> dict[str, set[str]]:
    """Each command of the tables with the names of its arguments."""
    table = TEXT.partition("\n## Commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(dlm[./]\w+)` \|([^|]*)\|", table, re.MULTILINE)
    return {name: set(re.findall(r"[a-zA-Z]+", arguments)) for name, arguments in rows}


def test_every_command_is_there_with_its_arguments() -> None:
    assert documented() == {
        name: {field.name for field in fields(command.argument)}
        for name, command in COMMANDS.items()
    }


@pytest.mark.parametrize("word", [*State, *Ending, *Phase], ids=str)
def test_every_state_is_there(word: str) -> None:
    assert f"`{word}`" in TEXT


def test_every_key_of_a_result_is_there(client: Client) -> None:
    client.initialize({"experimental": {"dlm": {"sectionResults": True}}})
    uri = "file:///a.dlm"
    client.open(uri, GOOD + "::instruction::\n### Q\na\n### A\nb\n")
    client.published(uri, 1)
    session = client.server.session

    def ask() -> None:
        document = session.document(uri)
        assert document is not None
        answers = engine_of(session).answers
        asked = answers.questions(document.live, document.live.document.sections[-1], None)
        answers.waiting(uri, asked, compare=False)

    session.post(ask)
    told = client.expect("dlm/sectionResults")
    example = re.search(r"```json\n(.*?)```", TEXT.partition("### `dlm/sectionResults`")[2], re.S)
    assert example is not None
    shown = json.loads(example[1])
    assert list(told) == list(shown)
    assert list(told["items"][0]) == list(shown["items"][0])


def test_every_key_of_a_step_is_there(client: Client) -> None:
    client.initialize()
    session = client.server.session
    told = Progress(1, Phase.TRAINING, step=3, steps=9, loss=0.5, adapter="tone")
    session.post(lambda: engine_of(session)._tell_training(told))
    keys = ", ".join(client.expect("dlm/trainingProgress"))
    listed = re.search(r"`dlm/trainingProgress` \|[^|]*\| `\{([^}]*)\}`", TEXT)
    assert listed is not None
    assert keys == listed[1].replace("?", "")


def test_every_key_of_the_status_is_there() -> None:
    job = Job(1, "train", "a", "", "train", None)
    last = Last.of(job, Result(Ending.DONE))
    told = status_json(State.BUSY, None, JobState(job), 0, last)
    assert "{" + ", ".join(told["job"]) + "}" in TEXT
    assert "{" + ", ".join(told["last"]) + "}" in TEXT
    assert "{" + ", ".join(told) + "}" in TEXT
