"""What differs from `dlm.lock`, and a store that somebody else writes to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from tests.training.sessions import DLM_ID, Place

from dlm_engine.errors import (
    LockDrift,
    StoreError,
    StoreLocked,
)
from dlm_engine.jobs import (
    Start,
)
from dlm_engine.store import LockMode


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


def test_a_store_in_use_is_left_alone_before_anything_is_prepared(
    trained: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(trained.home), DLM_ID],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with monkeypatch.context() as patch:
            for work in ("dlm_engine.case.Case.weights", "dlm_engine.data.sources.expand"):
                patch.setattr(work, lambda *_: pytest.fail("worked before it said so"))
            with pytest.raises(StoreLocked, match=rf"process {holder.pid} \(exporting"):
                trained.train(Start.FRESH)
        holder.communicate("")
    assert trained.numbers() == [1]
