"""Exports in the metrics: done or failed, and never in the export's way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlm_engine.errors import ExportError
from dlm_engine.export import ExportOptions
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


def test_an_export_is_recorded(tmp_path: Path) -> None:
    assert recorded(tmp_path, 3, OPTIONS, pytest.fail, lambda: DONE) is DONE
    (row,) = read_metrics(tmp_path).exports
    assert (row.status, row.target, row.quant, row.merged) == ("done", "ollama", "Q8_0", True)
    assert (row.adapter_version, row.size_bytes, row.checks_passed) == (3, 12, 1)
    assert row.seconds is not None


def test_a_failed_export_is_recorded_with_its_error(tmp_path: Path) -> None:
    def make() -> Any:
        raise ExportError("loss", "differs", "try another quantisation")

    with pytest.raises(ExportError):
        recorded(tmp_path, 3, OPTIONS, pytest.fail, make)
    (row,) = read_metrics(tmp_path).exports
    assert (row.status, row.error) == ("failed", "ExportError")
    assert row.message == "loss: differs: try another quantisation"


def test_an_export_does_not_need_its_record(tmp_path: Path) -> None:
    (tmp_path / "metrics.sqlite").mkdir()
    said: list[str] = []
    assert recorded(tmp_path, 3, OPTIONS, said.append, lambda: DONE) is DONE
    assert len(said) == 1
