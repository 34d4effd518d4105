"""The learned gate: what it learns from, what it weighs, and when it is not to be used."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.named import DLM_ID, HARBOUR, KITCHEN, named_text
from tests.training.sessions import small_and_polite

from dlm_engine.cli.entry import main
from dlm_engine.document import parse
from dlm_engine.document.frontmatter import Gate as Settings
from dlm_engine.errors import InferenceError, TrainingError, UsageError
from dlm_engine.inference.gate import Gate, GateConfig, read_gate
from dlm_engine.jobs import (
    Event,
    GateUse,
    PromptOutcome,
    PromptRequest,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
    prompt,
    train,
)
from dlm_engine.store import RunStatus, Store, read_metrics, read_run, rollback
from dlm_engine.store.layout import gate_path
from dlm_engine.training.gate import examples_of, fit

GATE = "  num_epochs: 2\n  gate:\n    enabled: true\n    cold_start_floor: 2\n"
LATER = ("Who paints the door?", "Bo does.")


@pytest.fixture(scope="module")
def gated(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document with two adapters and a trained gate, and its home."""
    folder = tmp_path_factory.mktemp("gated")
    (folder / "facts.dlm").write_text(named_text(tiny_base, settings=GATE))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        assert train(TrainRequest(folder / "facts.dlm", folder / "home")).gate == "trained"
    return folder


@pytest.fixture
def folder(small: None, gated: Path, tmp_path: Path) -> Path:
    shutil.copytree(gated, tmp_path / "own")
    return tmp_path / "own"


def store(folder: Path) -> Store:
    return Store(folder / "home", DLM_ID)


def gate_of(folder: Path) -> Path:
    return gate_path(store(folder).root)


def learn(folder: Path, start: Start = Start.AUTO) -> tuple[TrainOutcome, list[str]]:
    said: list[str] = []

    def tell(event: Event) -> None:
        if isinstance(event, Status):
            said.append(event.message)

    outcome = train(TrainRequest(folder / "facts.dlm", folder / "home", start=start), tell)
    return outcome, [message for message in said if message.startswith("gate")]


def ask(folder: Path, question: str, **wishes: Any) -> PromptOutcome:
    request = PromptRequest(folder / "facts.dlm", folder / "home", question, max_tokens=2)
    return prompt(replace(request, **wishes))


# --- what it learns ------------------------------------------------------------------------


def test_examples_are_what_teaches_one_adapter_alone() -> None:
    more = "\n::instruction::\n### Q\nUnrouted?\n### A\nYes.\n\n::prose#kitchen::\nSoup.\n"
    text = named_text("smollm2-135m", more=more)
    document, _ = parse(text.replace("---\n\n:", "---\n\nProse for all.\n\n:", 1))
    assert examples_of(document) == [
        *((question, "harbour") for question, _ in HARBOUR),
        *((question, "kitchen") for question, _ in KITCHEN),
        ("Unrouted?", "harbour"),
        ("Soup.", "kitchen"),
    ]


