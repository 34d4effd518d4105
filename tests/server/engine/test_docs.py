"""docs/lsp-extensions.md says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dlm_engine.worker.messages import Ending, Phase, Result
from dlm_server.engine.client import State
from dlm_server.engine.commands import COMMANDS
from dlm_server.engine.queue import Job
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


def test_every_key_of_the_status_is_there() -> None:
    job = Job(1, "train", "a", "", "train", None)
    last = Last.of(job, Result(Ending.DONE))
    told = status_json(State.BUSY, None, JobState(job), 0, last)
    assert "{" + ", ".join(told["job"]) + "}" in TEXT
    assert "{" + ", ".join(told["last"]) + "}" in TEXT
    assert "{" + ", ".join(told) + "}" in TEXT
