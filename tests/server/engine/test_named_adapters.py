"""What the server makes of a document with named adapters: who is asked, and what is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.training.named import DLM_ID, named_text

from dlm_engine.document import LiveDocument, SectionType
from dlm_engine.store import Manifest, RunRecord, Store, TrainingRunSummary, now
from dlm_engine.worker.messages import Ending, Result
from dlm_server.engine.answers import _question
from dlm_server.engine.history import versions
from dlm_server.engine.status import message_of
from dlm_server.engine.trained import TrainedViews
from dlm_server.settings import Settings
from dlm_server.views import Origin

MORE = "\n::instruction::\n### Q\nUnrouted?\n### A\nYes.\n"


@pytest.fixture
def live() -> LiveDocument:
    return LiveDocument.open(named_text("smollm2-135m", more=MORE))


def add_version(store: Store, adapter: str, *section_ids: str) -> None:
    if store.read_manifest() is None:
        store.write_manifest(Manifest(dlm_id=DLM_ID, base_model="smollm2-135m"))
    manifest = store.read_manifest()
    assert manifest is not None
    with store.stage(adapter) as staging:
        (staging.path / "adapter_model.safetensors").write_bytes(b"x")
        run = TrainingRunSummary(
            run_id=manifest.next_run_id(),
            started_at=now(),
            ended_at=now(),
            adapter_version=staging.number,
            adapter_name=adapter,
            seed=42,
            steps=1,
            final_train_loss=0.5,
        )
        staging.commit(RunRecord(run=run, section_ids=section_ids))


def test_a_question_goes_to_the_adapter_that_learns_its_section(live: LiveDocument) -> None:
    asked = [
        (_question(live, section, 0).question, _question(live, section, 0).adapter)
        for section in live.document.sections
        if section.type is SectionType.INSTRUCTION
    ]
    assert asked == [
        ("Who keeps the lamp?", "harbour"),
        ("What is the code?", "kitchen"),
        ("Unrouted?", "harbour"),
    ]


def test_a_document_with_one_adapter_names_none() -> None:
    live = LiveDocument.open(
        f"---\ndlm_id: {DLM_ID}\ndlm_version: 15\nbase_model: smollm2-135m\n---\n" + MORE
    )
    assert _question(live, live.document.sections[-1], 0).adapter is None


def test_it_is_armed_and_each_section_is_as_its_adapter_has_it(
    live: LiveDocument, tmp_path: Path
) -> None:
    views, store = TrainedViews(), Store(tmp_path, DLM_ID)
    settings = replace(Settings(), home=str(tmp_path))
    harbour, kitchen, unrouted = (s for s in live.document.sections if s.pairs)
    assert views.of(settings, live) is None
    add_version(store, "harbour", harbour.id)
    view = views.of(settings, live)
    assert view is not None
    states = [view.state(section) for section in (harbour, kitchen, unrouted)]
    assert states == ["trained", "new", "new"]
    # What another adapter knows does not count.
    add_version(store, "kitchen", unrouted.id)
    add_version(store, "kitchen", kitchen.id, unrouted.id)
    view = views.of(settings, live)
    assert view is not None
    states = [view.state(section) for section in (harbour, kitchen, unrouted)]
    assert states == ["trained", "trained", "new"]
    assert (view.version, view.versions) == ("1 of harbour, 2 of kitchen", 3)
    with store.stage("kitchen") as staging:
        staging.reject("it holds numbers that are not finite")
    add_version(store, "kitchen", kitchen.id)
    view = views.of(settings, live)
    assert view is not None
    assert view.origin(kitchen) == Origin("2 of kitchen", "4 of kitchen", 0.5)
    assert view.origin(harbour) == Origin("1 of harbour", "1 of harbour", 0.5)


def test_versions_name_their_adapter(live: LiveDocument, tmp_path: Path) -> None:
    store = Store(tmp_path, DLM_ID)
    for name in ("kitchen", "harbour"):
        add_version(store, name)
    listed = [(v["adapter"], v["version"], v["current"]) for v in versions(store)]
    assert listed == [("harbour", 1, True), ("kitchen", 1, True)]


def test_the_end_of_a_training_of_several_names_no_version() -> None:
    done = Result(Ending.DONE, outcome="trained", steps=8, known=4, rows=4, seconds=1.5)
    assert message_of("train", done) == "trained: 4 of 4 known after 8 steps, 1.5 s"
    assert message_of("train", Result(Ending.DONE, outcome="unchanged")) == "nothing new to learn"