def clouds(sizes: tuple[int, ...], width: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Points about one centre for each adapter, far from 0 and of very different spread."""
    generator = torch.Generator().manual_seed(1)
    scale = torch.logspace(-3, 3, width, dtype=torch.float64)
    centres = torch.randn(len(sizes), width, generator=generator, dtype=torch.float64)
    points = torch.cat(
        [
            centre + 0.3 * torch.randn(n, width, generator=generator, dtype=torch.float64)
            for n, centre in zip(sizes, centres, strict=True)
        ]
    )
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return (points + 5) * scale, labels


def gate_with(tensors: dict[str, torch.Tensor], count: int) -> Gate:
    config = GateConfig(
        adapter_names=tuple("abc"[:count]),
        adapter_versions={},
        base_sha256="",
        entropy_lambda=0,
        fingerprint="",
        hidden_proj_dim=8,
        input_dim=24,
        mode="trained",
    )
    return Gate(config, tensors)


@pytest.mark.parametrize("sizes", [(5, 5), (40, 4), (6, 6, 6)])
def test_it_tells_apart_what_it_was_shown_and_what_is_like_it(sizes: tuple[int, ...]) -> None:
    known, labels = clouds(sizes)
    gate = gate_with(fit(known, labels, len(sizes), Settings(), 42), len(sizes))
    weights = gate.weights(known)
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(known), dtype=torch.float64))
    assert bool((weights[torch.arange(len(labels)), labels] > 0.5).all())


def test_the_same_seed_gives_the_same_bits_and_every_setting_counts() -> None:
    known, labels = clouds((5, 5))
    base = fit(known, labels, 2, Settings(), 42)
    assert all(torch.equal(base[n], t) for n, t in fit(known, labels, 2, Settings(), 42).items())
    for settings, seed in (
        (Settings(steps=199), 42),
        (Settings(lr=1e-3), 42),
        (Settings(entropy_lambda=0.5), 42),
        (Settings(), 43),
    ):
        other = fit(known, labels, 2, settings, seed)
        assert not torch.equal(base["0.weight"], other["0.weight"])
    assert fit(known, labels, 2, Settings(hidden_proj_dim=8), 42)["0.weight"].shape == (8, 24)


def test_numbers_that_are_not_finite_are_refused() -> None:
    known, labels = clouds((5, 5))
    with pytest.raises(TrainingError, match="not finite"):
        fit(known * torch.inf, labels, 2, Settings(), 42)


# --- from the document to the files --------------------------------------------------------


def test_the_gate_is_stored_in_its_form(folder: Path) -> None:
    config = json.loads((gate_of(folder) / "gate_config.json").read_text())
    assert config["mode"] == "trained"
    assert config["adapter_names"] == ["harbour", "kitchen"]
    assert config["adapter_versions"] == {"harbour": 1, "kitchen": 1}
    assert (config["input_dim"], config["hidden_proj_dim"]) == (32, 64)
    tensors = load_file(gate_of(folder) / "gate.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "0.weight": (64, 32),
        "0.bias": (64,),
        "2.weight": (2, 64),
        "2.bias": (2,),
    }


def test_it_is_trained_again_only_when_something_moved(folder: Path, tiny_base: Path) -> None:
    before = (gate_of(folder) / "gate.safetensors").read_bytes()
    outcome, said = learn(folder)
    assert (outcome.gate, said) == ("trained", [])
    outcome, said = learn(folder, Start.FRESH)
    assert said
    assert (gate_of(folder) / "gate.safetensors").read_bytes() == before
    (folder / "facts.dlm").write_text(named_text(tiny_base, (*HARBOUR, LATER), settings=GATE))
    _, said = learn(folder)
    assert said == [s for s in said if "of 5 examples go to their adapter" in s] != []
    config = json.loads((gate_of(folder) / "gate_config.json").read_text())
    assert config["adapter_versions"] == {"harbour": 3, "kitchen": 2}


def test_the_gate_is_a_run_in_the_metrics_with_what_it_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = store(folder).root
    figures = read_run(root)
    assert figures is not None
    assert (figures.run.status, figures.run.adapter_version) == (RunStatus.TRAINED, None)
    assert [phase.phase for phase in figures.phases] == ["prepare", "gate"]
    assert all(phase.seconds is not None for phase in figures.phases)
    (row,) = figures.evaluations
    assert (row.phase, row.step, row.learned, row.rows) == ("gate", Settings().steps, 4, 4)
    (choice,) = figures.choices
    assert (choice.name, choice.value) == ("gate", "trained")
    assert "4 of 4 examples go to their adapter, with a mean weight of" in choice.reason
    shown = ["--home", str(folder / "home"), "metrics", "show", str(folder / "facts.dlm")]
    assert main(shown) == 0
    assert re.search(r"^3 .* 4 of 4 .* gate trained$", capsys.readouterr().out, re.MULTILINE)
    assert main([*shown, "--run", "3"]) == 0
    assert "gate, after step" in capsys.readouterr().out
    # Nothing moved, so there is nothing to train and no run.
    learn(folder)
    assert len(read_metrics(root).runs) == 3


def test_a_gate_that_fails_is_a_failed_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the gate", "training ended in numbers that are not finite", "lower")

    monkeypatch.setattr("dlm_engine.training.gate.fit", fail)
    with pytest.raises(TrainingError):
        learn(folder, Start.FRESH)
    newest = read_metrics(store(folder).root).runs[-1]
    assert (newest.status, newest.error) == (RunStatus.FAILED, "TrainingError")
    shown = ["--home", str(folder / "home"), "metrics", "show", str(folder / "facts.dlm")]
    assert main(shown) == 0
    assert "gate failed: TrainingError" in capsys.readouterr().out


def test_too_few_examples_weigh_alike_and_say_so(folder: Path, tiny_base: Path) -> None:
    (folder / "facts.dlm").write_text(
        named_text(tiny_base, settings=GATE.replace("floor: 2", "floor: 3"))
    )
    outcome, said = learn(folder)
    assert outcome.gate == "uniform"
    why = "every adapter counts alike, harbour has 2 examples, fewer than the 3"
    assert why in said[0]
    figures = read_run(store(folder).root)
    assert figures is not None
    assert (figures.choices[0].value, figures.evaluations) == ("uniform", ())
    assert "fewer than the 3" in figures.choices[0].reason
    answered = ask(folder, "Who?")
    assert answered.gate == "uniform"
    assert [s.weight for s in answered.shares] == [0.5, 0.5]
    assert "every adapter counts alike" in answered.notes[0]


def test_an_adapter_without_a_version_leaves_no_gate(folder: Path, tiny_base: Path) -> None:
    three = "    harbour: {}\n    kitchen: {}\n    attic: {}\n"
    (folder / "facts.dlm").write_text(named_text(tiny_base, settings=GATE, adapters=three))
    outcome, said = learn(folder)
    assert (outcome.gate, said) == (None, ["gate: not trained, attic has no version"])


# --- asking --------------------------------------------------------------------------------


def test_each_question_goes_mostly_to_its_adapter(folder: Path) -> None:
    for name, facts in (("harbour", HARBOUR), ("kitchen", KITCHEN)):
        for question, _ in facts:
            outcome = ask(folder, question)
            assert outcome.gate == "trained"
            shares = {s.adapter: s.weight for s in outcome.shares}
            assert sum(shares.values()) == pytest.approx(1)
            assert shares[name] > 0.5
            assert (outcome.notes, outcome.version) == ((), None)


def test_it_can_be_left_out(folder: Path) -> None:
    assert ask(folder, "Who?", adapter="kitchen").gate is None
    with pytest.raises(UsageError, match="has the adapters harbour, kitchen"):
        ask(folder, "Who?", gate=GateUse.OFF)
    with pytest.raises(UsageError, match="chooses by itself"):
        ask(folder, "Who?", gate=GateUse.AUTO, adapter="kitchen")


def test_a_document_without_a_gate_has_none_to_ask(folder: Path, tiny_base: Path) -> None:
    (folder / "facts.dlm").write_text(named_text(tiny_base))
    with pytest.raises(UsageError, match="the document has no gate"):
        ask(folder, "Who?", gate=GateUse.AUTO)


def test_adapters_that_moved_leave_it_unused_until_it_is_trained(folder: Path) -> None:
    learn(folder, Start.FRESH)
    rollback(store(folder), 1, "kitchen")
    with pytest.raises(InferenceError, match=r"harbour 2, kitchen 2, and current are .*kitchen 1"):
        ask(folder, "Who?")
    learn(folder)
    assert ask(folder, "Who?").gate == "trained"


@pytest.mark.parametrize("name", ["gate.safetensors", "gate_config.json"])
def test_half_a_gate_is_none_and_the_next_training_mends_it(folder: Path, name: str) -> None:
    damaged = gate_of(folder) / name
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InferenceError, match="the gate"):
        ask(folder, "Who?")
    learn(folder)
    assert read_gate(gate_of(folder)) is not None
    assert damaged.read_bytes() == whole


def test_the_command_line_says_who_was_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLM_HOME", str(folder / "home"))
    given = ["prompt", str(folder / "facts.dlm"), "Who?", "--max-tokens", "2"]
    assert main([*given, "--gate", "auto", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["gate"] == "trained"
    assert [a["adapter"] for a in facts["adapters"]] == ["harbour", "kitchen"]
    assert main(["-v", *given]) == 0
    assert "harbour version 1: 0." in capsys.readouterr().err
