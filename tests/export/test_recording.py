"""Exports in the metrics: done or failed, and never in the export's way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlm_engine.errors import ExportError
from dlm_engine.export import ExportAdapter, ExportOptions
from dlm_engine.export.model import Target
from dlm_engine.export.recording import recorded
from dlm_engine.store import read_metrics

OPTIONS = ExportOptions(target=Target.OLLAMA, merged=True)
DONE: Any = SimpleNamespace(
    manifest=SimpleNamespace(
        quant="Q8_0", artifacts=[SimpleNamespace(size_bytes=5), SimpleNamespace(size_bytes=7)]
    ),
    checks=[SimpleNamespace(passed=True), SimpleNamespace(passed=None)],
)


ADAPTER = ExportAdapter(Path("adapter"), 3)


def test_an_export_says_which_adapter_or_mix_it_is_of(tmp_path: Path) -> None:
    one = ExportAdapter(Path("a"), 1, label="kitchen", made_of=("kitchen version 1",))
    parts = ("harbour version 2 x 0.7", "kitchen version 1 x 0.3")
    mix = ExportAdapter(Path("a"), None, label="mix-harbour-0.7-kitchen-0.3", made_of=parts)
    for adapter in (one, mix):
        recorded(tmp_path, adapter, OPTIONS, pytest.fail, lambda: DONE)
    first, second = read_metrics(tmp_path).exports
    assert (first.adapter, first.adapter_version, first.mix) == ("kitchen", 1, None)
    assert (second.adapter, second.adapter_version) == (None, None)
    assert second.mix == "harbour version 2 x 0.7, kitchen version 1 x 0.3"


def test_an_export_is_recorded(tmp_path: Path) -> None:
    assert recorded(tmp_path, ADAPTER, OPTIONS, pytest.fail, lambda: DONE) is DONE
    (row,) = read_metrics(tmp_path).exports
    assert (row.status, row.target, row.quant, row.merged) == ("done", "ollama", "Q8_0", True)
    assert (row.adapter_version, row.size_bytes, row.checks_passed) == (3, 12, 1)
    assert (row.adapter, row.mix) == (None, None)
    assert row.seconds is not None


def test_a_failed_export_is_recorded_with_its_error(tmp_path: Path) -> None:
    def make() -> Any:
        raise ExportError("loss", "differs", "try another quantisation")

    with pytest.raises(ExportError):
        recorded(tmp_path, ADAPTER, OPTIONS, pytest.fail, make)
    (row,) = read_metrics(tmp_path).exports
    assert (row.status, row.error) == ("failed", "ExportError")
    assert row.message == "loss: differs: try another quantisation"


def test_an_export_does_not_need_its_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.sqlite").mkdir()
    said: list[str] = []
    assert recorded(tmp_path, ADAPTER, OPTIONS, said.append, lambda: DONE) is DONE
    assert len(said) == 1
