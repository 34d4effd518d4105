"""GaLore against the same written out with plain singular value decompositions, and its state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.tiny import document_text
from tests.training.named import named_text
from tests.training.parts import WIRING, bytes_of, make_run
from tests.training.sessions import Place
from tests.training.test_preferences import body

from dlm_engine.hardware import GALORE_SHARE
from dlm_engine.jobs import Ending, Event, Progress, Start
from dlm_engine.training.checkpoint import read_state, write_state
from dlm_engine.training.galore import LASTS, projector_of, scale_of
from dlm_engine.training.optimisers import make_optimiser, moments
from dlm_engine.training.polite import one_thread

RATE = 0.01
SHAPES = {"tall": (40, 16), "wide": (8, 20), "square": (12, 12), "of one": (9, 1), "vector": (7,)}
Array = npt.NDArray[np.float64]
WIDE = replace(WIRING, rank=128)


def gradients(shape: tuple[int, ...], steps: int) -> Iterator[Array]:
    drawn = np.random.default_rng(1)
    yield from (drawn.normal(size=shape) for _ in range(steps))


def reference(shape: tuple[int, ...], steps: int) -> Array:
    """Where GaLore takes a matrix of zeros, or AdamW what is no matrix."""
    weight, first, second = np.zeros(shape), np.zeros(()), np.zeros(())
    projector = np.zeros((0, 0))
    for step, whole in enumerate(gradients(shape, steps)):
        tall = whole if len(shape) == 1 or shape[0] >= shape[1] else whole.T
        if len(shape) == 2:
            if step % LASTS == 0:
                top = np.linalg.svd(tall)[2][: max(1, tall.shape[1] // GALORE_SHARE)].T
                largest = np.abs(top).argmax(0)
                projector = top * np.sign(top[largest, range(top.shape[1])])
            tall = tall @ projector
        first, second = 0.9 * first + 0.1 * tall, 0.999 * second + 0.001 * tall**2
        move = first / (1 - 0.9 ** (step + 1))
        move /= np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8
        if len(shape) == 2:
            move = scale_of(torch.from_numpy(projector)) * move @ projector.T
        weight -= RATE * (move if move.shape == shape else move.T)
    return weight


def stepped(name: str, shape: tuple[int, ...], steps: int) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(shape))
    optimiser = make_optimiser(name, [parameter], RATE)
    for gradient in gradients(shape, steps):
        parameter.grad = torch.from_numpy(gradient).float()
        optimiser.step()
        optimiser.zero_grad()
    return parameter


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("steps", [1, LASTS, 2 * LASTS + 2])
def test_it_is_adamw_in_the_leading_directions(shape: tuple[int, ...], steps: int) -> None:
    found = stepped("galore_adamw", shape, steps).detach().numpy()
    np.testing.assert_allclose(found, reference(shape, steps), rtol=2e-3, atol=2e-6)


def test_its_moments_in_8_bits_go_the_same_way() -> None:
    pytest.importorskip("bitsandbytes")
    shape = (600, 16)
    rough, fine = (stepped(name, shape, 12) for name in ("galore_adamw_8bit", "galore_adamw"))
    assert not torch.equal(rough, fine)
    assert torch.cosine_similarity(rough.flatten(), fine.flatten(), 0) > 0.98


def test_a_projector_is_orthonormal() -> None:
    (gradient,) = gradients((300, 32), 1)
    found = projector_of(torch.from_numpy(gradient))
    torch.testing.assert_close(found.t() @ found, torch.eye(32 // GALORE_SHARE))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    found = []
    for threads in (1, 3):
        with one_thread():
            torch.set_num_threads(threads)
            found.append(stepped("galore_adamw", (300, 32), LASTS + 2))
    assert torch.equal(*found)


@pytest.mark.parametrize("shape", [(92, 76), (439, 92), (8, 20)], ids=str)
def test_what_has_no_gradient_stays_bit_for_bit(shape: tuple[int, int]) -> None:
    """As the columns must that an earlier version had."""
    drawn = torch.Generator().manual_seed(2)
    parameter = torch.nn.Parameter(torch.zeros(shape))
    optimiser = make_optimiser("galore_adamw", [parameter], RATE)
    open_ = torch.rand(shape[1], generator=drawn) < 0.5
    for _ in range(LASTS + 2):
        parameter.grad = torch.randn(shape, generator=drawn) * open_
        optimiser.step()
    assert torch.equal((parameter != 0).any(0), open_)


def test_where_nothing_is_heard_at_first_it_listens_again() -> None:
    parameter = torch.nn.Parameter(torch.zeros(20, 8))
    optimiser = make_optimiser("galore_adamw", [parameter], RATE)
    for gradient in (torch.zeros(20, 8), torch.ones(20, 8)):
        assert not parameter.any()
        parameter.grad = gradient
        optimiser.step()
    assert parameter.all()


@pytest.mark.parametrize(
    ("name", "kind", "stop"),
    [
        ("galore_adamw", "lora", 1),
        ("galore_adamw", "dora", LASTS),
        ("galore_adamw_8bit", "lora", LASTS - 1),
        ("galore_adamw_8bit", "dora", LASTS + 1),
    ],
)
def test_stopped_and_resumed_ends_in_the_same_bytes(
    name: str, kind: str, stop: int, tmp_path: Path
) -> None:
    # Wide enough that some moments are kept in 8 bits.
    wiring = replace(WIDE, kind=kind)
    straight = make_run(wiring, optimizer=name, cap=LASTS + 3)
    list(straight.steps())
    first = make_run(wiring, optimizer=name, cap=LASTS + 3)
    list(first.steps(until=stop))
    write_state(tmp_path, first.state("inputs"))
    del first
    second = make_run(wiring, optimizer=name, cap=LASTS + 3)
    state = read_state(tmp_path)
    assert state is not None
    second.resume(state)
    list(second.steps())
    assert bytes_of(second) == bytes_of(straight)


@pytest.mark.parametrize(
    ("name", "whole"), [("galore_adamw", "adamw_torch"), ("galore_adamw_8bit", "adamw_bnb_8bit")]
)
def test_its_moments_take_a_quarter(name: str, whole: str) -> None:
    assert bytes_of_moments(name) < 0.26 * bytes_of_moments(whole)


def bytes_of_moments(name: str) -> int:
    run = make_run(WIDE, optimizer=name)
    list(run.steps(until=1))
    kept = [moments(run.optimiser, parameter)[:2] for parameter in run.parameters.values()]
    return sum(m.numel() * m.element_size() for both in kept for m in both if m is not None)


PAIRS = (("How is the sea?", "Calm.", "It is said to be calm."), ("Late?", "Yes.", "Maybe so."))
#: sections beside the settings, and the steps after which a run stops
DOCUMENTS = {
    "questions": LASTS + 1,
    "preferences": 10 + LASTS + 1,
    "named": 10 + LASTS + 1,
}


def text_of(kind: str, base: Path) -> str:
    settings = "  optimizer: galore_adamw\n  num_epochs: 10\n"
    if kind == "named":
        return named_text(base, settings=settings)
    wishes = "  preference:\n    hyperparams: {num_epochs: 10}\n"
    extra = f"training:\n{settings}{wishes if kind == 'preferences' else ''}"
    text = document_text(str(base), extra=extra)
    return text + body(PAIRS) if kind == "preferences" else text


@pytest.mark.parametrize(("kind", "stops"), DOCUMENTS.items())
def test_a_document_asks_for_it_and_its_run_goes_on_where_it_stopped(
    kind: str, stops: int, fresh: Place, tiny_base: Path, tmp_path: Path
) -> None:
    fresh.document.write_text(text_of(kind, tiny_base))
    straight = replace(fresh, home=tmp_path / "straight").train()
    steps: list[Event] = []

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            steps.append(event)

    begun = fresh.train(tell=tell, cancelled=lambda: len(steps) == stops)
    assert begun.ending is Ending.CANCELLED
    ended = fresh.train(Start.RESUME)
    assert ended.ending is straight.ending is Ending.TRAINED
    ends = [
        [part.adapter_sha256 for part in each.parts] or [each.adapter_sha256]
        for each in (ended, straight)
    ]
    assert ends[0][-1] == ends[1][-1]
