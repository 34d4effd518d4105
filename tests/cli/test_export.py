"""`dlm export`: what it asks of the job and what it prints. For real it is tested elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dlm_engine.cli.entry import main
from dlm_engine.errors import ExportError
from dlm_engine.export import (
    Check,
    ExportManifest,
    ExportPlan,
    ExportResult,
    Form,
    Quant,
    Target,
)
from dlm_engine.export.model import Artifact
from dlm_engine.jobs import ExportJob, ExportOptions

RESULT = ExportResult(
    folder=Path("/s/exports/Q4_K_M"),
    base_gguf=Path("/s/exports/Q4_K_M/base.Q4_K_M.gguf"),
    adapter_gguf=Path("/s/exports/Q4_K_M/adapter.gguf"),
    modelfile=None,
    manifest=ExportManifest(
        target="gguf",
        quant="Q4_K_M",
        merged=False,
        dequantized=False,
        ollama_name=None,
        created_at="2026-01-02T03:04:05",
        created_by="dlm-0.1.0",
        llama_cpp_tag=None,
        base_model_hf_id="org/name",
        base_model_revision="0" * 40,
        adapter_version=1,
        artifacts=(Artifact(path="base.Q4_K_M.gguf", sha256="a" * 64, size_bytes=3 * 2**20),),
    ),
    plan=ExportPlan(Quant.Q4_K_M, Target.GGUF, Form.ADAPTER, None, (), (), 0),
    checks=(Check("same tokens", True, "12 texts"), Check("same loss", None, "too large here")),
    answer=" Kelmouth.\n",
    seconds={"converting": 1.5, "asking": 2.0},
)


@dataclass
class Job:
    error: ExportError | None = None
    jobs: list[ExportJob] = field(default_factory=list)

    def __call__(self, job: ExportJob, report: Callable[[str], None]) -> ExportResult:
        self.jobs.append(job)
        report("LoRA: native")
        if self.error is not None:
            raise self.error
        return RESULT


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    job = Job()
    monkeypatch.setattr("dlm_engine.cli.commands.export.export", job)
    return job


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ExportOptions()),
        (["--quant", "Q8_0"], ExportOptions(quant=Quant.Q8_0)),
        (["--target", "ollama"], ExportOptions(target=Target.OLLAMA)),
        (["--merged"], ExportOptions(merged=True)),
        (["--merged", "--dequantize"], ExportOptions(merged=True, dequantize=True)),
        (["--out", "there"], ExportOptions(out=Path("there"))),
        (["--ask", "Who?"], ExportOptions(question="Who?")),
        (["--name", "notes"], ExportOptions(ollama_name="notes")),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_every_flag_reaches_the_job(
    job: Job, own_home: Path, flags: list[str], expected: ExportOptions
) -> None:
    assert main(["export", "a.dlm", *flags]) == 0
    assert job.jobs == [ExportJob(path=Path("a.dlm"), home=own_home, options=expected)]


def test_version_and_licence_reach_the_job(job: Job) -> None:
    assert main(["export", "a.dlm", "--version-number", "3", "--i-accept-license"]) == 0
    assert (job.jobs[0].version, job.jobs[0].accept_licence) == (3, True)


@pytest.mark.parametrize(
    "flags", [["--quant", "Q3_K"], ["--target", "vllm"], ["--version-number", "0"]], ids=" ".join
)
def test_flags_that_cannot_be_obeyed(job: Job, flags: list[str]) -> None:
    assert main(["export", "a.dlm", *flags]) == 2
    assert job.jobs == []


def test_files_go_to_stdout_and_the_rest_to_stderr(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", "a.dlm"])
    captured = capsys.readouterr()
    assert captured.out == "/s/exports/Q4_K_M/base.Q4_K_M.gguf  3.0 MiB\n"
    assert captured.err == (
        "LoRA: native\n"
        "not checked: same loss: too large here\n"
        "exported in 3.5 s, 1 checks passed\n"
        "llama.cpp answers: Kelmouth.\n"
    )


def test_json(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "a.dlm", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["base_gguf"] == "/s/exports/Q4_K_M/base.Q4_K_M.gguf"
    assert facts["modelfile"] is None
    assert facts["manifest"]["quant"] == "Q4_K_M"
    assert [c["name"] for c in facts["checks"]] == ["same tokens", "same loss"]
    assert facts["answer"] == " Kelmouth.\n"


def test_a_refusal_is_one_line(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.error = ExportError("DoRA", "cannot be carried", "use --merged")
    assert main(["-q", "export", "a.dlm"]) == 1
    assert capsys.readouterr().err == "error: DoRA: cannot be carried: use --merged\n"


def test_an_untrained_document_says_what_to_do(
    tmp_path: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real job."""
    path = tmp_path / "notes.dlm"
    assert main(["-q", "init", str(path)]) == 0
    assert main(["export", str(path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {path}: has not been trained yet: run `dlm train {path}` first\n"
    )
    assert not own_home.exists()
