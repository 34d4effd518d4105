"""What trains in several steps is killed at 50 random moments: phases, adapters, saves, purges.

Half of the moments are by the clock, half right before one of the run's operations on files.
Whatever was going on, the store opens, and going on (or running it again where there is nothing
to go on with) ends in the bytes of a run that nobody killed. So do the 50 of plain training
(`test_train_kill.py`), which makes 100.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.crash.checks import (
    DLM_ID,
    adapters,
    all_bytes,
    interrupted,
    require_settled,
    require_whole,
)
from tests.crash.forks import Ended, Forks, Order, forks
from tests.tiny import FACTS, document_text, write_base
from tests.training.named import HARBOUR, KITCHEN, named_text

from dlm_engine.data.token_cache import TokenCache
from dlm_engine.inference.gate import WEIGHTS_NAME, read_gate
from dlm_engine.store import Store, prune_saved, token_cache_path
from dlm_engine.store.layout import checkpoint_path, gate_path
from dlm_engine.training.checkpoint import STATE_NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SHORT = "training:\n  num_epochs: 2\n"
PREFERENCES = SHORT + (
    "  preference:\n    hyperparams:\n      num_epochs: 2\n      learning_rate: 0.01\n"
)
PAIRS = "\n::preference::\n### Prompt\nHow is it?\n### Chosen\nCalm.\n### Rejected\nSo so.\n"
QUICK = "training:\n  learning_rate: 0.02\n"
LATER = (("Who paints the door?", "Per does."), ("Who mends the net?", "Ida does."))
GATE = "  num_epochs: 2\n  gate:\n    enabled: true\n    cold_start_floor: 2\n"
GONE = ("Who winds the clock?", "Udo winds it.")


@dataclass(frozen=True)
class Scene:
    """A home as it is before the run, and the run: `last` as it is done from there."""

    home: Path
    last: Order
    seconds: float
    operations: int
    whole: Path

    def moments(self, count: int, seed: int) -> list[Order | float]:
        """An order that kills itself, or the seconds to a kill, by turns; none of the run's parts
        is left out."""
        chance = random.Random(seed)
        shares = [(n + chance.random()) / count for n in range(count)]
        return [
            replace(self.last, dies_at=1 + int(share * self.operations))
            if n % 2
            else share * self.seconds
            for n, share in enumerate(shares)
        ]


@dataclass(frozen=True)
class Scenes:
    forks: Forks
    folder: Path
    base: str

    def scene(
        self,
        texts: list[str],
        *orders: Order,
        traces: Callable[[Path], None] = lambda home: None,
    ) -> Scene:
        """Each order is over its text; the last is the run, done once whole. `traces` leaves in
        the home what is there before it."""
        document, home = self.folder / "facts.dlm", self.folder / "before"
        home.mkdir()
        for text, order in zip(texts[:-1], orders[:-1], strict=True):
            document.write_text(text)
            assert self.forks.run(self._over(order, home)).error == ""
        document.write_text(texts[-1])
        traces(home)
        whole = self.folder / "whole"
        shutil.copytree(home, whole)
        began = time.monotonic()
        ended = self.forks.run(self._over(orders[-1], whole))
        assert ended.error == ""
        seconds = time.monotonic() - began
        return Scene(home, self._over(orders[-1], home), seconds, ended.operations, whole)

    def _over(self, order: Order, home: Path) -> Order:
        return replace(order, document=str(self.folder / "facts.dlm"), home=str(home))

    def killed(self, scene: Scene, moment: Order | float, home: Path) -> Ended:
        """A copy of the home as it was, at `home`, after a run that was killed at `moment`."""
        shutil.copytree(scene.home, home)
        order = moment if isinstance(moment, Order) else scene.last
        seconds = None if isinstance(moment, Order) else moment
        return self.forks.run(replace(order, home=str(home)), seconds)

    def go_on(self, scene: Scene, home: Path) -> Ended:
        """`--resume` where there is a run to resume, else the same run again."""
        order = replace(scene.last, home=str(home))
        resumed = self.forks.run(replace(order, start="resume"))
        if not resumed.error:
            return resumed
        assert "there is no run to go on with" in resumed.error
        return self.forks.run(order)


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Scenes]:
    with forks() as started:
        yield Scenes(started, tmp_path, str(write_base(tmp_path / "base")))


def order(start: str = "auto", job: str = "train", keep_saved: int | None = None) -> Order:
    return Order("", "", job, start, keep_saved)


# --- what holds after a kill, and after going on -----------------------------------------------


def current_bytes(home: Path) -> dict[str | None, str | None]:
    store = Store(home, DLM_ID)
    current = {adapter: store.current(adapter) for adapter in adapters(store)}
    return {a: v.adapter_sha256() for a, v in current.items() if v}


def gate_bytes(home: Path) -> list[str]:
    """Hashes of the gate's files, [] where there is none."""
    folder = gate_path(Store(home, DLM_ID).root)
    return [hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*"))]


def require_gate_of_current(home: Path, *, wanted: bool) -> bytes:
    """The weights of the gate, which is of the current versions; b"" where there is none."""
    store = Store(home, DLM_ID)
    current = {name: store.current(name) for name in store.adapters()}
    gate = read_gate(gate_path(store.root))
    if gate is None:
        assert not wanted
        return b""
    numbers = {name: version.number for name, version in current.items() if version}
    assert gate.config.adapter_versions == numbers
    return (gate_path(store.root) / WEIGHTS_NAME).read_bytes()


def holding(home: Path, texts: tuple[str, ...]) -> list[Path]:
    files = [path for path in home.rglob("*") if path.is_file()]
    return [p for p in files if any(text.encode() in p.read_bytes() for text in texts)]


# --- the runs ----------------------------------------------------------------------------------


def test_questions_then_preferences(scenes: Scenes, tmp_path: Path) -> None:
    text = document_text(scenes.base, extra=PREFERENCES) + PAIRS
    scene = scenes.scene([text], order())
    assert len(all_bytes(scene.whole)) == 2
    seen = 0
    for number, moment in enumerate(scene.moments(13, 20260104)):
        home = tmp_path / f"home-{number}"
        scenes.killed(scene, moment, home)
        require_whole(home)
        seen += interrupted(home)
        assert scenes.go_on(scene, home).error == ""
        assert all_bytes(home) == all_bytes(scene.whole)
        assert interrupted(home) <= 1
        require_settled(home)
    assert seen >= 1


def test_two_adapters_and_their_gate(scenes: Scenes, tmp_path: Path) -> None:
    scene = scenes.scene([named_text(scenes.base, settings=GATE)], order())
    assert len(all_bytes(scene.whole)) == 2
    assert len(gate_bytes(scene.whole)) == 2
    seen = 0
    for number, moment in enumerate(scene.moments(13, 20260105)):
        home = tmp_path / f"home-{number}"
        scenes.killed(scene, moment, home)
        require_whole(home)
        seen += interrupted(home)
        assert scenes.go_on(scene, home).error == ""
        assert all_bytes(home) == all_bytes(scene.whole)
        assert gate_bytes(home) == gate_bytes(scene.whole)
        require_settled(home)
    assert seen >= 1


def test_an_addition_that_a_save_makes(scenes: Scenes, tmp_path: Path) -> None:
    texts = [document_text(scenes.base, (*FACTS, *LATER[:n]), QUICK) for n in (0, 1, 2)]
    orders = [order(keep_saved=0), *[order("further", keep_saved=n) for n in (0, 1)]]
    scene = scenes.scene(texts, *orders)
    assert [number for _, number in all_bytes(scene.whole)] == [3]
    for number, moment in enumerate(scene.moments(12, 20260106)):
        home = tmp_path / f"home-{number}"
        scenes.killed(scene, moment, home)
        require_whole(home)
        assert scenes.forks.run(replace(scene.last, home=str(home))).error == ""
        assert current_bytes(home) == current_bytes(scene.whole)
        require_settled(home)
        # A kill after the commit leaves them to the next save.
        prune_saved(Store(home, DLM_ID), 1)
        assert all_bytes(home) == all_bytes(scene.whole)


TEXTS = {
    "plain": lambda base, gone: document_text(base, (*FACTS, *gone), SHORT),
    "adapters": lambda base, gone: named_text(base, HARBOUR, (*KITCHEN, *gone), settings=GATE),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_purge(scenes: Scenes, tmp_path: Path, kind: str) -> None:
    """Once it was run again nothing is left of what was removed, wherever it had come to."""
    with_it, without = TEXTS[kind](scenes.base, (GONE,)), TEXTS[kind](scenes.base, ())
    orders = order(), order("fresh"), order(job="purge")
    scene = scenes.scene([with_it, with_it, without], *orders, traces=leave_traces)
    assert holding(scene.home, GONE)
    assert holding(scene.whole, GONE) == []
    for number, moment in enumerate(scene.moments(6, 20260107)):
        home = tmp_path / f"home-{number}"
        scenes.killed(scene, moment, home)
        require_whole(home)
        interrupted(home)
        assert scenes.forks.run(replace(scene.last, home=str(home))).error == ""
        assert holding(home, GONE) == []
        assert TokenCache(token_cache_path(home)).facts().texts == 0
        assert not list(Store(home, DLM_ID).root.glob("exports/*"))
        assert current_bytes(home) == current_bytes(scene.whole)
        require_settled(home)
        # A gate of earlier versions is gone with them, and training makes it again.
        gated = kind == "adapters"
        require_gate_of_current(home, wanted=False)
        assert scenes.forks.run(replace(scene.last, job="train", home=str(home))).error == ""
        assert current_bytes(home) == current_bytes(scene.whole)
        gates = [require_gate_of_current(at, wanted=gated) for at in (home, scene.whole)]
        assert gates[0] == gates[1]


def leave_traces(home: Path) -> None:
    """An export, and the state of a run that was stopped."""
    store = Store(home, DLM_ID)
    for name in ("Q4_0", "Q8_0"):
        export = store.root / "exports" / name
        export.mkdir(parents=True)
        (export / "export_manifest.json").write_text(f'{{"adapter_version": 1, "a": "{GONE[1]}"}}')
        (export / "model.gguf").write_bytes(b"0" * 1000)
    for adapter in adapters(store):
        current = store.current(adapter)
        if current is not None:
            folder = checkpoint_path(store.root, adapter)
            folder.mkdir()
            shutil.copy(current.path / STATE_NAME, folder)
