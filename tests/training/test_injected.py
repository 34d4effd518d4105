"""Questions that are not in the document: learned beside it, written down, and forgotten."""

from __future__ import annotations

from pathlib import Path

from tests.tiny import FACTS
from tests.training.named import named_text
from tests.training.sessions import Place

from dlm_engine.data import injected_rows
from dlm_engine.document import parse
from dlm_engine.jobs import (
    Ending,
    Injected,
    PurgeRequest,
    Start,
    Status,
    plan_purging,
    purge,
)
from dlm_engine.store import (
    InjectedLine,
    Store,
    learned_by,
    read_injected,
    record_injected,
)

NEW = Injected("Who rings the bell?", "Bo rings it.")
LINE = InjectedLine(
    prompt=NEW.question,
    reference=NEW.answer,
    tags=("harvest",),
    source_addr="127.0.0.1:5",
    accepted_at="2026-01-02T03:04:05Z",
)


def questions(place: Place) -> list[str]:
    current = place.store.current()
    assert current is not None
    return [row.question for row in learned_by(current) or ()]


def test_of_two_answers_the_documents_counts_and_then_the_last() -> None:
    text = "---\ndlm_id: x\n---\n\n::instruction::\n### Q\nWho  is\nit?\n### A\nAna.\n"
    document = parse(text)[0]
    rows = injected_rows(document, [("Who is it?", "Bo."), ("And?", "One."), ("And?", "Two.")])
    assert [(row.question, row.answer, row.probe) for row in rows] == [("And?", "Two.", True)]


def test_it_is_learned_with_the_document_and_a_run_without_it_never_saw_it(
    trained: Place,
) -> None:
    text = trained.document.read_bytes()
    said: list[object] = []
    injected = (NEW, Injected(FACTS[0][0], "Somebody else."))
    outcome = trained.train(Start.FURTHER, said.append, injected=injected)
    assert outcome.ending is Ending.TRAINED
    assert questions(trained) == [*(question for question, _ in FACTS), NEW.question]
    assert Status("1 injected question(s) left out: the document asks them itself") in said
    assert trained.document.read_bytes() == text
    # The same again is nothing new; without it the run is a whole one.
    assert trained.train(injected=injected).ending is Ending.UNCHANGED
    again = trained.train(Start.FURTHER)
    assert again.ending is Ending.TRAINED
    assert questions(trained) == [question for question, _ in FACTS]
    assert trained.outcome is not None
    assert again.adapter_sha256 == trained.outcome.adapter_sha256


def test_lines_are_added_and_a_torn_one_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    assert read_injected(store) == ()
    assert not store.exists()
    record_injected(store, [LINE])
    with (store.root / "logs" / "rpc-injected.jsonl").open("a") as file:
        file.write('[1]\n{"prompt": "half')
    learned = LINE.model_copy(update={"run_id": 2, "adapter_version": 3})
    record_injected(store, [learned])
    assert read_injected(store) == (LINE, learned)


def test_purge_forgets_the_lines_as_well(trained: Place) -> None:
    trained.train(Start.FURTHER, injected=(NEW,))
    kept = LINE.model_copy(update={"prompt": FACTS[0][0], "reference": FACTS[0][1]})
    never = LINE.model_copy(update={"prompt": "Never learned?", "reference": "No."})
    record_injected(trained.store, [LINE, kept, never])
    request = PurgeRequest(trained.document, trained.home, unproven=True)
    plan = plan_purging(request)
    assert {row.question for row in plan.removed} == {NEW.question, "Never learned?"}
    assert plan.trains
    purge(request)
    assert read_injected(trained.store) == (kept,)
    holding = [p for p in trained.home.rglob("*") if p.is_file() and b"bell" in p.read_bytes()]
    assert holding == []
    assert not plan_purging(request).removed


def test_of_named_adapters_the_first_learns_it(fresh: Place, tiny_base: Path) -> None:
    fresh.document.write_text(named_text(tiny_base))
    fresh.train(injected=(NEW,))
    learned = {}
    for name in ("harbour", "kitchen"):
        current = fresh.store.current(name)
        assert current is not None
        learned[name] = [row.question for row in learned_by(current) or ()]
    assert NEW.question in learned["harbour"]
    assert NEW.question not in learned["kitchen"]
