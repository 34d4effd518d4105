"""Training and asking as a person does it: from a document's path to versions and answers.

Most tests start from a copy of one store that was trained once, four steps on the tiny
base; what is under test is the order of things and what is left behind, not the learning.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.tiny import FACTS, document_text

from dlm_engine.document import read_document
from dlm_engine.document.frontmatter import Gate
from dlm_engine.errors import (
    DocumentError,
    HardwareRefusal,
    InferenceError,
    LockDrift,
    StoreError,
    StoreLocked,
    TrainingError,
    UsageError,
)
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    Progress,
    PromptOutcome,
    PromptRequest,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
    prompt,
    train,
)
from dlm_engine.store import LockMode, Store, read_lock, read_log
from dlm_engine.training import polite
from dlm_engine.training.checkpoint import read_facts
from dlm_engine.training.sft import Knowledge, Run
from dlm_engine.training.support import require_supported

DLM_ID = "01HZ4X7TGZM3J1A2B3C4D5E6F7"
STEPS = 4
#: So many passes and no stopping early: the run is finished after four steps.
SHORT = f"training:\n  num_epochs: {STEPS}\n"
QUESTION = FACTS[0][0]


@dataclass(frozen=True)
class Place:
    """A document and a home; `outcome` is of the run that filled it."""

    document: Path
    home: Path
    outcome: TrainOutcome | None = None

    @property
    def store(self) -> Store:
        return Store(self.home, DLM_ID)

    def train(
        self,
        start: Start = Start.AUTO,
        tell: Callable[[Event], None] = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        **wishes: Any,
    ) -> TrainOutcome:
        return train(TrainRequest(self.document, self.home, start=start, **wishes), tell, cancelled)

    def ask(self, pieces: list[str] | None = None, **wishes: Any) -> PromptOutcome:
        heard = [] if pieces is None else pieces
        wishes = {"max_tokens": 12, **wishes}
        return prompt(PromptRequest(self.document, self.home, QUESTION, **wishes), heard.append)

    def numbers(self) -> list[int]:
        return [version.number for version in self.store.versions() if version.complete]

    def adapter(self) -> Path:
        current = self.store.current()
        assert current is not None
        return current.path / "adapter_model.safetensors"

    def fingerprint(self) -> str:
        current = self.store.current()
        assert current is not None
        facts = read_facts(current.path)
        assert facts is not None
        return facts.fingerprint


def small_and_polite(patch: pytest.MonkeyPatch) -> None:
    from dlm_engine.training import anchors

    patch.setattr(anchors, "ANCHORS", anchors.ANCHORS[:4])
    patch.setenv("DLM_THREADS", "1")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    small_and_polite(monkeypatch)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained_once(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("trained")
    document = folder / "facts.dlm"
    document.write_text(document_text(str(tiny_base), extra=SHORT))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        outcome = Place(document, folder / "home").train()
    return Place(document, folder / "home", outcome)


@pytest.fixture
def trained(trained_once: Place, tmp_path: Path) -> Place:
    """A copy of its own of the document and the home that hold version 1."""
    shutil.copytree(trained_once.home, tmp_path / "home")
    shutil.copy(trained_once.document, tmp_path / "facts.dlm")
    return Place(tmp_path / "facts.dlm", tmp_path / "home", trained_once.outcome)


@pytest.fixture
def fresh(tiny_base: Path, tmp_path: Path) -> Place:
    """The same document with a home that does not exist yet."""
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(tiny_base), extra=SHORT))
    return Place(path, tmp_path / "home")


def sha(place: Place) -> str:
    assert place.outcome is not None
    assert place.outcome.adapter_sha256 is not None
    return place.outcome.adapter_sha256


# --- what a run leaves behind --------------------------------------------------------------


def test_a_run_commits_a_whole_version(trained: Place) -> None:
    outcome, current = trained.outcome, trained.store.current()
    assert outcome is not None
    assert current is not None
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.TRAINED, 1, STEPS)
    current.verify()
    assert {path.name for path in current.path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "training_state.safetensors",
        "dlm_run.json",
        "COMPLETE.json",
    }
    assert json.loads((current.path / "adapter_config.json").read_text())["peft_type"] == "LORA"
    digest = hashlib.sha256(trained.adapter().read_bytes()).hexdigest()
    assert digest == outcome.adapter_sha256
    assert not (trained.store.root / "checkpoint").exists()


def test_a_run_is_in_the_manifest(trained: Place) -> None:
    manifest = trained.store.read_manifest()
    assert manifest is not None
    assert manifest.adapter_version == 1
    assert manifest.adapter_sha256 == sha(trained)
    assert len(manifest.content_hashes) == 1
    (run,) = manifest.training_runs
    assert (run.run_id, run.adapter_version, run.steps, run.seed) == (1, 1, STEPS, 42)
    assert run.status == "completed"
    assert run.pinned_versions["torch"] == str(torch.__version__)
    assert run.summary_path is not None
    summary = json.loads((trained.store.root / run.summary_path).read_text())
    assert summary["steps"] == STEPS
    assert summary["final_train_loss"] == run.final_train_loss


def test_a_run_writes_the_lock_with_the_conditions_of_its_promise(trained: Place) -> None:
    lock = read_lock(trained.store)
    assert lock is not None
    assert trained.outcome is not None
    assert lock.determinism_class == trained.outcome.determinism
    assert lock.dlm_sha256 == hashlib.sha256(trained.document.read_bytes()).hexdigest()
    assert lock.conditions.keys() >= {
        "instruction_set",
        "kernels",
        "precision",
        "attention",
        "batch",
        "layers",
        "mkl_branch",
        "threads",
    }
    assert lock.conditions["threads"] == "1"
    assert lock.conditions["layers"] == "last 2"


def test_a_run_writes_a_log_line_for_each_step(trained: Place) -> None:
    (path,) = (trained.store.root / "logs").glob("train-*.jsonl")
    records = list(read_log(path))
    assert [record["type"] for record in records] == [
        "banner",
        "delta",
        *["step"] * STEPS,
        "run_complete",
    ]
    assert [record.get("step") for record in records[2:-1]] == [1, 2, 3, 4]
    assert records[-1]["adapter_version"] == 1


def test_a_run_says_what_it_chose_and_how_it_goes(fresh: Place) -> None:
    events: list[Event] = []
    outcome = fresh.train(tell=events.append, max_steps=2)
    names = {event.name for event in events if isinstance(event, Choice)}
    assert names >= {"plan", "lora_r", "learning_rate", "layers", "validation"}
    assert all(event.reason for event in events if isinstance(event, Choice))
    steps = [event for event in events if isinstance(event, Progress)]
    assert [(step.step, step.cap, step.rows) for step in steps] == [(1, STEPS, 3), (2, STEPS, 3)]
    assert outcome.loss == steps[-1].loss


# --- again, anew, and on -------------------------------------------------------------------


def test_the_same_again_is_unchanged(trained: Place) -> None:
    before = trained.adapter().stat().st_mtime_ns
    outcome = trained.train()
    assert (outcome.ending, outcome.version) == (Ending.UNCHANGED, 1)
    assert trained.numbers() == [1]
    assert trained.adapter().stat().st_mtime_ns == before
    assert trained.train(Start.RESUME).ending is Ending.UNCHANGED


def test_a_fresh_run_makes_the_same_bytes_again(trained: Place) -> None:
    outcome = trained.train(Start.FRESH)
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 2)
    assert outcome.adapter_sha256 == sha(trained)
    assert trained.numbers() == [1, 2]


def test_another_seed_makes_other_bytes_where_there_is_chance(
    fresh: Place, tiny_base: Path
) -> None:
    extra = "training:\n  num_epochs: 2\n  lora_dropout: 0.2\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    first, second = fresh.train(), fresh.train(seed=7)
    assert (first.seed, second.seed) == (42, 7)
    assert (second.ending, second.version) == (Ending.TRAINED, 2)
    assert first.adapter_sha256 != second.adapter_sha256


def test_a_run_cut_short_and_resumed_is_the_straight_run(fresh: Place, trained_once: Place) -> None:
    first = fresh.train(max_steps=3)
    assert (first.steps, first.version) == (3, 1)
    second = fresh.train(Start.RESUME)
    assert (second.steps, second.version) == (STEPS, 2)
    assert first.adapter_sha256 != second.adapter_sha256 == sha(trained_once)


def test_resuming_to_where_the_run_is_makes_no_version(fresh: Place) -> None:
    assert fresh.train(max_steps=2).version == 1
    again = fresh.train(Start.RESUME, max_steps=2)
    assert (again.ending, again.version, again.steps) == (Ending.UNCHANGED, 1, 2)
    assert fresh.numbers() == [1]
    assert fresh.train(Start.RESUME, max_steps=3).version == 2


def test_a_time_limit_keeps_what_was_reached(fresh: Place, trained_once: Place) -> None:
    first = fresh.train(time_limit=1e-9)
    assert (first.ending, first.steps) == (Ending.TRAINED, 1)
    assert fresh.train(Start.RESUME).adapter_sha256 == sha(trained_once)


def test_a_cancelled_run_keeps_its_state_and_goes_on(fresh: Place, trained_once: Place) -> None:
    seen: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append(event.step)

    outcome = fresh.train(tell=listen, cancelled=lambda: len(seen) >= 2)
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.CANCELLED, None, 2)
    assert fresh.numbers() == []
    assert fresh.store.current() is None
    resumed = fresh.train(Start.RESUME, tell=listen)
    assert seen == [1, 2, 3, 4]
    assert (resumed.version, resumed.adapter_sha256) == (1, sha(trained_once))
    assert not (fresh.store.root / "checkpoint").exists()


def test_resuming_after_the_document_changed_is_refused(fresh: Place) -> None:
    fresh.train(max_steps=2)
    fresh.document.write_text(fresh.document.read_text().replace("4417", "5528"))
    with pytest.raises(TrainingError, match=r"changed since that run.*without --resume"):
        fresh.train(Start.RESUME)
    assert fresh.numbers() == [1]


def test_resuming_nothing_is_refused(fresh: Place) -> None:
    with pytest.raises(TrainingError, match="no run to go on with"):
        fresh.train(Start.RESUME)
    assert fresh.numbers() == []


# --- refused before anything is written ----------------------------------------------------


def test_a_document_with_an_error_is_refused_where_it_stands(fresh: Place) -> None:
    text = fresh.document.read_text().replace("training:", "nonsense: 1\ntraining:")
    fresh.document.write_text(text)
    with pytest.raises(DocumentError) as caught:
        fresh.train()
    assert caught.value.subject.startswith(f"{fresh.document}:5:")
    assert f"dlm check {fresh.document}" in caught.value.remedy
    assert not fresh.home.exists()


def test_nothing_to_learn_ends_empty_and_writes_nothing(fresh: Place) -> None:
    text = fresh.document.read_text()
    fresh.document.write_text(text[: text.index("::instruction::")])
    outcome = fresh.train()
    assert (outcome.ending, outcome.version) == (Ending.EMPTY, None)
    assert not fresh.home.exists()


REFUSED = {
    "adapters": ("adapters:\n    tone:\n      lora_r: 4", "", "training.adapters"),
    "sources": ("sources:\n    - path: notes", "", "training.sources"),
    "preference": ("preference:\n    enabled: true", "", "training.preference"),
    "gate": (
        "adapters:\n    tone: {}\n    facts: {}\n  gate:\n    enabled: true",
        "",
        "training.adapters",
    ),
    "warm-up": ("cpt:\n    embed_warmup_steps: 3", "", "embed_warmup_steps"),
    "dapt": ("cpt:\n    schedule: dapt", "", "dapt"),
    "optimizer": ("optimizer: adamw_bnb_8bit", "", "adamw_bnb_8bit"),
    "image": ("", '::image path="pier.png" alt="a pier"::\n', "::image::"),
}


@pytest.mark.parametrize(("setting", "body", "subject"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_done_is_refused_before_anything_is_written(
    setting: str, body: str, subject: str, fresh: Place, tiny_base: Path
) -> None:
    extra = f"training:\n  {setting}\n" if setting else ""
    fresh.document.write_text(document_text(str(tiny_base), extra=extra) + "\n" + body)
    (fresh.document.parent / "pier.png").write_bytes(b"\x89PNG")
    with pytest.raises(TrainingError) as caught:
        fresh.train()
    assert subject in caught.value.subject
    assert caught.value.remedy
    assert not fresh.home.exists()


def test_a_section_for_another_adapter_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    routed = replace(
        document, sections=tuple(replace(s, adapter="tone") for s in document.sections)
    )
    with pytest.raises(TrainingError, match=r"::instruction#tone::.*remove the #name"):
        require_supported(routed, document.frontmatter)


def test_a_gate_is_refused_by_itself_too(fresh: Place) -> None:
    document, _ = read_document(fresh.document)
    assert document.frontmatter is not None
    training = document.frontmatter.training.model_copy(update={"gate": Gate(enabled=True)})
    frontmatter = document.frontmatter.model_copy(update={"training": training})
    with pytest.raises(TrainingError, match=r"training\.gate"):
        require_supported(document, frontmatter)


def test_what_is_left_out_is_said(fresh: Place) -> None:
    body = "\n::preference::\n### Prompt\nHi?\n### Chosen\nHello.\n### Rejected\nNo.\n"
    fresh.document.write_text(fresh.document.read_text() + body)
    events: list[Event] = []
    fresh.train(tell=events.append, max_steps=1)
    said = [event.message for event in events if isinstance(event, Status)]
    assert any("1 preference section" in message for message in said)


def test_a_machine_that_cannot_is_refused_without_a_version(fresh: Place, tiny_base: Path) -> None:
    extra = "training:\n  precision: fp16\n"
    fresh.document.write_text(document_text(str(tiny_base), extra=extra))
    with pytest.raises(HardwareRefusal):
        fresh.train()
    assert not fresh.home.exists()


def test_a_wrong_number_of_threads_is_refused_before_anything_is_written(
    fresh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(polite.THREADS_VARIABLE, "many")
    with pytest.raises(UsageError):
        fresh.train()
    assert not fresh.home.exists()


# --- the lock file and the lock ------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda lock: {**lock, "base_model_revision": "f" * 40}, "base_model_revision"),
        (
            lambda lock: {
                **lock,
                "pinned_versions": {**lock["pinned_versions"], "torch": "1.13.0"},
            },
            "torch was 1.13.0",
        ),
    ],
    ids=["revision", "torch"],
)
def test_drift_from_the_lock_stops_the_run_unless_accepted(
    change: Callable[[dict[str, Any]], dict[str, Any]], named: str, trained: Place
) -> None:
    path = trained.store.root / "dlm.lock"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(change(whole)))
    with pytest.raises(LockDrift, match=named) as caught:
        trained.train(Start.FRESH)
    assert "--update-lock" in caught.value.remedy
    assert trained.numbers() == [1]
    outcome = trained.train(Start.FRESH, lock_mode=LockMode.UPDATE, max_steps=1)
    assert outcome.version == 2
    after = json.loads(path.read_text())
    assert after["base_model_revision"] == whole["base_model_revision"]
    assert after["pinned_versions"] == whole["pinned_versions"]


def test_ignoring_the_lock_leaves_it_as_it_is(trained: Place) -> None:
    path = trained.store.root / "dlm.lock"
    path.write_text("not a lock")
    with pytest.raises(StoreError):
        trained.train(Start.FRESH)
    assert trained.train(Start.FRESH, lock_mode=LockMode.IGNORE, max_steps=1).version == 2
    assert path.read_text() == "not a lock"


HOLDER = """
import sys
from pathlib import Path
from dlm_engine.store import Store
with Store(Path(sys.argv[1]), sys.argv[2]).lock("exporting"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_store_in_use_is_left_alone(trained: Place) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(trained.home), DLM_ID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=rf"process {holder.pid} \(exporting"):
            trained.train(Start.FRESH)
        holder.communicate("")
    assert trained.numbers() == [1]


