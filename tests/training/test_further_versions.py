"""Going on from a version, from the document to the next one, and what stays in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.tiny import FACTS, document_text

from dlm_engine.errors import ExportError
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    ExportJob,
    ExportOptions,
    MadeBy,
    Progress,
    PromptRequest,
    Start,
    TrainOutcome,
    TrainRequest,
    export,
    make_resident,
    prompt,
    train,
)
from dlm_engine.store import Store, checkpoint_path, read_ledger, rollback
from dlm_engine.training.checkpoint import STATE_NAME, read_facts

QUICK = "training:\n  learning_rate: 0.02\n"
LATER = ("Who paints the door?", "Per does.")


@dataclass(frozen=True)
class Place:
    document: Path
    home: Path
    base: Path

    def write(self, *more: tuple[str, str], extra: str = QUICK) -> None:
        self.document.write_text(document_text(str(self.base), (*FACTS, *more), extra))

    def train(
        self, start: Start, tell: Callable[[Event], None] = lambda event: None
    ) -> TrainOutcome:
        return train(TrainRequest(self.document, self.home, start=start), tell)

    def tensors(self) -> dict[str, torch.Tensor]:
        current = Store(self.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7").current()
        assert current is not None
        return load_file(current.path / "adapter_model.safetensors")


@pytest.fixture
def place(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    from dlm_engine.training import anchors

    monkeypatch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    monkeypatch.setenv("DLM_THREADS", "1")
    made = Place(tmp_path / "facts.dlm", tmp_path / "home", tiny_base)
    made.write()
    assert made.train(Start.AUTO).ending is Ending.TRAINED
    return made


def start_told(events: list[Event]) -> list[tuple[str, str]]:
    return [(e.value, e.reason) for e in events if isinstance(e, Choice) and e.name == "start"]


def test_a_fact_added_makes_a_version_that_keeps_the_earlier_one(place: Place) -> None:
    before = place.tensors()
    place.write(LATER)
    told: list[Event] = []
    outcome = place.train(Start.FURTHER, told.append)
    assert (outcome.ending, outcome.version, outcome.rows) == (Ending.TRAINED, 2, 4)
    assert start_told(told)[0][0] == "from the current version, 1 new row"
    after = place.tensors()
    for name, tensor in before.items():
        rank = 16
        kept = after[name][:rank] if "lora_A" in name else after[name][:, :rank]
        assert torch.equal(kept, tensor)
    assert place.train(Start.AUTO).ending is Ending.UNCHANGED


def test_a_version_on_every_layer_is_gone_on_from_on_every_layer(place: Place) -> None:
    def layers() -> set[str]:
        return {name.split(".layers.")[1].split(".")[0] for name in place.tensors()}

    assert layers() == {"4", "5"}
    whole = TrainRequest(place.document, place.home, all_layers=True)
    assert (train(whole).version, len(layers())) == (2, 6)
    assert train(whole).ending is Ending.UNCHANGED
    assert place.train(Start.FURTHER).ending is Ending.UNCHANGED
    before = place.tensors()
    place.write(LATER)
    told: list[Event] = []
    assert place.train(Start.FURTHER, told.append).version == 3
    assert start_told(told)[0][0].startswith("from the current version")
    after = place.tensors()
    assert all(torch.equal(after[n][: t.shape[0], : t.shape[1]], t) for n, t in before.items())
    assert (place.train(Start.AUTO).version, layers()) == (4, {"4", "5"})


def test_going_on_asks_for_the_layers_it_began_with(place: Place) -> None:
    place.write(LATER)
    told: list[Event] = []
    wanted = TrainRequest(place.document, place.home, start=Start.FURTHER, all_layers=True)
    train(wanted, told.append)
    assert start_told(told) == [("anew", "the settings or the base changed")]


def test_what_was_known_before_is_counted(place: Place) -> None:
    place.write(LATER)
    outcome = place.train(Start.FURTHER)
    assert (outcome.kept, outcome.lost) == (3, ())
    place.write()
    short = train(TrainRequest(place.document, place.home, start=Start.FRESH, max_steps=1))
    assert (short.kept, short.lost) == (0, tuple(sorted(question for question, _ in FACTS)))


def test_additions_need_only_the_current_version(place: Place) -> None:
    """What saves made is removed behind them; what is learned and where it began is not."""
    store = Store(place.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    more: list[tuple[str, str]] = []
    for number, who in enumerate(("Per", "Ida", "Udo"), 2):
        more.append((f"Who paints door {number}?", f"{who} does."))
        place.write(*more)
        told: list[Event] = []
        request = TrainRequest(
            place.document,
            place.home,
            start=Start.FURTHER,
            made_by=MadeBy.SAVE,
            keep_saved=1,
        )
        outcome = train(request, told.append)
        assert (outcome.ending, outcome.version) == (Ending.TRAINED, number)
        assert start_told(told)[0][0] == "from the current version, 1 new row"
        assert [v.number for v in store.versions()] == [1, number]
    ranks = {t.shape[0] for n, t in place.tensors().items() if "lora_A" in n}
    assert ranks == {16 + 3 * 8}
    assert rollback(store, 1).after.number == 1


def test_an_export_is_noted_when_it_is_there(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(place.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    job = ExportJob(place.document, place.home, ExportOptions())

    def fail(*arguments: object) -> None:
        raise ExportError("export", "failed")

    monkeypatch.setattr("dlm_engine.export.export", fail)
    with pytest.raises(ExportError):
        export(job)
    assert read_ledger(store.root, None).exported == ()
    monkeypatch.setattr("dlm_engine.export.recording.recorded", lambda *arguments: None)
    export(job)
    assert read_ledger(store.root, None).exported == (1,)


def test_the_same_addition_makes_the_same_bytes(place: Place, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(place.home, tmp_path / "second")
    place.write(LATER)
    one = place.train(Start.FURTHER)
    resident = make_resident()
    request = TrainRequest(place.document, tmp_path / "second", start=Start.FURTHER)
    two = train(request, resident=resident)
    assert one.adapter_sha256 == two.adapter_sha256 is not None


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ("training:\n  learning_rate: 0.01\n", "the settings or the base changed"),
        ("system_prompt: Be brief.\n" + QUICK, "the settings or the base changed"),
    ],
)
def test_other_settings_take_a_whole_run(place: Place, extra: str, why: str) -> None:
    place.write(LATER, extra=extra)
    told: list[Event] = []
    assert place.train(Start.FURTHER, told.append).ending is Ending.TRAINED
    assert start_told(told) == [("anew", why)]
    assert all(t.shape[0] == 16 for n, t in place.tensors().items() if "lora_A" in n)


@pytest.mark.parametrize(
    "extra",
    ["training:\n  num_epochs: 2\n", "training:\n  lora_r: 8\n", "training:\n  adapter: dora\n"],
)
def test_what_the_author_fixed_is_not_grown(place: Place, extra: str) -> None:
    place.write(extra=extra)
    place.train(Start.AUTO)
    place.write(LATER, extra=extra)
    told: list[Event] = []
    place.train(Start.FURTHER, told.append)
    ((value, why),) = start_told(told)
    assert (value, "fixes the rank" in why) == ("anew", True)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (
            "lr_scheduler: linear\n  warmup_ratio: 0.1",
            "training.lr_scheduler and training.warmup_ratio, which",
        ),
        ("grad_accum: 8", "training.grad_accum, which"),
    ],
)
def test_a_rate_that_the_author_fixed_is_kept_to(place: Place, setting: str, why: str) -> None:
    extra = f"{QUICK}  {setting}\n"
    place.write(extra=extra)
    place.train(Start.AUTO)
    place.write(LATER, extra=extra)
    told: list[Event] = []
    place.train(Start.FURTHER, told.append)
    ((value, reason),) = start_told(told)
    assert (value, why in reason) == ("anew", True)


@pytest.mark.parametrize(("schedule", "prose"), [("dapt", ""), ("auto", "By the pier. " * 60)])
def test_new_prose_is_read_in_passes_where_the_document_is(
    place: Place, schedule: str, prose: str
) -> None:
    """Because it says so, or because it is mostly prose."""
    extra = f"{QUICK}  cpt: {{schedule: {schedule}}}\n"

    def write(*facts: tuple[str, str]) -> None:
        place.write(*facts, extra=extra)
        with place.document.open("a") as file:
            file.write(f"\n::prose::\n{prose}\n" if prose else "")

    write()
    place.train(Start.AUTO)
    write(LATER)
    told: list[Event] = []
    place.train(Start.FURTHER, told.append)
    assert start_told(told)[0][0].startswith("from the current version")
    with place.document.open("a") as file:
        file.write("\n::prose::\nThe lamp is lit at dusk.\n")
    told.clear()
    place.train(Start.FURTHER, told.append)
    ((value, reason),) = start_told(told)
    assert (value, "in passes" in reason) == ("anew", True)


def test_without_a_version_it_starts_anew(tiny_base: Path, tmp_path: Path) -> None:
    document = tmp_path / "facts.dlm"
    document.write_text(document_text(str(tiny_base), extra="training:\n  num_epochs: 1\n"))
    told: list[Event] = []
    request = TrainRequest(document, tmp_path / "home", start=Start.FURTHER)
    assert train(request, told.append).ending is Ending.TRAINED
    assert start_told(told)[0][1] == "there is no version to go on from"


def test_a_cancelled_addition_leaves_the_version_and_no_state(place: Place) -> None:
    place.write(LATER)
    request = TrainRequest(place.document, place.home, start=Start.FURTHER)
    assert train(request, cancelled=lambda: True).ending is Ending.CANCELLED
    store = Store(place.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    current = store.current()
    assert current is not None
    assert current.number == 1
    assert not (store.root / "checkpoint").exists()
    assert place.train(Start.FURTHER).version == 2


def first_step(events: list[Event]) -> int:
    return next(e.step for e in events if isinstance(e, Progress))


def stop(place: Place) -> None:
    """A whole run that is cancelled after its first step."""
    taken: list[Event] = []
    request = TrainRequest(place.document, place.home, start=Start.FRESH)
    train(request, taken.append, lambda: any(isinstance(e, Progress) for e in taken))


def test_what_a_limit_ended_is_gone_on_from(place: Place) -> None:
    straight = place.tensors()
    request = TrainRequest(place.document, place.home, start=Start.FRESH, max_steps=2)
    assert train(request).finished is False
    told: list[Event] = []
    assert place.train(Start.FURTHER, told.append).finished
    assert first_step(told) == 3
    after = place.tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in straight.items())


def test_what_a_cancel_left_is_gone_on_from(place: Place) -> None:
    place.write(LATER)
    stop(place)
    told: list[Event] = []
    assert place.train(Start.FURTHER, told.append).version == 2
    assert (start_told(told), first_step(told)) == ([], 2)


def test_an_addition_that_a_limit_ended_is_added_to(place: Place) -> None:
    place.write(LATER)
    request = TrainRequest(place.document, place.home, start=Start.FURTHER, max_steps=1)
    assert train(request).learned < 4
    told: list[Event] = []
    assert place.train(Start.FURTHER, told.append).version == 3
    assert start_told(told)[0][0].startswith("from the current version")


def test_a_damaged_state_is_no_hindrance(place: Place) -> None:
    stop(place)
    store = Store(place.home, "01HZ4X7TGZM3J1A2B3C4D5E6F7")
    state = checkpoint_path(store.root, None) / STATE_NAME
    state.write_bytes(state.read_bytes()[:-8])
    place.write(LATER)
    assert place.train(Start.FURTHER).version == 2


def test_the_state_says_what_was_trained(place: Place) -> None:
    place.write(LATER)
    outcome = place.train(Start.FURTHER)
    assert outcome.path is not None
    state = read_facts(outcome.path)
    assert state is not None
    assert set(state.rows.values()) == {question for question, _ in (*FACTS, LATER)}
    assert state.finished


# --- what stays in memory ------------------------------------------------------------------


def test_a_resident_changes_no_byte_and_no_answer(place: Place, tmp_path: Path) -> None:
    resident = make_resident()
    question = PromptRequest(place.document, place.home, FACTS[0][0], max_tokens=8)
    alone = prompt(question).answer
    bare = prompt(replace(question, version="base")).answer
    assert prompt(question, resident=resident).answer == alone
    assert prompt(replace(question, version="base"), resident=resident).answer == bare
    assert prompt(question, resident=resident).answer == alone
    again = TrainRequest(place.document, place.home, start=Start.FRESH)
    digests = {train(again, resident=resident).adapter_sha256 for _ in range(2)}
    assert digests == {train(again).adapter_sha256}
    assert prompt(question, resident=resident).answer == alone


def test_a_resident_loads_its_base_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from dlm_engine.inference import loading
    from dlm_engine.inference import resident as module

    loaded: list[str] = []
    load = loading.load_base

    def counting(*given: object) -> object:
        loaded.append(str(given[1]))
        return load(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_base", counting)
    resident = make_resident()
    question = PromptRequest(place.document, place.home, FACTS[0][0], max_tokens=4)
    train(TrainRequest(place.document, place.home, start=Start.FRESH), resident=resident)
    prompt(question, resident=resident)
    prompt(replace(question, version="base"), resident=resident)
    place.write(LATER)
    train(TrainRequest(place.document, place.home, start=Start.FURTHER), resident=resident)
    prompt(question, resident=resident)
    assert len(loaded) == 1


def test_a_run_that_failed_leaves_nothing_on_the_base(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlm_engine.training import determinism

    resident = make_resident()
    question = PromptRequest(place.document, place.home, FACTS[0][0], max_tokens=8)
    alone = prompt(question, resident=resident).answer

    def fail(*given: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(determinism, "earn", fail)
    with pytest.raises(RuntimeError):
        train(TrainRequest(place.document, place.home, start=Start.FRESH), resident=resident)
    assert prompt(question, resident=resident).answer == alone
