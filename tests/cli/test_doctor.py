"""`dlm doctor`: the machine as it is, the plan for a document, and a refusal with its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dlm_engine.bases import REGISTRY
from dlm_engine.cli.entry import main
from dlm_engine.hardware import Hardware, detect_light

MACHINE = replace(
    detect_light(),
    device_name="A test machine",
    total_memory=8 * 2**30,
    ram=8 * 2**30,
    cores=2,
    bf16_native=False,
    bf16_reason="no such instructions",
)


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Hardware:
    monkeypatch.setattr("dlm_engine.cli.commands.doctor.detect", lambda: MACHINE)
    return MACHINE


@pytest.fixture
def path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "notes.dlm"
    assert main(["-q", "init", str(path)]) == 0
    capsys.readouterr()
    return path


def test_without_a_document_it_describes_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "A test machine" in said
    assert "8.0 GiB, 2 CPU cores" in said


def test_with_a_document_it_plans(
    path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(path)]) == 0
    said = capsys.readouterr().out
    assert "Base smollm2-135m" in said
    assert "Training would run like this (rows of up to 2048 tokens):" in said
    assert not own_home.exists()


def test_json(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["capabilities"]["cpu_cores"] == 2
    assert facts["base"]["name"] == "smollm2-135m"
    assert facts["plan"]["precision"] == "fp32"
    assert facts["plan_error"] is None


def test_a_refusal_has_its_reason_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    largest = max(
        (s for s in REGISTRY.values() if not s.requires_acceptance), key=lambda s: s.params
    )
    path = tmp_path / "large.dlm"
    assert main(["-q", "init", str(path), "--base", largest.key]) == 0
    assert main(["doctor", str(path)]) == 1
    assert "Training cannot run here: " in capsys.readouterr().out
    assert main(["doctor", str(path), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["plan"] is None
    assert facts["plan_error"]


def test_looking_at_a_gated_base_needs_no_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gated = min((s for s in REGISTRY.values() if s.requires_acceptance), key=lambda s: s.params)
    path = tmp_path / "gated.dlm"
    assert main(["-q", "init", str(path), "--base", gated.key, "--i-accept-license"]) == 0
    assert main(["--home", str(tmp_path / "other"), "doctor", str(path)]) in (0, 1)
    assert f"Base {gated.key}" in capsys.readouterr().out


def test_a_missing_document_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> Hardware:
        raise AssertionError("measured")

    monkeypatch.setattr("dlm_engine.cli.commands.doctor.detect", refuse)
    assert main(["doctor", str(tmp_path / "gone.dlm")]) == 1
    assert "does not exist" in capsys.readouterr().err
