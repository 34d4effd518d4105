"""Named adapters: one job trains each from what is routed to it, and only those that changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.training.named import DLM_ID, HARBOUR, KITCHEN, named_text

from dlm_engine.document import parse
from dlm_engine.document.routing import part_for, training_of
from dlm_engine.errors import DlmError, StoreError, TrainingError
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
    train,
)
from dlm_engine.store import Store, Version, read_lock, read_metrics, rollback
from dlm_engine.training.adapters import _together
from dlm_engine.training.checkpoint import read_facts

LATER = ("Who paints the door?", "Bo does.")


@dataclass(frozen=True)
class Place:
    document: Path
    home: Path
    base: Path

    @property
    def store(self) -> Store:
        return Store(self.home, DLM_ID)

    def write(self, *args: Any, **wishes: Any) -> None:
        self.document.write_text(named_text(self.base, *args, **wishes))

    def train(
        self,
        start: Start = Start.AUTO,
        tell: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        **wishes: Any,
    ) -> TrainOutcome:
        return train(TrainRequest(self.document, self.home, start=start, **wishes), tell, cancelled)

    def current(self, name: str) -> Version | None:
        return self.store.current(name)

    def numbers(self) -> dict[str, int | None]:
        found = {name: self.current(name) for name in ("harbour", "kitchen")}
        return {name: version.number if version else None for name, version in found.items()}


@pytest.fixture
def place(small: None, tiny_base: Path, tmp_path: Path) -> Place:
    made = Place(tmp_path / "facts.dlm", tmp_path / "home", tiny_base)
    made.write()
    return made


def endings(outcome: TrainOutcome) -> dict[str | None, Ending]:
    return {part.adapter: part.ending for part in outcome.parts}


# --- which section teaches which adapter ---------------------------------------------------

BODY = """
Prose for all.

::prose#kitchen::
Prose for the kitchen.