# --- what must not become current ----------------------------------------------------------


def test_an_adapter_that_is_not_finite_is_kept_aside(
    trained: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Run.look

    def spoil(run: Run) -> Knowledge:
        next(iter(run.parameters.values())).data.view(-1)[0] = float("nan")
        return look(run)

    monkeypatch.setattr(Run, "look", spoil)
    with pytest.raises(TrainingError, match="not finite"):
        trained.train(Start.FRESH)
    current = trained.store.current()
    assert current is not None
    assert current.number == 1
    assert [v.number for v in trained.store.versions() if v.rejected] == [2]
    assert trained.ask().version == 1
    monkeypatch.undo()
    small_and_polite(monkeypatch)
    assert trained.train(Start.FRESH, max_steps=1).version == 3


def test_a_changed_adapter_file_is_refused(trained: Place) -> None:
    data = bytearray(trained.adapter().read_bytes())
    data[-1] ^= 1
    trained.adapter().write_bytes(bytes(data))
    with pytest.raises(StoreError, match="was changed after the commit"):
        trained.ask()
    with pytest.raises(StoreError, match="was changed after the commit"):
        trained.train()


# --- asking --------------------------------------------------------------------------------


def test_an_untrained_document_has_no_answer_but_its_base_has(fresh: Place) -> None:
    with pytest.raises(InferenceError, match="dlm train") as caught:
        fresh.ask()
    assert "--base" in caught.value.remedy
    assert not fresh.home.exists()
    outcome = fresh.ask(version="base")
    assert outcome.version is None
    assert not fresh.store.exists()


def test_asking_the_base_leaves_the_adapter_out(trained: Place) -> None:
    ask: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 40}
    with_adapter, base = trained.ask(**ask), trained.ask(version="base", **ask)
    assert (with_adapter.version, base.version) == (1, None)
    assert with_adapter.answer != base.answer
    assert trained.ask(version=1, **ask).answer == with_adapter.answer


