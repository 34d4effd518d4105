"""Embedding warm-up: rows of the document's own tokens, trained first, kept, asked and resumed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tests.tiny import FACTS, document_text, make_model, write_base
from tests.training.named import named_text
from tests.training.parts import SETTINGS, WIRING, lay, rows, trainee
from tests.training.sessions import QUESTION, Place
from tests.training.test_preferences import PAIRS, body
from transformers import AutoModelForCausalLM

from dlm_engine.bases import obtain_weights, resolve
from dlm_engine.data import ChatRow, encode_row
from dlm_engine.data.chat import Chat
from dlm_engine.data.packs import packs_of
from dlm_engine.data.tokens import Encoded
from dlm_engine.errors import InferenceError, OutOfMemory, TrainingError
from dlm_engine.hardware import detect
from dlm_engine.inference.resident import Resident
from dlm_engine.inference.rows import ROWS
from dlm_engine.jobs import (
    Choice,
    Ending,
    Event,
    Mix,
    PromptRequest,
    Start,
    Status,
    TrainRequest,
    prompt,
    train,
)
from dlm_engine.training import anchors, ranks
from dlm_engine.training.aim import survey
from dlm_engine.training.checkpoint import read_facts
from dlm_engine.training.loss import head_divergence
from dlm_engine.training.network import Trainee
from dlm_engine.training.warmup import WarmUp

WARMED = "  cpt:\n    embed_warmup_steps: 2\n"
SHORT = f"training:\n  num_epochs: 3\n{WARMED}"
LATER = ("Who paints the door 9?", "Per does, 17.")


def warmed(base: Path, folder: Path, settings: str = "", **more: Any) -> Place:
    folder.mkdir(exist_ok=True)
    path = folder / "facts.dlm"
    path.write_text(document_text(str(base), extra=SHORT + settings, **more))
    return Place(path, folder / "home")


@pytest.fixture
def place(small: None, tiny_base: Path, tmp_path: Path) -> Place:
    return warmed(tiny_base, tmp_path)


def rows_of(place: Place) -> tuple[tuple[int, ...], torch.Tensor]:
    """Ids and embeddings that the current version has of its own."""
    folder = place.adapter().parent
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    (own,) = (tensor for name, tensor in tensors.items() if name.endswith(ROWS))
    return tuple(config["trainable_token_indices"]), own


def weights_of(place: Place, base: Path) -> Any:
    spec = resolve(str(base), pinned_revision=None, home=place.home)
    return obtain_weights(spec, place.home, report=lambda said: None)


def chat_of(place: Place, base: Path) -> Chat:
    return Chat.of(weights_of(place, base), None)


@torch.no_grad()
def sum_of_losses(model: Any, row: Encoded) -> float:
    """Nats of the supervised tokens of `row`, together."""
    ids = torch.tensor([row.ids])
    logits = model(input_ids=ids).logits[0, row.start - 1 : -1].float()
    return float(torch.nn.functional.cross_entropy(logits, ids[0, row.start :], reduction="sum"))


def said(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Status)]


# --- which, and by how much -----------------------------------------------------------------


def test_the_documents_own_tokens_get_rows_and_everyday_ones_keep_the_bases(
    place: Place, tiny_base: Path
) -> None:
    told: list[Event] = []
    place.train(tell=told.append)
    ids, own_rows = rows_of(place)
    chat = chat_of(place, tiny_base)
    everyday = {
        i for q, a in anchors.ANCHORS for i in (*chat.prompt_ids(q), *chat.answer_ids(q, a))
    }
    own = {i for q, a in FACTS for i in (*chat.prompt_ids(q), *chat.answer_ids(q, a))}
    assert set(ids) == own - everyday - set(chat.tokenizer.all_special_ids)
    assert list(ids) == sorted(ids)
    before = load_file(tiny_base / "model.safetensors")["model.embed_tokens.weight"][list(ids)]
    changed = (own_rows - before).abs().amax(dim=1)
    assert bool((changed > 0).all())
    # Each of two steps moves a number by two hundredths of what is usual; then it is rounded.
    assert float((own_rows - before).abs().max()) <= 3 * 0.02 * float(before.square().mean().sqrt())
    heard = [message for message in said(told) if "warm-up" in message]
    assert heard[0] == f"embedding warm-up: 2 steps for {len(ids)} tokens"
    assert [message.split(",")[0] for message in heard[1:]] == [
        "embedding warm-up: step 1 of 2",
        "embedding warm-up: step 2 of 2",
    ]


def test_each_step_makes_the_document_likelier(place: Place, tiny_base: Path) -> None:
    place.document.write_text(place.document.read_text().replace("steps: 2", "steps: 6"))
    told: list[Event] = []
    place.train(tell=told.append, max_steps=1)
    losses = [float(m.rpartition("loss ")[2]) for m in said(told) if "loss" in m]
    assert len(losses) == 6
    assert losses == sorted(losses, reverse=True)


def test_a_document_of_everyday_words_only_has_no_rows(place: Place, tiny_base: Path) -> None:
    question, answer = anchors.ANCHORS[0]
    facts = ((answer, question),)
    place.document.write_text(document_text(str(tiny_base), facts, SHORT))
    told: list[Event] = []
    assert place.train(tell=told.append).ending is Ending.TRAINED
    assert any("every token of the document is one of everyday" in line for line in said(told))
    config = json.loads((place.adapter().parent / "adapter_config.json").read_text())
    assert config["trainable_token_indices"] is None


def test_another_number_of_steps_is_another_run(place: Place) -> None:
    first = place.train()
    assert place.train().ending is Ending.UNCHANGED
    place.document.write_text(place.document.read_text().replace("steps: 2", "steps: 3"))
    second = place.train()
    assert (second.ending, second.version) == (Ending.TRAINED, 2)
    assert second.adapter_sha256 != first.adapter_sha256


# --- what asks and computes with them -------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "tied head": {},
    "own head": {"tied": False},
    "gemma2": {"kind": "gemma2"},
    "all layers": {},
    "dora": {},
}


@pytest.mark.parametrize("kind", KINDS)
def test_plain_peft_computes_the_losses_that_training_ended_with(
    small: None, tmp_path: Path, kind: str
) -> None:
    base = write_base(tmp_path / "base", **KINDS[kind])
    adapter = "  adapter: dora\n" if kind == "dora" else ""
    at = warmed(base, tmp_path / "at", f"  precision: fp32\n{adapter}")
    outcome = at.train(all_layers=kind == "all layers")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    bare = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, at.adapter().parent).eval()
    chat = chat_of(at, base)
    asked = [encode_row(ChatRow("s", *fact), chat, 512)[0] for fact in FACTS]
    with_rows, without = (
        sum(sum_of_losses(model, row) for row in asked) / sum(row.supervised for row in asked)
        for model in (adapted, bare)
    )
    assert outcome.trained.answers == pytest.approx(with_rows, rel=1e-4)
    assert abs(with_rows - without) > 0.1
    ids, own = rows_of(at)
    assert torch.equal(adapted.get_base_model().get_input_embeddings().weight[list(ids)], own)


def test_upon_a_base_in_four_bits(small: None, tiny_base: Path, tmp_path: Path) -> None:
    at = warmed(tiny_base, tmp_path, "  adapter: qlora\n")
    whole = at.train()
    _, own = rows_of(at)
    assert bool(torch.isfinite(own).all())
    assert at.ask().version == 1
    assert at.train(Start.FRESH).adapter_sha256 == whole.adapter_sha256


def test_who_asks_computes_what_plain_peft_does(place: Place, tiny_base: Path) -> None:
    place.train()
    folder, weights = place.adapter().parent, weights_of(place, tiny_base)
    ids = torch.tensor([chat_of(place, tiny_base).prompt_ids(QUESTION)])
    with Resident().asking(weights, detect(), folder, None) as model, torch.no_grad():
        base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=model.dtype)
        plain = PeftModel.from_pretrained(base, folder).eval()
        assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
        # The whole matrix is made once, not at every token and for the head again.
        inner = model.get_base_model()
        matrix = inner.get_input_embeddings().weight
        assert matrix is inner.get_input_embeddings().weight
        assert matrix is inner.get_output_embeddings().weight


def test_a_base_that_stays_in_memory_is_as_it_was(place: Place, tiny_base: Path) -> None:
    resident, plain = Resident(), warmed(tiny_base, place.home.parent / "plain")
    plain.document.write_text(document_text(str(tiny_base), extra="training:\n  num_epochs: 3\n"))
    alone = plain.train(), place.train()

    def run(at: Place) -> str | None:
        request = TrainRequest(at.document, at.home, Start.FRESH)
        return train(request, resident=resident).adapter_sha256

    def answer(version: int | str | None) -> str:
        request = PromptRequest(
            place.document,
            place.home,
            QUESTION,
            version,  # type: ignore[arg-type]
            temperature=1.5,
            seed=3,
            max_tokens=40,
        )
        return prompt(request, resident=resident).answer

    fresh = {v: place.ask(version=v, temperature=1.5, seed=3, max_tokens=40).answer
             for v in (None, "base")}  # fmt: skip
    for _ in range(2):
        assert run(place) == alone[1].adapter_sha256
        assert answer(None) == fresh[None]
        assert answer("base") == fresh["base"]
        assert run(plain) == alone[0].adapter_sha256
        assert answer(None) == fresh[None]
    base = resident.base(weights_of(place, tiny_base), *_how(resident))
    files = load_file(tiny_base / "model.safetensors")
    for name, parameter in base.named_parameters():
        assert "token" not in name.replace("embed_tokens", "")
        assert torch.equal(parameter, files[name].to(parameter.dtype)), name
    assert base.get_output_embeddings().weight is base.get_input_embeddings().weight


def _how(resident: Resident) -> tuple[str, str, str]:
    loading = resident._loading
    assert loading is not None
    return loading.precision, loading.attention, loading.device


# --- stopped, resumed and gone on from ------------------------------------------------------


def test_the_same_bytes_again_and_resumed(place: Place, tiny_base: Path) -> None:
    whole = place.train()
    assert place.train(Start.FRESH).adapter_sha256 == whole.adapter_sha256
    halved = warmed(tiny_base, place.home.parent / "halved")
    first = halved.train(max_steps=1)
    assert first.adapter_sha256 != whole.adapter_sha256
    assert halved.train(Start.RESUME).adapter_sha256 == whole.adapter_sha256


def stopping_in(step: int) -> tuple[Callable[[Event], None], Callable[[], bool]]:
    heard: list[Event] = []

    def cancelled() -> bool:
        return any(f"step {step} of" in message for message in said(heard))

    return heard.append, cancelled


def test_cancelled_in_a_step_of_it_the_run_begins_anew(place: Place, tiny_base: Path) -> None:
    told, cancelled = stopping_in(1)
    outcome = place.train(tell=told, cancelled=cancelled, seed=7)
    assert (outcome.ending, outcome.version, outcome.steps) == (Ending.CANCELLED, None, 0)
    assert place.numbers() == []
    resumed = place.train(Start.RESUME)
    assert resumed.seed == 7
    straight = warmed(tiny_base, place.home.parent / "straight").train(seed=7)
    assert (resumed.ending, resumed.adapter_sha256) == (Ending.TRAINED, straight.adapter_sha256)
    assert not (place.store.root / "checkpoint").exists()


def test_cancelled_while_it_is_done_again_the_state_of_the_run_stays(place: Place) -> None:
    first = iter([False, False, True])
    assert place.train(cancelled=lambda: next(first)).steps == 1
    told, cancelled = stopping_in(1)
    assert place.train(Start.RESUME, tell=told, cancelled=cancelled).ending is Ending.CANCELLED
    steps: list[Event] = []
    again = place.train(Start.RESUME, tell=steps.append)
    assert "resuming after step 1" in said(steps)
    assert place.train(Start.FRESH).adapter_sha256 == again.adapter_sha256


class Killed(BaseException):
    """As a process that is gone: nothing after it runs."""


def test_killed_in_a_step_of_it_the_store_is_as_before(place: Place) -> None:
    whole = place.train()

    def kill(event: Event) -> None:
        if isinstance(event, Status) and "step 1 of" in event.message:
            raise Killed

    with pytest.raises(Killed):
        place.train(Start.FRESH, tell=kill)
    assert place.numbers() == [1]
    assert place.train().ending is Ending.UNCHANGED
    assert place.train(Start.FRESH).adapter_sha256 == whole.adapter_sha256


def test_its_seconds_count(place: Place) -> None:
    assert place.train(time_limit=1e-9).steps == 1
    elapsed: list[float] = []

    def listen(event: Event) -> None:
        if hasattr(event, "elapsed"):
            elapsed.append(event.elapsed)

    with pytest.MonkeyPatch.context() as patch:
        ticks = iter(range(0, 100_000, 100))
        patch.setattr("dlm_engine.training.building.time.monotonic", lambda: float(next(ticks)))
        place.train(Start.FRESH, tell=listen)
    assert elapsed[0] >= 100


def test_what_is_added_stands_upon_the_same_rows(place: Place, tiny_base: Path) -> None:
    grows = f"training:\n  learning_rate: 0.02\n{WARMED}"
    place.document.write_text(document_text(str(tiny_base), extra=grows))
    place.train()
    before = rows_of(place)
    place.document.write_text(document_text(str(tiny_base), (*FACTS, LATER), grows))
    told: list[Event] = []
    outcome = place.train(Start.FURTHER, tell=told.append)
    assert outcome.version == 2
    starts = [e.value for e in told if isinstance(e, Choice) and e.name == "start"]
    assert starts[0].startswith("from the current version")
    after = rows_of(place)
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert not [line for line in said(told) if "warm-up" in line]


def test_preferences_are_learned_and_compared_upon_the_same_rows(
    place: Place, tiny_base: Path
) -> None:
    wishes = (
        "  preference:\n    reference: base\n    hyperparams:\n"
        "      num_epochs: 2\n      learning_rate: 0.01\n"
    )
    text = document_text(str(tiny_base), extra=f"{SHORT}  precision: fp32\n{wishes}")
    place.document.write_text(text + body(PAIRS))
    place.train()
    assert place.numbers() == [1, 2]
    second, facts = rows_of(place), read_facts(place.adapter().parent)
    assert facts is not None
    assert facts.preference is not None
    first = place.store.versions()[0].path
    tensors = load_file(first / "adapter_model.safetensors")
    first_rows = next(tensor for name, tensor in tensors.items() if name.endswith(ROWS))
    assert torch.equal(second[1], first_rows)
    bare = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    with torch.no_grad():
        bare.get_input_embeddings().weight[list(second[0])] = first_rows
    base = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    taught = PeftModel.from_pretrained(base, first).eval()
    chat = chat_of(place, tiny_base)

    def likely(model: Any, question: str, answer: str) -> float:
        (row,) = encode_row(ChatRow("s", question, answer), chat, 512)
        return -sum_of_losses(model, row)

    for model, found in ((taught, facts.preference.before), (bare, facts.preference.reference)):
        expected = [(likely(model, q, c), likely(model, q, r)) for q, c, r in PAIRS]
        for one, other in zip(sorted(found.values()), sorted(expected), strict=True):
            assert one == pytest.approx(other, rel=1e-4)


def test_preferences_alone_leave_the_embeddings_and_say_so(place: Place, tiny_base: Path) -> None:
    text = document_text(str(tiny_base), extra=SHORT)
    place.document.write_text(text[: text.index("::instruction::")] + body(PAIRS))
    told: list[Event] = []
    place.train(tell=told.append, max_steps=1)
    assert "no embedding warm-up: there is nothing but preferences to learn" in said(told)


# --- several --------------------------------------------------------------------------------


def test_named_adapters_have_rows_each_and_no_share_in_a_mix(place: Place, tiny_base: Path) -> None:
    place.document.write_text(named_text(tiny_base, settings=f"  num_epochs: 2\n{WARMED}"))
    place.train()
    for name in ("harbour", "kitchen"):
        version = place.store.current(name)
        assert version is not None
        config = json.loads((version.path / "adapter_config.json").read_text())
        assert config["trainable_token_indices"]
        assert place.ask(adapter=name).version == 1
    with pytest.raises(InferenceError, match=r"not plain LoRA \(trainable_token_indices\)"):
        place.ask(mix=Mix.read("harbour=0.5,kitchen=0.5"))


def test_several_processes_are_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "_here", replace(ranks._here, world=2))
    with pytest.raises(TrainingError, match="embeddings are trained by one process"):
        place.train()
    assert not place.home.exists()


# --- one step -------------------------------------------------------------------------------

OWN = tuple(range(10, 70))


def warm_up(
    kind: str = "llama", *, tied: bool = True, weights: bool = False, **changes: Any
) -> WarmUp:
    """Over six rows in packs of two, beside everyday ones of other tokens."""
    checkpointing = changes.pop("checkpointing", False)
    wiring = replace(WIRING, tokens=OWN, checkpointing=checkpointing)
    trained = trainee(wiring, base=make_model(kind, tied=tied))
    every = [replace(row, weight=2.0) if weights else row for row in rows(6)]
    common = [replace(row, ids=tuple(i + 100 for i in row.ids)) for row in rows(8, first=90)]
    surveyed = survey(trained, lay(trained, packs_of(common, 40)))
    settings = replace(SETTINGS, packs_per_step=3, embed_warmup=6, **changes)
    return WarmUp(trained, packs_of(every, 24), surveyed, settings)


@pytest.mark.parametrize("kind", ["llama", "gemma2", "own head", "weights", "checkpointing"])
def test_gradients_are_those_of_the_whole_matrix(kind: str) -> None:
    tied = kind != "own head"
    family = "gemma2" if kind == "gemma2" else "llama"
    made = warm_up(
        family,
        tied=tied,
        weights=kind == "weights",
        checkpointing=kind == "checkpointing",
        anchor_weight=0.0,
    )
    before = made.rows.detach().clone()
    made.step(0)
    model = make_model(family, tied=tied)
    model.requires_grad_(False)
    matrix = model.get_input_embeddings().weight.requires_grad_()
    total, tokens = torch.zeros(()), 0
    for row in rows(6):
        logits = model(input_ids=torch.tensor([row.ids])).logits[0, row.start - 1 : -1]
        labels = torch.tensor(row.ids[row.start :])
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        tokens += len(labels)
    (total / tokens * (2.0 if kind == "weights" else 1.0)).backward()
    assert matrix.grad is not None
    expected = matrix.grad[list(OWN)]
    # What is left after clipping to the norm of one.
    expected = expected / max(1.0, float(expected.norm()))
    assert made.rows.grad is not None
    torch.testing.assert_close(made.rows.grad, expected, rtol=1e-3, atol=1e-5)
    moved = (made.rows.detach() - before).abs()
    assert float(moved[expected.abs() > 1e-4].min()) > 0.9 * made.rate


def test_everyday_answers_pull_at_a_tied_head() -> None:
    away = {}
    for weight in (0.0, 200.0):
        made = warm_up(anchor_weight=weight)
        made.run(lambda said: None, lambda: False)
        trained, divergence = made.trainee, 0.0
        for hidden in made.everyday.hidden:
            divergence += float(
                head_divergence(hidden, hidden, trained.head, None, trained.base_head).sum()
            )
        away[weight] = divergence
    assert 0 < away[200.0] < away[0.0] / 2


@pytest.mark.parametrize("lasts", [1, 0])
def test_a_step_that_does_not_fit_takes_fewer_rows_at_a_time(
    monkeypatch: pytest.MonkeyPatch, lasts: int
) -> None:
    whole = warm_up()
    loss = whole.step(0)
    scarce = warm_up()
    hidden_from = Trainee.hidden_from
    seen: list[int] = []

    def short_of_memory(self: Trainee, pack: Any, embedded: torch.Tensor) -> torch.Tensor:
        seen.append(len(pack.rows))
        hidden = hidden_from(self, pack, embedded)
        # Of two rows for the second time: something of the step is there already.
        if len(pack.rows) > lasts and seen.count(len(pack.rows)) > (len(pack.rows) == 2):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden

    monkeypatch.setattr(Trainee, "hidden_from", short_of_memory)
    if not lasts:
        with pytest.raises(OutOfMemory, match=r"warm-up, step 1: .* one row at a time"):
            scarce.step(0)
        return
    assert scarce.step(0) == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(scarce.rows, whole.rows, rtol=1e-4, atol=1e-6)
    assert seen == [5, 2, 2, 1, 1, 1, 1, 1, 1]
    said: list[str] = []
    scarce.run(said.append, lambda: False)
    assert said[0].startswith("embedding warm-up: 1 row at a time: the memory did not last for 2")
    assert len(said) == 7


def test_rows_of_another_base_are_not_put_in() -> None:
    with pytest.raises(TrainingError, match="--fresh"):
        warm_up().trainee.put_rows(torch.zeros(3, 32))


def test_a_loss_that_is_no_number_ends_it() -> None:
    made = warm_up()
    with torch.no_grad():
        made.rows[3, 3] = float("nan")
    with pytest.raises(TrainingError, match="embed_warmup_steps to 0"):
        made.run(lambda said: None, lambda: False)
