"""Several processes take the steps of one: the same figures, one writer, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.tiny import document_text
from tests.training.crowd import Crowd, Order, Told, crowd
from tests.training.named import named_text
from tests.training.test_preferences import body

FACTS = tuple((f"What stands at berth {n} of the pier?", f"Crane {n * 37 % 91}.") for n in range(9))
#: Packs of two rows; two of the five in each step.
SOME = "  precision: fp32\n  num_epochs: 1\n  micro_batch_size: 2\n  grad_accum: 2\n"
#: All in every step, some of what goes in dropped.
EVERY = (
    "  precision: fp32\n  num_epochs: 3\n  micro_batch_size: 2\n  grad_accum: 5\n"
    "  lora_dropout: 0.2\n"
)
PREFERENCES = (
    ("How is the sea?", "Calm.", "It is said to be calm."),
    ("Is it late?", "Yes.", "It may well be so."),
    ("Who knows the tide?", "Ana does.", "Nobody could really say."),
)
WISHES = "  preference:\n    hyperparams:\n      num_epochs: 3\n      learning_rate: 0.01\n"
ORPO = WISHES.replace("preference:\n", "preference:\n    method: orpo\n")
PROSE = "".join(f"::prose::\nBoat {n} lies at pier {n % 7}.\n\n" for n in range(30))

#: Some steps with one projector and some with the next.
GALORE = EVERY.replace("num_epochs: 3", "num_epochs: 10") + "  optimizer: galore_adamw\n"

KINDS = ("some", "dropout", "dora", "qlora", "galore", "dpo", "orpo", "named", "held out")


@pytest.fixture(scope="module")
def processes() -> Iterator[Crowd]:
    with crowd() as started:
        yield started


@pytest.fixture
def order(tiny_base: Path, tmp_path: Path) -> Order:
    return written(tiny_base, tmp_path, "some")


def written(base: Path, folder: Path, kind: str) -> Order:
    """Two processes over a document of this kind; the text comes from the table below."""
    texts = {
        "some": document_text(str(base), FACTS, f"training:\n{SOME}"),
        "dropout": document_text(str(base), FACTS, f"training:\n{EVERY}"),
        "qlora": document_text(str(base), FACTS, f"training:\n{SOME}  adapter: qlora\n"),
        "galore": document_text(str(base), FACTS, f"training:\n{GALORE}"),
        "dora": document_text(str(base), FACTS, f"training:\n{SOME}  adapter: dora\n"),
        "dpo": document_text(str(base), FACTS[:4], f"training:\n{SOME}{WISHES}")
        + body(PREFERENCES),
        "orpo": document_text(str(base), FACTS[:4], f"training:\n{SOME}{ORPO}") + body(PREFERENCES),
        "named": named_text(base, settings=f"{SOME}  gate:\n    enabled: true\n"),
        "held out": document_text(str(base), FACTS[:2], f"training:\n{EVERY}") + "\n" + PROSE,
    }
    path = folder / "facts.dlm"
    path.write_text(texts[kind])
    return Order((str(path),), str(folder / "home"), 2)


def alone(order: Order) -> Order:
    return replace(order, world=1, home=f"{order.home}-alone")


def led(crowd: Crowd, order: Order) -> Told:
    """What the first process told of a run that went well in all of them."""
    told = [each for each in crowd.run(order) if each is not None]
    assert [each.error for each in told] == [""] * order.world
    return told[0]


def require_alike(one: Told, other: Told) -> None:
    assert one.losses == pytest.approx(other.losses, rel=1e-5)
    assert one.divergences == pytest.approx(other.divergences, rel=1e-3, abs=1e-6)
    assert (one.ending, one.steps, one.learned) == (other.ending, other.steps, other.learned)
    for found, expected in ((one.held_out, other.held_out), (one.margin, other.margin)):
        assert (found is None) == (expected is None)
        assert (found or 0.0) == pytest.approx(expected or 0.0, rel=1e-3)
    if one.path:
        first, second = (
            load_file(Path(told.path) / "adapter_model.safetensors") for told in (one, other)
        )
        for name, tensor in first.items():
            away = (tensor - second[name]).abs().max() / second[name].abs().max().clamp_min(1e-6)
            assert away < 1e-2, name


def require_same_end(one: Told, other: Told) -> None:
    taken = {name: getattr(other, name) for name in ("losses", "divergences", "steps")}
    require_alike(replace(one, **taken), other)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_take_the_steps_of_one(
    processes: Crowd, tiny_base: Path, tmp_path: Path, kind: str
) -> None:
    order = written(tiny_base, tmp_path, kind)
    if kind == "held out":
        order = replace(order, early_stop=1)
    one = led(processes, alone(order))
    assert len(one.losses) >= 2
    require_alike(led(processes, order), one)


def test_more_processes_than_there_is_work_for(processes: Crowd, order: Order) -> None:
    require_alike(led(processes, replace(order, world=4)), led(processes, alone(order)))


def test_as_many_processes_make_the_same_bytes(processes: Crowd, order: Order) -> None:
    homes = [f"{order.home}-{number}" for number in (1, 2)]
    told = [led(processes, replace(order, world=3, home=home)) for home in homes]
    first, second = ((Path(t.path) / "adapter_model.safetensors").read_bytes() for t in told)
    assert first == second


def test_the_first_decides_when_it_is_enough(processes: Crowd, order: Order) -> None:
    for told in processes.run(replace(order, time_limit=1e-6)):
        assert told is not None
        assert (told.ending, told.steps) == ("trained", 1)


def test_nothing_new_is_found_by_all(processes: Crowd, order: Order) -> None:
    led(processes, alone(order))
    for told in processes.run(replace(order, home=alone(order).home)):
        assert told is not None
        assert (told.ending, told.error) == ("unchanged", "")


def test_only_the_first_writes(processes: Crowd, order: Order) -> None:
    first, second = processes.run(order)
    assert first is not None
    assert second is not None
    # What it finds out about the base may go into the cache of its machine.
    assert [path for path in second.wrote if path.startswith("/store")] == []
    assert [path for path in first.wrote if path.startswith("/store")]
    assert list(second.losses) == []
    assert second.ending == "trained"


@pytest.mark.parametrize(
    ("kind", "worlds"),
    [
        ("dropout", (2, 1)),
        ("dropout", (1, 2)),
        ("dropout", (2, 3)),
        ("galore", (2, 1)),
        ("dpo", (2, 1)),
    ],
    ids=str,
)
def test_a_run_goes_on_with_another_number_of_processes(
    processes: Crowd, tiny_base: Path, tmp_path: Path, kind: str, worlds: tuple[int, int]
) -> None:
    order = written(tiny_base, tmp_path, kind)
    whole = led(processes, alone(order))
    stops = len(whole.losses) - 2
    begun = led(processes, replace(order, world=worlds[0], stops=stops))
    assert begun.ending == "cancelled"
    ended = led(processes, replace(order, world=worlds[1], start="resume"))
    assert begun.losses + ended.losses == pytest.approx(whole.losses, rel=1e-5)
    require_same_end(ended, whole)


@pytest.mark.parametrize("kind", ["some", "dpo"])
def test_only_the_first_has_the_store(
    processes: Crowd, tiny_base: Path, tmp_path: Path, kind: str
) -> None:
    order = written(tiny_base, tmp_path, kind)
    apart = replace(order, elsewhere=str(tmp_path / "elsewhere"))
    whole = led(processes, replace(alone(order), seed=7))
    begun = led(processes, replace(apart, seed=7, stops=1))
    # It knows with which seed that run was begun.
    ended = led(processes, replace(apart, start="resume"))
    assert begun.losses + ended.losses == pytest.approx(whole.losses, rel=1e-5)
    assert not (tmp_path / "elsewhere" / "store").exists()


@pytest.mark.parametrize("dies", [0, 1])
def test_one_that_dies_ends_the_others_and_the_run_goes_on(
    processes: Crowd, tiny_base: Path, tmp_path: Path, dies: int
) -> None:
    order = written(tiny_base, tmp_path, "dropout")
    whole = led(processes, alone(order))
    # In the second step. A state is kept without being due only by a first that finds out.
    told = processes.run(replace(order, dies=(dies, 5), keeps=dies == 0))
    other = told[1 - dies]
    assert told[dies] is None
    assert other is not None
    assert "ProcessLost" in other.error
    ended = led(processes, replace(order, world=1, start="resume"))
    assert ended.losses == pytest.approx(whole.losses[1:], rel=1e-5)
    require_same_end(ended, whole)


def test_memory_that_runs_out_in_one_halves_the_rows_in_all(
    processes: Crowd, tiny_base: Path, tmp_path: Path
) -> None:
    order = written(tiny_base, tmp_path, "dropout")
    text = Path(order.documents[0]).read_text()
    text = text.replace("micro_batch_size: 2", "micro_batch_size: 4").replace("0.2", "0.0")
    Path(order.documents[0]).write_text(text)
    scarce = led(processes, replace(order, scarce=1))
    assert "micro_batch" in scarce.choices
    require_alike(scarce, led(processes, alone(order)))


def test_what_is_not_the_same_run_is_refused(
    processes: Crowd, order: Order, tmp_path: Path
) -> None:
    other = tmp_path / "other.dlm"
    other.write_text(Path(order.documents[0]).read_text().replace("Crane 37", "Crane 38"))
    told = processes.run(replace(order, documents=(*order.documents, str(other))))
    assert all(each is not None and "process 1 has another document" in each.error for each in told)
    assert not (Path(order.home) / "store").exists()