::instruction::
### Q
Unrouted?
### A
Yes.
"""


def test_prose_teaches_all_routed_sections_their_adapter_and_questions_the_first() -> None:
    document, problems = parse(named_text("smollm2-135m", more=BODY.replace("\nProse for all", "")))
    assert not [p for p in problems if p.severity == "error"]

    def said(name: str) -> list[str]:
        part = part_for(document, name)
        return [p.question for s in part.sections for p in s.pairs] + [
            s.content.strip() for s in part.sections if not s.pairs
        ]

    assert said("harbour") == [*(q for q, _ in HARBOUR), "Unrouted?"]
    assert said("kitchen") == [*(q for q, _ in KITCHEN), "Prose for the kitchen."]
    document, _ = parse(
        named_text("smollm2-135m").replace("\n\n::instruction#h", "\n\nAll.\n\n::instruction#h")
    )
    for name in ("harbour", "kitchen"):
        assert part_for(document, name).sections[0].content.strip() == "All."


def test_the_settings_of_an_adapter_are_its_own_and_the_rest_is_shared() -> None:
    adapters = "    harbour: {lora_r: 4, adapter: dora}\n    kitchen: {learning_rate: 0.01}\n"
    document, _ = parse(named_text("smollm2-135m", settings="  seed: 7\n", adapters=adapters))
    assert document.frontmatter is not None
    harbour, kitchen = (
        training_of(document.frontmatter.training, name) for name in ("harbour", "kitchen")
    )
    assert (harbour.lora_r, harbour.adapter, harbour.seed) == (4, "dora", 7)
    assert harbour.model_fields_set == {"lora_r", "adapter", "seed"}
    assert kitchen.model_fields_set == {"learning_rate", "seed"}


# --- one job -------------------------------------------------------------------------------


def test_each_adapter_is_trained_committed_and_recorded_by_itself(place: Place) -> None:
    events: list[Event] = []
    outcome = place.train(tell=events.append)
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, None)
    assert [(p.adapter, p.version, p.rows) for p in outcome.parts] == [
        ("harbour", 1, 2),
        ("kitchen", 1, 2),
    ]
    assert (outcome.rows, outcome.steps) == (4, 4)
    said = [e.message for e in events if isinstance(e, Status)]
    assert "adapter harbour, 1 of 2" in said
    assert "adapter kitchen, 2 of 2" in said
    assert [e.value for e in events if isinstance(e, Choice) and e.name == "adapter"] == [
        "harbour",
        "kitchen",
    ]
    manifest = place.store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_versions == {"harbour": 1, "kitchen": 1}
    assert manifest.adapter_version == 0
    assert [(r.run_id, r.adapter_name) for r in manifest.training_runs] == [
        (1, "harbour"),
        (2, "kitchen"),
    ]
    assert len(manifest.content_hashes) == 2
    for name, facts in (("harbour", HARBOUR), ("kitchen", KITCHEN)):
        current = place.current(name)
        assert current is not None
        current.verify()
        state = read_facts(current.path)
        assert state is not None
        assert set(state.rows.values()) == {q for q, _ in facts}
        record = current.run_record()
        assert record is not None
        assert len(record.section_ids) == 1
    metrics = read_metrics(place.store.root)
    assert [run.adapter_version for run in metrics.runs] == [1, 1]
    assert place.store.current() is None


def test_what_the_adapters_kept_and_lost_is_of_the_whole() -> None:
    parts = [
        TrainOutcome(Ending.TRAINED, kept=2, lost=("Who?",), adapter="harbour"),
        TrainOutcome(Ending.UNCHANGED, adapter="kitchen"),
        TrainOutcome(Ending.TRAINED, kept=3, lost=("Where?",), adapter="attic"),
    ]
    whole = _together(parts, 1.0)
    assert (whole.kept, whole.lost) == (5, ("Who?", "Where?"))
    assert (_together(parts[1:2], 1.0).kept, whole.parts) == (None, tuple(parts))


def test_an_adapter_is_what_a_document_of_its_part_alone_gives(place: Place) -> None:
    from tests.tiny import document_text

    outcome = place.train()
    alone = place.document.with_name("alone.dlm")
    alone.write_text(document_text(str(place.base), KITCHEN, "training:\n  num_epochs: 2\n"))
    single = train(TrainRequest(alone, place.home.with_name("other")))
    assert outcome.parts[1].adapter_sha256 == single.adapter_sha256 is not None


def test_its_own_settings_reach_the_adapter(place: Place) -> None:
    place.write(adapters="    harbour: {lora_r: 4, target_modules: [q_proj]}\n    kitchen: {}\n")
    place.train()
    configs = {}
    for name in ("harbour", "kitchen"):
        current = place.current(name)
        assert current is not None
        configs[name] = json.loads((current.path / "adapter_config.json").read_text())
    assert configs["harbour"]["r"] == 4
    assert configs["harbour"]["target_modules"] == ["q_proj"]
    assert len(configs["kitchen"]["target_modules"]) == 7


def test_an_edit_in_one_topic_trains_that_adapter_only(place: Place) -> None:
    place.train()
    assert endings(place.train()) == {
        "harbour": Ending.UNCHANGED,
        "kitchen": Ending.UNCHANGED,
    }
    place.write(HARBOUR, (*KITCHEN, LATER))
    outcome = place.train()
    assert outcome.ending is Ending.TRAINED
    assert endings(outcome) == {"harbour": Ending.UNCHANGED, "kitchen": Ending.TRAINED}
    assert place.numbers() == {"harbour": 1, "kitchen": 2}
    manifest = place.store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_versions == {"harbour": 1, "kitchen": 2}
    document, _ = parse(place.document.read_text())
    assert set(manifest.content_hashes) == {s.id for s in document.sections}


def test_further_adds_to_the_adapter_that_has_something_new(place: Place) -> None:
    place.write(settings="  seed: 42\n", adapters="    harbour: {learning_rate: 0.02}\n"
                "    kitchen: {learning_rate: 0.02}\n")  # fmt: skip
    place.train()
    place.write((*HARBOUR, LATER), settings="  seed: 42\n",
                adapters="    harbour: {learning_rate: 0.02}\n"
                "    kitchen: {learning_rate: 0.02}\n")  # fmt: skip
    events: list[Event] = []
    outcome = place.train(Start.FURTHER, events.append)
    assert endings(outcome) == {"harbour": Ending.TRAINED, "kitchen": Ending.UNCHANGED}
    starts = [e.value for e in events if isinstance(e, Choice) and e.name == "start"]
    assert starts == ["from the current version, 1 new row"]


def test_a_job_that_is_stopped_keeps_what_is_done_and_resumes_the_rest(place: Place) -> None:
    steps: list[int] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            steps.append(event.step)

    outcome = place.train(tell=tell, cancelled=lambda: len(steps) == 3)
    assert outcome.ending is Ending.CANCELLED
    assert endings(outcome) == {"harbour": Ending.TRAINED, "kitchen": Ending.CANCELLED}
    assert place.numbers() == {"harbour": 1, "kitchen": None}
    resumed = place.train(Start.RESUME)
    assert endings(resumed) == {"harbour": Ending.UNCHANGED, "kitchen": Ending.TRAINED}
    again = place.train(Start.FRESH)
    assert [p.version for p in again.parts] == [2, 2]
    assert [p.adapter_sha256 for p in again.parts][1] == resumed.parts[1].adapter_sha256
    assert not list(place.store.root.rglob("checkpoint"))


def test_an_adapter_that_was_not_begun_is_trained_by_a_resume(place: Place) -> None:
    steps: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            steps.append(event)

    first = place.train(tell=tell, cancelled=lambda: len(steps) == 1)
    assert endings(first) == {"harbour": Ending.CANCELLED}
    assert place.numbers() == {"harbour": None, "kitchen": None}
    outcome = place.train(Start.RESUME)
    assert endings(outcome) == {"harbour": Ending.TRAINED, "kitchen": Ending.TRAINED}


def test_a_folder_without_a_state_is_no_run_to_resume(place: Place) -> None:
    """As a kill leaves it between making the folder and writing the state into it."""
    steps: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            steps.append(event)

    place.train(tell=tell, cancelled=lambda: len(steps) == 1)
    (place.store.root / "adapter" / "kitchen" / "checkpoint").mkdir(parents=True)
    outcome = place.train(Start.RESUME)
    assert endings(outcome) == {"harbour": Ending.TRAINED, "kitchen": Ending.TRAINED}


def test_a_resumed_job_trains_what_has_only_a_version_of_an_earlier_job(place: Place) -> None:
    place.train()
    place.write((*HARBOUR, LATER), (*KITCHEN, LATER))
    steps: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            steps.append(event)

    first = place.train(tell=tell, cancelled=lambda: len(steps) == 1, seed=7)
    assert endings(first) == {"harbour": Ending.CANCELLED}
    outcome = place.train(Start.RESUME)
    assert endings(outcome) == {"harbour": Ending.TRAINED, "kitchen": Ending.TRAINED}
    assert [part.seed for part in outcome.parts] == [7, 7]


def test_a_resume_without_anything_begun_is_refused(place: Place) -> None:
    with pytest.raises(TrainingError, match="there is no run to go on with"):
        place.train(Start.RESUME)


def test_a_time_limit_is_of_the_whole_job(place: Place) -> None:
    said: list[str] = []
    outcome = place.train(
        tell=lambda e: said.append(e.message) if isinstance(e, Status) else None, time_limit=1e-9
    )
    assert [(p.adapter, p.steps) for p in outcome.parts] == [("harbour", 1)]
    assert "adapter kitchen: no time left, not trained now" in said
    rest = place.train(Start.RESUME)
    assert endings(rest) == {"harbour": Ending.TRAINED, "kitchen": Ending.TRAINED}


def test_an_adapter_without_rows_is_left_out(place: Place) -> None:
    place.write(adapters="    harbour: {}\n    kitchen: {}\n    attic: {}\n")
    outcome = place.train()
    assert endings(outcome)["attic"] is Ending.EMPTY
    assert outcome.ending is Ending.TRAINED


def test_one_lock_file_serves_all_adapters(place: Place) -> None:
    place.write((*HARBOUR, LATER, ("Who?", "Me.")))
    place.train()
    locked = read_lock(place.store)
    assert locked is not None
    assert "batch" not in locked.conditions
    said: list[str] = []
    place.train(Start.FRESH, lambda e: said.append(e.message) if isinstance(e, Status) else None)
    assert not [message for message in said if "dlm.lock" in message]


def test_a_rolled_back_adapter_is_trained_again_and_the_other_is_not(place: Place) -> None:
    place.train()
    place.write(HARBOUR, (*KITCHEN, LATER))
    place.train()
    rollback(place.store, 1, "kitchen")
    manifest = place.store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_versions == {"harbour": 1, "kitchen": 1}
    assert endings(place.train()) == {"harbour": Ending.UNCHANGED, "kitchen": Ending.TRAINED}
    assert place.numbers() == {"harbour": 1, "kitchen": 3}


# --- what is refused, before anything is written -------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], type[DlmError], str]] = {
    "a name of the store's own": (
        {"adapters": "    versions: {}\n    harbour: {}\n    kitchen: {}\n"},
        StoreError,
        "not a usable adapter name",
    ),
    "an undeclared name": (
        {"adapters": "    harbour: {}\n"},
        DlmError,
        "kitchen",
    ),
}


@pytest.mark.parametrize(("wishes", "kind", "match"), REFUSED.values(), ids=REFUSED)
def test_what_one_adapter_cannot_is_refused_before_any_is_trained(
    place: Place, wishes: dict[str, Any], kind: type[DlmError], match: str
) -> None:
    place.write(**wishes)
    with pytest.raises(kind, match=match):
        place.train()
    assert not place.home.exists()
