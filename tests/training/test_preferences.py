"""Preferences from the document to the version: phases, resuming, and what starts anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import FACTS, document_text, make_model

from dlm_engine.document import read_document
from dlm_engine.errors import DlmError, TrainingError
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    Phase,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
    train,
)
from dlm_engine.store import Store, read_metrics
from dlm_engine.training import stage

PAIRS = (
    ("How is the sea?", "Calm.", "It is said to be calm."),
    ("Is it late?", "Yes.", "It may well be so."),
)
#: Two steps for the questions, four for the preferences.
SHORT = (
    "training:\n  num_epochs: 2\n  preference:\n    hyperparams:\n"
    "      num_epochs: 4\n      learning_rate: 0.01\n"
)


def body(pairs: tuple[tuple[str, str, str], ...]) -> str:
    triples = (f"### Prompt\n{p}\n### Chosen\n{c}\n### Rejected\n{r}\n" for p, c, r in pairs)
    return "\n::preference::\n" + "\n".join(triples)


@dataclass(frozen=True)
class Place:
    document: Path
    home: Path
    base: Path

    @property
    def store(self) -> Store:
        return Store(self.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")

    def write(
        self,
        pairs: tuple[tuple[str, str, str], ...] = PAIRS,
        facts: tuple[tuple[str, str], ...] = FACTS,
        extra: str = SHORT,
    ) -> None:
        text = document_text(str(self.base), facts, extra)
        if not facts:
            text = text[: text.index("::instruction::")]
        self.document.write_text(text + (body(pairs) if pairs else ""))

    def train(
        self,
        start: Start = Start.AUTO,
        tell: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        **wishes: Any,
    ) -> TrainOutcome:
        return train(TrainRequest(self.document, self.home, start=start, **wishes), tell, cancelled)

    def numbers(self) -> list[int]:
        return [version.number for version in self.store.versions() if version.complete]

    def tensors(self, number: int) -> dict[str, torch.Tensor]:
        path = next(v.path for v in self.store.versions() if v.number == number)
        return load_file(path / "adapter_model.safetensors")


@pytest.fixture
def place(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    from dlm_engine.training import anchors

    threads = torch.get_num_threads()
    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    monkeypatch.setenv("DLM_THREADS", "1")
    made = Place(tmp_path / "facts.dlm", tmp_path / "home", tiny_base)
    made.write()
    yield made
    torch.set_num_threads(threads)


def said(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Status)]


def steps(events: list[Event]) -> list[str]:
    return [f"{e.phase} {e.step}" for e in events if isinstance(e, Progress)]


WHOLE = ["sft 1", "sft 2", *(f"preference {n}" for n in range(1, 5))]


def test_both_phases_together_say_what_was_learned(place: Place) -> None:
    """Fault 52: the second phase forgot the sections of the first, which then counted as new."""
    place.train()
    document, _ = read_document(place.document)
    ids = {section.id for section in document.sections}
    manifest = place.store.read_manifest()
    assert manifest is not None
    assert (len(ids), set(manifest.content_hashes)) == (2, ids)
    assert place.train().ending is Ending.UNCHANGED


def test_questions_come_first_then_preferences_each_a_version(place: Place) -> None:
    told: list[Event] = []
    outcome = place.train(tell=told.append)
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.TRAINED, 2, 6)
    assert steps(told) == WHOLE
    assert place.numbers() == [1, 2]
    found = outcome.preference
    assert found is not None
    assert (found.method, found.pairs) == ("dpo", 2)
    assert found.margin_after > found.margin_before
    before, after = place.tensors(1), place.tensors(2)
    for name, tensor in before.items():
        kept = after[name][:16] if "lora_A" in name else after[name][:, :16]
        assert torch.equal(kept, tensor)
    assert outcome.finished
    assert place.train().finished
    assert place.train(Start.RESUME).ending is Ending.UNCHANGED


def test_the_records_say_what_each_phase_did(place: Place) -> None:
    place.train()
    manifest = place.store.read_manifest()
    assert manifest is not None
    assert [(r.run_id, r.adapter_version, r.steps) for r in manifest.training_runs] == [
        (1, 1, 2),
        (2, 2, 4),
    ]
    summaries = []
    for run in manifest.training_runs:
        assert run.summary_path is not None
        summaries.append(json.loads((place.store.root / run.summary_path).read_text()))
    assert [summary["phase"] for summary in summaries] == ["sft", "preference"]
    assert summaries[0]["preference"] is None
    assert summaries[1]["preference"]["pairs"] == 2


def test_the_adapter_loads_in_plain_peft(place: Place) -> None:
    from peft import PeftModel

    outcome = place.train()
    assert outcome.path is not None
    model = PeftModel.from_pretrained(make_model(), str(outcome.path))
    ids = torch.tensor([[1, 5, 6, 7]])
    with torch.no_grad():
        adapted = model(ids).logits
        with model.disable_adapter():
            base = model(ids).logits
    assert bool(torch.isfinite(adapted).all())
    assert not torch.equal(adapted, base)


@pytest.mark.parametrize("extra", ["lora_r: 8", "adapter: dora"])
def test_an_adapter_of_fixed_rank_is_trained_as_it_is(place: Place, extra: str) -> None:
    place.write(extra=SHORT.replace("training:\n", f"training:\n  {extra}\n"))
    outcome = place.train()
    found = outcome.preference
    assert found is not None
    assert found.margin_after > found.margin_before
    before, after = place.tensors(1), place.tensors(2)
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    assert all(torch.equal(after[n], t) for n, t in before.items() if "lora_A" in n)


@pytest.mark.parametrize(
    "extra", [SHORT, SHORT.replace("preference:", "preference:\n    method: orpo", 1)]
)
def test_preferences_alone_are_learned(place: Place, extra: str) -> None:
    place.write(facts=(), extra=extra)
    told: list[Event] = []
    outcome = place.train(tell=told.append)
    assert (outcome.ending, outcome.version, outcome.rows) == (Ending.TRAINED, 1, 0)
    assert steps(told) == WHOLE[2:]
    assert outcome.preference is not None
    assert outcome.preference.margin_after > outcome.preference.margin_before
    assert place.train().ending is Ending.UNCHANGED


# --- stopped and resumed --------------------------------------------------------------------


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_cancelled_after_any_step_and_resumed_is_the_straight_run(
    place: Place, tmp_path: Path, stop: int
) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()
    told: list[Event] = []
    first = place.train(tell=told.append, cancelled=lambda: len(steps(told)) >= stop)
    assert first.ending is Ending.CANCELLED
    assert place.numbers() == ([] if stop < 2 else [1])
    second = place.train(Start.RESUME, tell=told.append)
    assert steps(told) == WHOLE
    assert second.adapter_sha256 == straight.adapter_sha256
    assert second.preference == straight.preference


class Killed(BaseException):
    """As a process that is gone: nothing after it runs."""


@pytest.mark.parametrize("start", [Start.RESUME, Start.AUTO])
def test_killed_between_the_phases_the_questions_are_not_learned_again(
    place: Place, tmp_path: Path, start: Start
) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()

    def kill(event: Event) -> None:
        if isinstance(event, Status) and event.message.startswith("learning 2 preferences"):
            raise Killed

    with pytest.raises(Killed):
        place.train(tell=kill)
    assert place.numbers() == [1]
    told: list[Event] = []
    assert place.train(start, tell=told.append).adapter_sha256 == straight.adapter_sha256
    assert steps(told) == WHOLE[2:]


@pytest.mark.parametrize("step", ["sft 2", "preference 3"])
def test_killed_within_a_phase_it_goes_on_from_the_kept_state(
    place: Place, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()
    monkeypatch.setattr(stage, "_CHECKPOINT_SECONDS", -1.0)

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and steps([event]) == [step]:
            raise Killed

    with pytest.raises(Killed):
        place.train(tell=kill)
    told: list[Event] = []
    assert place.train(Start.RESUME, tell=told.append).adapter_sha256 == straight.adapter_sha256
    assert steps(told) == WHOLE[WHOLE.index(step) :]


def test_max_steps_is_of_each_phase(place: Place, tmp_path: Path) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()
    told: list[Event] = []
    first = place.train(tell=told.append, max_steps=1)
    assert (first.version, first.preference) == (1, None)
    assert any("wait for --resume" in message for message in said(told))
    second = place.train(Start.RESUME, max_steps=3)
    assert (second.version, second.steps) == (3, 5)
    assert place.train(Start.RESUME, max_steps=3).ending is Ending.UNCHANGED
    assert place.train(Start.RESUME).adapter_sha256 == straight.adapter_sha256


def test_an_editors_next_training_goes_on_with_either_phase(place: Place, tmp_path: Path) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()
    told: list[Event] = []
    assert place.train(Start.FURTHER, tell=told.append, max_steps=1).finished is False
    assert any("wait for another training" in message for message in said(told))
    assert place.train(Start.FURTHER, max_steps=3).finished is False
    told.clear()
    last = place.train(Start.FURTHER, tell=told.append)
    assert (last.adapter_sha256, last.finished) == (straight.adapter_sha256, True)
    assert steps(told) == WHOLE[WHOLE.index("preference 4") :]


def test_a_time_limit_holds_for_both_phases(place: Place) -> None:
    told: list[Event] = []
    assert place.train(tell=told.append, time_limit=1e-9).version == 1
    assert steps(told) == WHOLE[:1]
    told.clear()
    assert place.train(Start.RESUME, tell=told.append, time_limit=1e-9).version == 2
    assert place.train(Start.RESUME, tell=told.append, time_limit=1e-9).version == 3
    assert steps(told) == WHOLE[1:3]


def test_a_resumed_phase_whose_version_is_gone_is_refused(place: Place) -> None:
    told: list[Event] = []
    place.train(tell=told.append, cancelled=lambda: len(steps(told)) >= 4)
    current = place.store.current()
    assert current is not None
    (current.path / "COMPLETE.json").unlink()
    with pytest.raises(DlmError):
        place.train(Start.RESUME)


# --- what is wanted -------------------------------------------------------------------------


def test_the_phases_can_be_asked_for_one_by_one(place: Place, tmp_path: Path) -> None:
    straight = Place(place.document, tmp_path / "other", place.base).train()
    told: list[Event] = []
    assert place.train(tell=told.append, phase=Phase.SFT).version == 1
    assert any("2 preference(s) left out: --phase sft" in message for message in said(told))
    assert place.train(phase=Phase.SFT).ending is Ending.UNCHANGED
    second = place.train(tell=told.append, phase=Phase.PREFERENCE)
    assert steps(told) == WHOLE
    assert second.adapter_sha256 == straight.adapter_sha256


def test_preferences_alone_need_a_version_that_knows_the_rest(place: Place) -> None:
    with pytest.raises(TrainingError, match=r"--phase preference.*--phase all"):
        place.train(phase=Phase.PREFERENCE)
    assert read_metrics(place.store.root).runs == ()
    place.write(pairs=())
    with pytest.raises(TrainingError, match=r"no preference to learn"):
        place.train(phase=Phase.PREFERENCE)
    assert place.numbers() == []


def test_what_the_document_switches_off_is_left_out_and_said(place: Place) -> None:
    off = SHORT.replace("preference:\n", "preference:\n    enabled: false\n")
    place.write(extra=off)
    told: list[Event] = []
    outcome = place.train(tell=told.append)
    assert (outcome.version, outcome.preference) == (1, None)
    assert any("enabled is false" in message for message in said(told))
    assert place.train(phase=Phase.PREFERENCE).preference is not None


REMARKS = {
    "on without any": ("enabled: true", (), "has no preference to learn"),
    "equal": ("method: dpo", (*PAIRS, ("a?", "b", "b")), "1 preference(s) left out"),
    "alpha for dpo": ("hyperparams:\n      alpha: 0.2", PAIRS, "not read by dpo: training.pref"),
    "reference for orpo": (
        "method: orpo\n    reference: base\n    hyperparams:\n      beta: 0.2",
        PAIRS,
        "training.preference.reference, training.preference.hyperparams.beta",
    ),
    "of the rows": (
        "method: dpo\n  lr_scheduler: cosine\n  warmup_ratio: 0.1",
        PAIRS,
        "not used while preferences are learned: training.lr_scheduler, training.warmup_ratio",
    ),
}


@pytest.mark.parametrize(("extra", "pairs", "remark"), REMARKS.values(), ids=REMARKS)
def test_what_has_no_effect_is_said(
    place: Place, extra: str, pairs: tuple[tuple[str, str, str], ...], remark: str
) -> None:
    place.write(pairs, extra=f"training:\n  num_epochs: 1\n  preference:\n    {extra}\n")
    told: list[Event] = []
    place.train(tell=told.append, max_steps=1)
    assert any(remark in message for message in said(told))


def test_a_cut_is_said_and_one_that_leaves_nothing_refused(place: Place) -> None:
    long = ("How?", "Yes. " + "word " * 60, "No.")
    place.write((long,), extra=SHORT.replace("training:\n", "training:\n  sequence_len: 128\n"))
    told: list[Event] = []
    place.train(tell=told.append)
    assert any("'How?'" in m and "cut at its end" in m for m in said(told))
    place.write(
        (("How? " * 60, "Yes.", "No."),),
        extra=SHORT.replace("training:\n", "training:\n  sequence_len: 128\n"),
    )
    with pytest.raises(TrainingError, match="the same within 128 tokens"):
        place.train()


# --- edits ----------------------------------------------------------------------------------

OTHER = ("Who sings?", "Per.", "Nobody that I could name.")
QUICK = "training:\n  learning_rate: 0.02\n  preference:\n    hyperparams: {learning_rate: 0.001}\n"


@pytest.mark.parametrize("start", [Start.AUTO, Start.FURTHER])
def test_a_save_that_changes_only_a_preference_learns_the_preferences_anew(
    place: Place, start: Start, tmp_path: Path
) -> None:
    place.train()
    place.write((*PAIRS, OTHER))
    told: list[Event] = []
    outcome = place.train(start, told.append)
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 3)
    assert outcome.preference is not None
    assert outcome.preference.pairs == 3
    assert steps(told) == WHOLE[2:]
    starts = [e.value for e in told if isinstance(e, Choice) and e.name == "start"]
    assert starts == ["from version 1"]
    whole = Place(place.document, tmp_path / "other", place.base).train()
    assert outcome.adapter_sha256 == whole.adapter_sha256


def test_a_fact_added_keeps_what_is_preferred(place: Place) -> None:
    place.write(extra=QUICK)
    earlier = place.train()
    place.write(facts=(*FACTS, ("Who paints the door?", "Per does.")), extra=QUICK)
    told: list[Event] = []
    outcome = place.train(Start.FURTHER, told.append)
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 3)
    starts = [e.value for e in told if isinstance(e, Choice) and e.name == "start"]
    (start,) = starts
    assert start.startswith("from the current version")
    # What it came to is told; as it began, it was what the version before had been.
    before, found = earlier.preference, outcome.preference
    assert before is not None
    assert found is not None
    assert found.pairs == 2
    assert found.margin_before == pytest.approx(before.margin_after, abs=1e-3)
    assert found.accuracy_before == before.accuracy_after
    assert found.margin_after != found.margin_before
    summaries = sorted(place.store.root.glob("logs/*.summary.json"))
    assert json.loads(summaries[-1].read_text())["phase"] == "sft"
    assert place.train().ending is Ending.UNCHANGED
    place.write((*PAIRS, OTHER), (*FACTS, ("Who paints the roof?", "Ida does.")), QUICK)
    told.clear()
    place.train(Start.FURTHER, told.append)
    reasons = [e.reason for e in told if isinstance(e, Choice) and e.name == "start"]
    assert reasons == ["the preferences changed"]
