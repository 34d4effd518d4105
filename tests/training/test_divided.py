"""A base in parts: the same bytes with half the memory, and none waits for another in vain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.tiny import document_text, make_model, write_base
from tests.training.crowd import Crowd, Order, Told, crowd
from tests.training.parts import WIRING, bytes_of, make_run
from tests.training.test_ranks import alone, led, require_alike, require_same_end, written
from torch.multiprocessing.reductions import StorageWeakRef

from dlm_engine.bases import stored_tensors
from dlm_engine.document.frontmatter import Gate, Training
from dlm_engine.errors import HardwareRefusal
from dlm_engine.hardware import Company, Hardware, approximate_shape, plan
from dlm_engine.training import ranks
from dlm_engine.training.divided import divide, divided_of
from dlm_engine.training.loss import head_loss
from dlm_engine.training.network import Wiring
from dlm_engine.training.support import require_room

#: More than two processes have work for in every step, and for each look.
UNEVEN = {"some": 3, "dpo": 3}
MIB = 2**20


@pytest.fixture(scope="module")
def processes() -> Iterator[Crowd]:
    with crowd() as started:
        yield started


def file_of(told: Told) -> bytes:
    return (Path(told.path) / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("kind", ["some", "dora", "dpo", "held out"])
def test_a_divided_base_trains_the_same_bytes(
    processes: Crowd, tiny_base: Path, tmp_path: Path, kind: str
) -> None:
    order = replace(written(tiny_base, tmp_path, kind), world=UNEVEN.get(kind, 2))
    if kind == "held out":
        order = replace(order, early_stop=1)
    whole = led(processes, order)
    parts = led(processes, replace(order, home=f"{order.home}-divided", shard=True))
    assert parts.losses == whole.losses
    assert file_of(parts) == file_of(whole)
    assert (whole.largest, bool(parts.largest)) == (0, True)
    if order.world == 2 and kind == "some":
        require_alike(parts, led(processes, alone(order)))


@pytest.mark.parametrize(("all_layers", "checkpointing"), [(True, False), (False, True)])
def test_it_does_so_on_all_layers_and_with_checkpointing(
    processes: Crowd, tiny_base: Path, tmp_path: Path, all_layers: bool, checkpointing: bool
) -> None:
    order = replace(
        written(tiny_base, tmp_path, "some"),
        max_steps=2,
        all_layers=all_layers,
        checkpointing=checkpointing,
    )
    parts = led(processes, replace(order, shard=True))
    require_alike(parts, led(processes, alone(order)))
    assert parts.largest


def test_each_process_keeps_its_part_and_one_layer(
    processes: Crowd, tiny_base: Path, tmp_path: Path
) -> None:
    order = written(tiny_base, tmp_path, "some")
    whole = led(processes, order).kept
    told = processes.run(replace(order, world=2, home=f"{order.home}-divided", shard=True))
    for each in told:
        assert each is not None
        assert each.kept <= 1.01 * whole / 2 + each.largest
        assert each.largest < whole / 5
    assert [path for path in told[1].wrote if path.startswith("/store")] == []  # type: ignore[union-attr]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_memory_of_a_process_falls_with_their_number(processes: Crowd, tmp_path: Path) -> None:
    """Of all that a run does, from the first byte of the base to the version."""
    base = write_base(tmp_path / "base", layers=12, width=640)
    size = sum(torch.Size(each.shape).numel() for each in stored_tensors(base).values()) * 4
    assert size > 160 * MIB
    path = tmp_path / "facts.dlm"
    path.write_text(document_text(str(base), extra="training:\n  precision: fp32\n"))
    losses = []
    for world in (2, 3):
        order = Order((str(path),), str(tmp_path / f"home-{world}"), world, max_steps=1, shard=True)
        for told in processes.run(order):
            assert told is not None
            assert told.error == ""
            # What it imports, and the activations of four layers.
            assert told.grew < size / world + told.largest + 150 * MIB
            losses.append(told.losses)
    assert losses[0] == losses[2]


@pytest.mark.parametrize("first", [True, False])
def test_a_run_goes_on_with_the_base_divided_or_whole(
    processes: Crowd, tiny_base: Path, tmp_path: Path, first: bool
) -> None:
    order = written(tiny_base, tmp_path, "dropout")
    whole = led(processes, alone(order))
    begun = led(processes, replace(order, stops=1, shard=first))
    rest = replace(order, start="resume", world=1 if first else 3, shard=None if first else True)
    ended = led(processes, rest)
    assert begun.losses + ended.losses == pytest.approx(whole.losses, rel=1e-5)
    require_same_end(ended, whole)


def test_one_that_dies_ends_the_others_in_the_middle_of_a_layer(
    processes: Crowd, tiny_base: Path, tmp_path: Path
) -> None:
    order = replace(written(tiny_base, tmp_path, "dropout"), shard=True)
    first, second = processes.run(replace(order, dies=(1, 5)))
    assert second is None
    assert first is not None
    assert "ProcessLost" in first.error
    ended = led(processes, replace(order, start="resume"))
    assert ended.ending == "trained"
    assert len(ended.losses) == 2


def test_memory_that_runs_out_in_one_ends_all(
    processes: Crowd, tiny_base: Path, tmp_path: Path
) -> None:
    order = written(tiny_base, tmp_path, "dropout")
    text = Path(order.documents[0]).read_text()
    Path(order.documents[0]).write_text(text.replace("batch_size: 2", "batch_size: 4"))
    first, second = processes.run(replace(order, scarce=1, shard=True))
    assert first is not None
    assert second is not None
    assert "ProcessLost" in first.error
    assert "the memory does not last; with a divided base" in second.error


def test_one_that_kept_the_survey_looks_again_with_the_others(
    processes: Crowd, tiny_base: Path, tmp_path: Path
) -> None:
    order = written(tiny_base, tmp_path, "some")
    whole = led(processes, order)
    elsewhere = str(tmp_path / "elsewhere")
    apart = replace(order, start="fresh", elsewhere=elsewhere, shard=True)
    assert file_of(led(processes, apart)) == file_of(whole)


def test_the_gate_asks_no_base_that_has_to_be_divided() -> None:
    """Process 0 alone asks it, and the others have the rest of each layer."""
    card = Hardware("cuda", "a GPU", 2**33, 2**36, 8, True, "has bfloat16", sm=(8, 9))
    shape = approximate_shape(8_000_000_000)
    gated = SimpleNamespace(training=SimpleNamespace(gate=Gate(enabled=True)))
    made = plan(card, shape, Training(), 128, company=Company(8, 8))
    assert made.parts == 8
    with pytest.raises(HardwareRefusal, match="asks the whole base"):
        require_room(made, cast(Any, gated))
    require_room(replace(made, fits_whole=True), cast(Any, gated))


# --- in one process, which has all parts ----------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wiring"),
    [
        ("llama", WIRING),
        ("llama", replace(WIRING, layers=None)),
        ("llama", replace(WIRING, kind="dora")),
        ("llama", replace(WIRING, checkpointing=True)),
        ("gemma2", WIRING),
        ("untied", replace(WIRING, layers=None)),
        ("bf16", WIRING),
    ],
    ids=["cut", "all layers", "dora", "checkpointing", "gemma2", "untied", "bf16 kernels"],
)
def test_what_is_gathered_computes_as_what_stays(kind: str, wiring: Wiring) -> None:
    def trained(*, divided: bool) -> bytes:
        base = make_model(kind if kind == "gemma2" else "llama")
        if kind == "untied":
            base.lm_head.weight = torch.nn.Parameter(base.lm_head.weight.detach() * 0.5)
        if kind == "bf16":
            base = base.to(torch.bfloat16)
        run = make_run(wiring, base=divide(base, {}, "cpu") if divided else base, cap=3)
        list(run.steps())
        return bytes_of(run)

    assert trained(divided=True) == trained(divided=False)


def test_layers_below_the_adapter_are_gathered_once_for_each_pack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = divide(make_model(), {}, "cpu")
    found = divided_of(base)
    assert found is not None
    counts: dict[int, int] = {}
    gather = ranks.gather

    def counted(part: torch.Tensor, whole: torch.Tensor) -> None:
        counts[part.data_ptr()] = counts.get(part.data_ptr(), 0) + 1
        gather(part, whole)

    monkeypatch.setattr(ranks, "gather", counted)
    run = make_run(base=base, cap=4)
    places = [unit.part.data_ptr() for unit in found._units]
    before = [counts[place] for place in places]
    list(run.steps())
    after = [counts[place] for place in places]
    embeddings, *layers = zip(before, after, strict=True)
    assert all(now == then for then, now in layers[: run.trainee.cut])
    assert all(now > then for then, now in (*layers[run.trainee.cut :], embeddings))


def test_a_weight_that_is_not_there_is_not_a_number() -> None:
    base = divide(make_model(), {}, "cpu")
    weight = base.model.layers[0].mlp.up_proj.weight
    assert weight.shape == make_model().model.layers[0].mlp.up_proj.weight.shape
    assert bool(weight.isnan().all())


@pytest.mark.parametrize(
    ("wiring", "dtype"),
    [
        (replace(WIRING, layers=None), torch.float32),
        (replace(WIRING, layers=None), torch.bfloat16),
        (replace(WIRING, layers=None, checkpointing=True), torch.float32),
    ],
    ids=["fp32", "bf16 kernels", "checkpointing"],
)
def test_one_layer_is_there_at_a_time(
    monkeypatch: pytest.MonkeyPatch, wiring: Wiring, dtype: torch.dtype
) -> None:
    """Also of what autograd keeps, on the way there and back."""
    run = make_run(wiring, base=divide(make_model().to(dtype), {}, "cpu"))
    gather, gathered, there = ranks.gather, [], []

    def counted(part: torch.Tensor, whole: torch.Tensor) -> None:
        gather(part, whole)
        gathered.append(StorageWeakRef(whole.untyped_storage()))
        there.append(sum(not each.expired() for each in gathered))

    monkeypatch.setattr(ranks, "gather", counted)
    laid = run.packs[0]
    hidden = run.trainee.hidden(laid.pack, laid.trunk)
    head_loss(hidden, run.trainee.head, laid.pack.labels).sum().backward()
    # Six layers, the head, and the layers again.
    assert there == [1] * 13
