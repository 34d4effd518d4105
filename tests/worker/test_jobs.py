"""Jobs in the real worker, on the tiny base: what they say, how they end, what they leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.tiny import FACTS, document_text
from tests.training.named import HARBOUR, KITCHEN, named_text
from tests.worker.driver import Worker

from dlm_engine.store import RunStatus, Store, read_metrics

pytestmark = [pytest.mark.slow]

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
#: What the tiny base answers after twelve steps without ever coming to an end.
QUESTION = FACTS[1][0]
#: So many passes, none of them left out: the run is done after exactly twelve steps.
SHORT = "training:\n  num_epochs: 12\n"
LONG = "training:\n  num_epochs: 5000\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker") / "home"


@pytest.fixture(scope="module")
def worker(home: Path) -> Iterator[Worker]:
    with Worker(home) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def trained(worker: Worker, folder: Path, tiny_base: Path) -> Path:
    """A document with one version, and what its training said."""
    path = folder / "trained.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT))
    result = worker.job("train", path=str(path))
    assert result["ending"] == "done"
    assert (result["outcome"], result["version"], result["steps"]) == ("trained", 1, 12)
    return path


def test_an_editors_run_is_in_the_metrics(trained: Path, home: Path) -> None:
    run = next(r for r in read_metrics(Store(home, DLM_ID).root).runs if r.adapter_version == 1)
    assert (run.status, run.start, run.steps) == (RunStatus.TRAINED, "further", 12)


def long(folder: Path, base: Path, name: str) -> Path:
    """A document of its own store that would train for minutes."""
    path = folder / f"{name}.dlm"
    text = document_text(str(base), extra=LONG)
    path.write_text(text.replace(DLM_ID, f"01HZ4X7TGZM3J1A2B3C4D5E6{name[-1]}8"))
    return path


def test_training_tells_of_its_steps_and_always_of_the_last(worker: Worker, trained: Path) -> None:
    told = [m["params"] for m in worker.messages if m.get("method") == "progress"]
    steps = [p for p in told if p["step"] is not None]
    assert steps[-1]["step"] == steps[-1]["steps"] == 12
    assert steps[-1]["seconds_left"] == 0
    assert all(p["phase"] == "training" and p["rows"] == 3 for p in steps)
    assert any(p["phase"] == "preparing" and "loading" in p["message"] for p in told)


def test_unchanged_content_trains_nothing(worker: Worker, trained: Path) -> None:
    result = worker.job("train", path=str(trained))
    assert (result["ending"], result["outcome"], result["version"]) == ("done", "unchanged", 1)


def test_a_cancel_takes_effect_within_a_step(
    worker: Worker, folder: Path, home: Path, tiny_base: Path
) -> None:
    path = long(folder, tiny_base, "stopped1")
    request = worker.send("train", path=str(path))
    at = worker.progress(lambda p: p["id"] == request and (p["step"] or 0) >= 2)["step"]
    assert worker.ask("cancel", id=request)["result"] == {"cancelled": True}
    result = worker.answer(request)["result"]
    assert result["ending"] == "cancelled"
    assert at <= result["steps"] < 5000
    assert [m for m in worker.messages if m.get("id") == request] == [worker.answer(request)]


def test_a_waiting_job_is_cancelled_without_ever_running(
    worker: Worker, folder: Path, tiny_base: Path
) -> None:
    path = long(folder, tiny_base, "waiting2")
    first = worker.send("train", path=str(path))
    second = worker.send("train", path=str(path))
    worker.progress(lambda p: p["id"] == first)
    assert worker.ask("status")["result"]["waiting"] == 1
    worker.ask("cancel", id=second)
    assert worker.answer(second)["result"]["ending"] == "cancelled"
    worker.ask("cancel", id=first)
    assert worker.answer(first)["result"]["ending"] == "cancelled"
    assert not [m for m in worker.messages if m.get("params", {}).get("id") == second]


def test_an_answer_is_streamed_and_equals_its_pieces(worker: Worker, trained: Path) -> None:
    request = worker.send("prompt", path=str(trained), question=QUESTION, max_tokens=12)
    result = worker.answer(request)["result"]
    pieces = [
        m["params"]
        for m in worker.messages
        if m.get("method") == "text" and m["params"]["id"] == request
    ]
    assert result["ending"] == "done"
    assert result["version"] == 1
    assert result["text"]
    assert "".join(p["text"] for p in pieces) == result["text"]
    assert {p["side"] for p in pieces} == {"adapted"}


def test_a_cancelled_answer_ends_between_tokens(worker: Worker, trained: Path) -> None:
    request = worker.send("prompt", path=str(trained), question=QUESTION, max_tokens=100_000)
    worker.wait(lambda m: m.get("method") == "text" and m["params"]["id"] == request)
    worker.ask("cancel", id=request)
    assert worker.answer(request)["result"]["ending"] == "cancelled"


def test_several_questions_are_asked_of_both_and_judged(worker: Worker, trained: Path) -> None:
    questions = [
        {"key": "known", "question": QUESTION, "reference": "No answer says this."},
        {"key": "bare", "question": FACTS[0][0]},
    ]
    result = worker.job("ask", path=str(trained), questions=questions, compare=True, max_tokens=6)
    known, bare = result["answers"]
    assert (known["key"], known["right"]) == ("known", False)
    assert (bare["key"], bare["right"]) == ("bare", None)
    assert all(isinstance(a["base"], str) and isinstance(a["adapted"], str) for a in (known, bare))


@pytest.mark.parametrize(
    ("method", "text", "kind", "said"),
    [
        ("train", "---\nbase_model: [\n---\n", "DocumentError", "its problems list everything"),
        ("prompt", None, "InferenceError", "has not been trained yet"),
        ("export", None, "ExportError", "has not been trained yet"),
        ("train", "missing", "DocumentError", "nowhere.dlm"),
    ],
)
def test_what_cannot_run_is_unavailable_and_says_why(
    method: str,
    text: str | None,
    kind: str,
    said: str,
    worker: Worker,
    folder: Path,
    tiny_base: Path,
) -> None:
    path = long(folder, tiny_base, "refused3")
    if text == "missing":
        path = folder / "nowhere.dlm"
    elif text is not None:
        path.write_text(text)
    more: dict[str, Any] = {"prompt": {"question": "x"}, "export": {"target": "gguf"}}.get(
        method, {}
    )
    result = worker.job(method, path=str(path), **more)
    assert result["ending"] == "unavailable"
    assert result["trouble"]["kind"] == kind
    words = " ".join(result["trouble"][part] for part in ("subject", "problem", "remedy"))
    assert said in words
    assert "`dlm " not in words
    assert "--" not in words


def test_a_store_that_somebody_holds_is_waited_for_and_its_holder_named(
    worker: Worker, trained: Path, home: Path
) -> None:
    with Store(home, DLM_ID).lock("packing"):
        waiting = worker.send("train", path=str(trained))
        told = worker.progress(lambda p: p["id"] == waiting and p["phase"] == "waiting")
        assert f"process {os.getpid()}" in told["message"]
        assert "packing" in told["message"]
        worker.ask("cancel", id=waiting)
        assert worker.answer(waiting)["result"]["ending"] == "cancelled"
        refused = worker.job("train", path=str(trained), wait_seconds=0)
        assert refused["ending"] == "unavailable"
        assert refused["trouble"]["kind"] == "StoreLocked"
        patient = worker.send("train", path=str(trained))
        worker.progress(lambda p: p["id"] == patient and p["phase"] == "waiting")
    assert worker.answer(patient)["result"]["outcome"] == "unchanged"


def test_an_earlier_version_is_made_current_again(
    worker: Worker, folder: Path, home: Path, tiny_base: Path
) -> None:
    path = long(folder, tiny_base, "rolled4")
    path.write_text(path.read_text().replace("5000", "1"))
    assert worker.job("train", path=str(path))["version"] == 1
    path.write_text(path.read_text().replace("Norby", "Sundby"))
    assert worker.job("train", path=str(path))["version"] == 2
    assert worker.job("rollback", path=str(path), version=1)["version"] == 1
    current = Store(home, "01HZ4X7TGZM3J1A2B3C4D5E648").current()
    assert current is not None
    assert current.number == 1
    refused = worker.job("rollback", path=str(path), version=9)
    assert refused["ending"] == "unavailable"


def test_a_kill_in_the_middle_of_training_loses_nothing(
    trained: Path, home: Path, tiny_base: Path, folder: Path
) -> None:
    path = folder / "killed.dlm"
    path.write_text(document_text(str(tiny_base), extra=LONG))
    with Worker(home) as other:
        other.send("train", path=str(path))
        other.progress(lambda p: (p["step"] or 0) >= 1)
        other.process.send_signal(signal.SIGKILL)
        assert other.end() == -signal.SIGKILL
    current = Store(home, DLM_ID).current()
    assert current is not None
    current.verify()
    assert current.number == 1


def test_named_adapters_are_trained_asked_and_rolled_back_by_name(
    worker: Worker, folder: Path, home: Path, tiny_base: Path
) -> None:
    path, dlm_id = folder / "named.dlm", "01HZ4X7TGZM3J1A2B3C4D5E6N9"
    text = named_text(tiny_base).replace(DLM_ID, dlm_id)
    path.write_text(text)
    result = worker.job("train", path=str(path))
    assert (result["outcome"], result["version"], result["rows"]) == ("trained", None, 4)
    path.write_text(text + "\n### Q\nWho paints?\n### A\nBo.\n")
    assert worker.job("train", path=str(path))["rows"] == 5
    store = Store(home, dlm_id)
    current = {name: store.current(name) for name in ("harbour", "kitchen")}
    assert {name: v.number for name, v in current.items() if v} == {"harbour": 1, "kitchen": 2}
    questions = [
        {"key": "h", "question": HARBOUR[0][0], "adapter": "harbour"},
        {"key": "k", "question": KITCHEN[0][0], "adapter": "kitchen"},
    ]
    result = worker.job("ask", path=str(path), questions=questions, max_tokens=2)
    assert [a["key"] for a in result["answers"]] == ["h", "k"]
    result = worker.job("prompt", path=str(path), question="Who?", max_tokens=2)
    assert "has the adapters harbour, kitchen" in result["trouble"]["problem"]
    result = worker.job("rollback", path=str(path), version=1, adapter="kitchen")
    assert (result["ending"], result["version"]) == ("done", 1)
    result = worker.job("export", path=str(path), target="gguf")
    assert "has the adapters harbour, kitchen" in result["trouble"]["problem"]
