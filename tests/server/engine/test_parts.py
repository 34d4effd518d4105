"""The parts of the engine's room that need no process: lines, pacing, saves, results, edits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.server.engine.turning import TurnedLoop
from tests.tiny import document_text

from dlm_engine.document import LiveDocument, Severity, apply_edits, parse
from dlm_engine.errors import DocumentError
from dlm_engine.worker.messages import Ending, Phase, Progress, Result, Trouble
from dlm_server.dispatch import RequestFailed
from dlm_server.engine.client import State
from dlm_server.engine.commands import execute
from dlm_server.engine.content import saved_content
from dlm_server.engine.directives import base_model_edit, new_id_edit, smallest_edit, source_edit
from dlm_server.engine.pacing import Paced
from dlm_server.engine.queue import Job, JobKind, JobQueue
from dlm_server.engine.results import MOST_TEXT, DocumentResults, SectionResult
from dlm_server.engine.save import Save, SaveReasons, Verdict, verdict
from dlm_server.engine.status import JobState, Last, message_of, status_json
from dlm_server.engine.trained import TrainedViews
from dlm_server.session import Session
from dlm_server.settings import Settings

TEXT = document_text("smollm2-135m")


def job(
    number: int,
    kind: JobKind = "train",
    uri: str = "a",
    slot: str | None = "train",
    content: str = "",
) -> Job:
    return Job(number, kind, uri, "for a test", kind, None, slot, content)


# --- the queue -----------------------------------------------------------------------------


def test_the_newest_of_a_kind_replaces_the_one_that_waits_and_never_the_one_that_runs() -> None:
    queue = JobQueue()
    jobs = [job(n) for n in range(4)]
    assert queue.request(jobs[0]) is None
    assert queue.start() is jobs[0]
    assert queue.request(jobs[1]) is None
    assert queue.request(jobs[2]) is jobs[1]
    assert queue.request(jobs[3]) is jobs[2]
    assert queue.start() is None
    queue.finish(jobs[0])
    assert queue.start() is jobs[3]
    assert queue.waiting == ()


def test_documents_wait_side_by_side_and_people_go_first() -> None:
    queue = JobQueue()
    jobs = [
        job(1, "probe", slot="probe"),
        job(2),
        job(3, uri="b"),
        job(4, "prompt", slot=None),
        job(5, "prompt", slot=None),
    ]
    assert [queue.request(j) for j in jobs] == [None] * 5
    order = []
    while (started := queue.start()) is not None:
        order.append(started.id)
        queue.finish(started)
    assert order == [4, 5, 2, 3, 1]


def test_content_that_is_being_trained_is_known() -> None:
    queue = JobQueue()
    queue.request(job(1, content="x"))
    queue.start()
    queue.request(job(2, content="y"))
    assert queue.knows("a", "x")
    assert queue.knows("a", "y")
    assert not queue.knows("b", "x")
    assert [j.id for j in queue.withdraw(lambda j: j.kind == "train")] == [2]
    assert not queue.knows("a", "y")


# --- saves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reason", "path", "armed", "expected"),
    [
        ({}, 1, "/a.dlm", True, Verdict.TRAIN),
        ({}, None, "/a.dlm", True, Verdict.TRAIN),
        ({}, 2, "/a.dlm", True, Verdict.AUTOMATIC),
        ({}, 3, "/a.dlm", True, Verdict.AUTOMATIC),
        ({}, 1, "/a.dlm", False, Verdict.UNARMED),
        ({}, 1, None, True, Verdict.NO_FILE),
        ({"train_on": "manualSave"}, 1, "/a.dlm", False, Verdict.TRAIN),
        ({"train_on": "manualSave"}, 2, "/a.dlm", False, Verdict.AUTOMATIC),
        ({"train_on": "never"}, 1, "/a.dlm", True, Verdict.NEVER),
        ({"trusted": False}, 1, "/a.dlm", True, Verdict.UNTRUSTED),
        ({"trusted": False, "train_on": "manualSave"}, 1, "/a.dlm", True, Verdict.UNTRUSTED),
    ],
)
def test_which_saves_train(
    settings: dict[str, Any], reason: int | None, path: str | None, armed: bool, expected: Verdict
) -> None:
    save = Save(Path(path) if path else None, reason, lambda: armed)
    assert verdict(save, replace(Settings(), **settings)) is expected


def test_a_reason_counts_for_one_save() -> None:
    reasons = SaveReasons()
    reasons.will_save("a", 2)
    assert reasons.did_save("b") is None
    assert reasons.did_save("a") == 2
    assert reasons.did_save("a") is None


def test_what_is_trained_is_the_file_and_blank_lines_teach_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.dlm"
    path.write_text(TEXT)
    saved = saved_content(path, LiveDocument.open(TEXT.replace("Ana", "Bea")))
    assert saved == saved_content(path, None) == saved_content(path, LiveDocument.open(TEXT))
    assert saved.errors == 0
    path.write_text(TEXT + "\n\n")
    assert saved_content(path, None).digest == saved.digest
    for change in (("Ana", "Bea"), ("base_model: ", "base_model:  "), ("dlm_id", "dlm_di")):
        path.write_text(TEXT.replace(*change))
        assert saved_content(path, None).digest != saved.digest
    assert saved_content(path, None).errors > 0


def test_a_save_of_a_document_with_sources_is_always_news(tmp_path: Path) -> None:
    """Only the run can tell whether the files it names have changed."""
    path = tmp_path / "a.dlm"
    path.write_text(TEXT.replace("---\n\n", "training:\n  sources: [{path: .}]\n---\n\n", 1))
    first, second = saved_content(path, None), saved_content(path, None)
    assert first.errors == 0
    assert first.digest != second.digest


# --- results -------------------------------------------------------------------------------

BODY = "---\ndlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\nbase_model: smollm2-135m\n---\n\n"


def sections(*questions: str) -> LiveDocument:
    return LiveDocument.open(
        BODY + "".join(f"::instruction::\n### Q\n{q}\n### A\nYes.\n\n" for q in questions)
    )


def ids(live: LiveDocument) -> list[str]:
    return [section.id for section in live.document.sections]


def asked(live: LiveDocument, number: int, **facts: Any) -> SectionResult:
    place = ids(live)[number]
    return SectionResult(place, 0, "?", "ok", place, adapted="Yes.", **facts)


@pytest.mark.parametrize(
    ("after", "states"),
    [
        (("one", "two", "three"), {"two": "ok"}),
        (("zero", "one", "two", "three"), {"two": "ok"}),
        (("three", "two", "one"), {"two": "ok"}),
        (("one", "TWO", "three"), {"TWO": "stale"}),
        (("zero", "one", "TWO", "three"), {"TWO": "stale"}),
        (("one", "three"), {}),
        ((), {}),
    ],
)
def test_results_follow_their_sections(after: tuple[str, ...], states: dict[str, str]) -> None:
    live = sections("one", "two", "three")
    results = DocumentResults(live)
    results.put(asked(live, 1))
    new = sections(*after)
    results.follow(new)
    shown = {
        new.text[span.start : span.end].strip(): result.state
        for result, span in results.placed(new)
    }
    if after[:2] == ("zero", "one") and "TWO" in after:
        # Two changes at once: what stands where the section stood cannot be told for sure.
        assert set(shown.values()) <= {"stale"}
    else:
        assert shown == states


def test_an_undone_change_makes_a_result_good_again() -> None:
    live, changed = sections("one", "two"), sections("one", "TWO")
    results = DocumentResults(live)
    results.put(asked(live, 1))
    assert results.follow(changed)
    assert [r.state for r in results] == ["stale"]
    assert results.by_section()[ids(changed)[1]].adapted == "Yes."
    assert results.follow(live)
    assert [r.state for r in results] == ["ok"]
    assert not results.follow(live)


def test_results_survive_a_document_that_is_empty_for_a_moment() -> None:
    live = sections("one", "two")
    results = DocumentResults(live)
    results.put(asked(live, 1))
    empty = LiveDocument.open("")
    results.follow(empty)
    assert results.placed(empty) == []
    results.follow(live)
    assert [r.state for r, _ in results.placed(live)] == ["ok"]


def test_a_new_answer_takes_the_place_of_a_stale_one() -> None:
    live, changed = sections("one"), sections("ONE")
    results = DocumentResults(live)
    results.put(asked(live, 0))
    results.follow(changed)
    results.put(asked(changed, 0))
    assert [r.state for r in results] == ["ok"]


def test_long_answers_are_cut() -> None:
    live = sections("one")
    results = DocumentResults(live)
    results.put(replace(asked(live, 0), base="x" * 2 * MOST_TEXT))
    results.change(ids(live)[0], adapted="y" * 2 * MOST_TEXT)
    [kept] = results
    assert kept.base is not None
    assert kept.adapted is not None
    assert len(kept.base) == len(kept.adapted) == MOST_TEXT


def test_the_same_section_twice_shows_its_answer_twice() -> None:
    live = sections("one", "one")
    results = DocumentResults(live)
    results.put(asked(live, 0))
    assert len(results.placed(live)) == 2


# --- status --------------------------------------------------------------------------------


def test_a_remark_does_not_unsay_the_last_step() -> None:
    state = JobState(job(1))
    state = state.heard(Progress(1, Phase.TRAINING, step=3, steps=12, known=1, rows=4, loss=0.5))
    state = state.heard(Progress(1, Phase.TRAINING, "nearly there"))
    told = status_json(State.BUSY, None, state, 2, None)
    assert told["queued"] == 2
    assert told["job"]["step"] == 3
    assert told["job"]["message"] == "nearly there"
    assert state.percentage == 25
    assert "step 3 of at most 12, 1 of 4 known, loss 0.50" in str(state)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (Result(Ending.DONE, outcome="trained", version=2, known=3, rows=4, steps=5, seconds=1.25),
         "version 2: 3 of 4 known after 5 steps, 1.2 s"),
        (Result(Ending.DONE, outcome="trained", version=2, steps=5, seconds=1.25, text="2 of 2"),
         "version 2: after 5 steps, 1.2 s; 2 of 2"),
        (Result(Ending.DONE, outcome="unchanged", version=2),
         "nothing new to learn, version 2 is current"),
        (Result(Ending.DONE, outcome="trained", version=2, steps=5, seconds=1.25, limited=True),
         "version 2: after 5 steps, 1.2 s; a limit for saves ended it, press Train to go on"),
        (Result(Ending.DONE, outcome="unchanged", version=2, limited=True),
         "not trained further: a limit for saves ended it, press Train to go on"),
        (Result(Ending.DONE, outcome="empty"), "nothing to learn"),
        (Result(Ending.CANCELLED), "cancelled"),
        (Result(Ending.UNAVAILABLE, Trouble("X", "a.dlm", "is wrong", "mend it")),
         "a.dlm: is wrong: mend it"),
    ],
)  # fmt: skip
def test_each_end_has_its_line(result: Result, expected: str) -> None:
    assert message_of("train", result) == expected
    assert Last.of(job(1), result).as_json()["ending"] == str(result.ending)


def test_what_changes_often_is_told_seldom_and_the_last_always() -> None:
    loop = TurnedLoop()
    now = [0.0]
    told: list[float] = []
    state = [0]
    paced = Paced(loop, lambda: told.append(state[0]), clock=lambda: now[0])
    for number in range(10):
        state[0] = number
        paced.mark()
    loop.until(lambda: told)
    assert told == [9]
    state[0] = 10
    paced.mark()
    paced.mark()
    loop.until(lambda: len(told) == 2)
    assert told == [9, 10]
    assert 0 < loop.delays[-1] <= 0.05


# --- edits ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [("abc", "abc"), ("abc", "abxc"), ("aaa", "aa"), ("", "x"), ("x", ""), ("ab", "ba")],
)
def test_the_smallest_edit_makes_the_new_text(old: str, new: str) -> None:
    edit = smallest_edit(old, new)
    assert (apply_edits(old, [edit]) if edit else old) == new
    assert edit is None or len(edit.new_text) <= len(new)


HEAD = "dlm_id: 01HZ4X7TGZM3J1A2B3C4D5E6F7\ndlm_version: 15\nbase_model: smollm2-135m\n"


@pytest.mark.parametrize(
    "training",
    [
        "",
        "training:\n",
        "training: {}\n",
        "training: {adapter: lora}\n",
        "training:\n  adapter: lora\n",
        "training:\n    adapter: lora # as always\n    lora_r: 8\n",
        "training:\n  sources: []\n",
        "training:\n  sources:\n    - path: old\n",
        "training:\n  sources:\n  - path: old\n    include: ['*.md']\n  lora_r: 8\n",
        "training:\n  sources: [{path: old}]\n",
    ],
)
@pytest.mark.parametrize("path", ["notes", "a: b #c", "Ünï/ç ode"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_source_is_added_wherever_there_is_a_place(training: str, path: str, ending: str) -> None:
    text = f"---\n{HEAD}{training}---\n\ntraining: is fun\n".replace("\n", ending)
    live = LiveDocument.open(text)
    before, _ = parse(text)
    assert before.frontmatter is not None
    document, problems = parse(apply_edits(text, [source_edit(live, path)]))
    assert document.frontmatter is not None
    sources = document.frontmatter.training.sources or ()
    assert [s.path for s in sources] == [
        *(s.path for s in before.frontmatter.training.sources or ()),
        path,
    ]
    assert [p for p in problems if p.severity is Severity.ERROR] == []
    assert document.text.endswith(f"training: is fun{ending}")


def test_the_base_and_the_id_are_set_by_a_small_edit() -> None:
    live = LiveDocument.open(TEXT)
    edit = base_model_edit(live, "qwen2.5-0.5b")
    assert edit is not None
    assert "base_model: qwen2.5-0.5b\n" in apply_edits(TEXT, [edit])
    assert base_model_edit(live, "smollm2-135m") is None
    fresh = new_id_edit(live)
    assert fresh is not None
    document, _ = parse(apply_edits(TEXT, [fresh]))
    assert document.frontmatter is not None
    assert document.frontmatter.dlm_id != "01HZ4X7TGZM3J1A2B3C4D5E6F7"
    with pytest.raises(DocumentError):
        base_model_edit(LiveDocument.open("no frontmatter"), "qwen2.5-0.5b")


def test_a_new_document_has_its_base_and_no_problem() -> None:
    nobody = cast("Session", None)
    text = execute(nobody, "dlm.newDocument", [{"base": "qwen2.5-0.5b"}])["text"]
    document, problems = parse(text)
    assert problems == []
    assert document.frontmatter is not None
    assert document.frontmatter.base_model == "qwen2.5-0.5b"
    with pytest.raises(RequestFailed):
        execute(nobody, "dlm.newDocument", [{"base": ""}])


# --- the store -----------------------------------------------------------------------------


def test_looking_at_a_store_that_is_not_there_or_damaged_writes_and_raises_nothing(
    tmp_path: Path,
) -> None:
    views = TrainedViews()
    live = LiveDocument.open(TEXT)
    assert live.frontmatter is not None
    settings = Settings(home=str(tmp_path / "home"))
    assert views.of(settings, live) is None
    assert views.trouble(settings, live) is None
    assert views.of(settings, LiveDocument.open("words\n")) is None
    assert not (tmp_path / "home").exists()
    root = tmp_path / "home" / "store" / live.frontmatter.dlm_id
    root.mkdir(parents=True)
    (root / "manifest.json").write_text('{"schema_version": 99, "dlm_id": "x"}')
    (root / "adapter").mkdir()
    (root / "adapter" / "current.txt").write_text("adapter/versions/v0001\n")
    before = sorted(p for p in tmp_path.rglob("*"))
    assert views.of(settings, live) is None
    assert "newer dlm" in (views.trouble(settings, live) or "")
    nowhere = Settings(home="~nobody_of_that_name/x")
    assert views.of(nowhere, live) is None
    assert "cannot be used as the home" in (views.trouble(nowhere, live) or "")
    assert sorted(p for p in tmp_path.rglob("*")) == before