def test_a_version_that_is_not_there_is_named(trained: Place) -> None:
    with pytest.raises(StoreError, match="version 9"):
        trained.ask(version=9)


def test_a_blank_question_is_refused(trained: Place) -> None:
    with pytest.raises(InferenceError, match="is empty"):
        prompt(PromptRequest(trained.document, trained.home, "  \n"))


def test_a_seed_makes_a_drawn_answer_come_again(trained: Place) -> None:
    drawn = [trained.ask(temperature=1.5, seed=seed, max_tokens=40).answer for seed in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_without_temperature_an_answer_is_always_the_same(trained: Place) -> None:
    torch.manual_seed(1)
    first = trained.ask(max_tokens=40)
    torch.manual_seed(2)
    second = trained.ask(max_tokens=40)
    assert first.temperature == 0.0
    assert first.answer == second.answer


def test_the_pieces_of_an_answer_are_the_answer(trained: Place) -> None:
    """The tiny base draws bytes that are often no characters, the hardest case."""
    counts = []
    for seed in range(4):
        pieces: list[str] = []
        outcome = trained.ask(pieces, temperature=1.5, seed=seed, max_tokens=60)
        assert "".join(pieces) == outcome.answer
        counts.append(len(pieces))
    assert max(counts) > 1


def test_the_system_prompt_is_learned_with_and_asked_with(trained: Place) -> None:
    without, before = trained.fingerprint(), trained.ask()
    text = trained.document.read_text()
    trained.document.write_text(
        text.replace("training:", "system_prompt: You are brief.\ntraining:")
    )
    outcome = trained.train()
    assert (outcome.ending, outcome.version) == (Ending.TRAINED, 2)
    assert outcome.adapter_sha256 != sha(trained)
    assert trained.fingerprint() != without
    after = trained.ask()
    assert after.prompt_tokens > before.prompt_tokens
    longer = trained.ask(system="You are brief. You are exact.")
    assert longer.prompt_tokens == after.prompt_tokens + len(" You are exact.")


def test_a_document_that_moved_on_is_remarked(trained: Place) -> None:
    assert trained.ask().notes == ()
    trained.document.write_text(trained.document.read_text().replace("4417", "5528"))
    (note,) = trained.ask().notes
    assert "changed since version 1" in note


# --- how many threads ----------------------------------------------------------------------


def test_the_thread_count_can_be_set_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLM_THREADS", " 2 ")
    assert polite.settle_in() == torch.get_num_threads() == 2
    assert polite.settle_in(1) == torch.get_num_threads() == 1
    monkeypatch.setenv("DLM_THREADS", "")
    assert polite.settle_in() == polite.usable_cores()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "1025", "9" * 50, "²"])
def test_a_thread_count_that_is_none_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_THREADS", value)
    with pytest.raises(UsageError, match="DLM_THREADS"):
        polite.settle_in()
