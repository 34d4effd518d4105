"""One of several named adapters, and a mix of them, exported and checked as any adapter is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import export_parts as parts
import pytest
from tests.export.published import verified
from tests.server.engine.editor import Editor
from tests.training.named import DLM_ID, named_text
from tests.training.sessions import small_and_polite

from dlm_engine.errors import ExportError, UsageError
from dlm_engine.export import Quant
from dlm_engine.jobs import ExportJob, ExportOptions, Mix, TrainRequest, export, train
from dlm_engine.store import Store, read_metrics

if TYPE_CHECKING:
    from dlm_engine.bases import Weights

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def folder(base_weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A document with two adapters, trained for two steps on a random base, and its home."""
    made = tmp_path_factory.mktemp("named")
    base = parts.llama(made / "base", vocabulary=49152)
    parts.with_tokenizer(base, base_weights.path)
    (made / "facts.dlm").write_text(named_text(base))
    with pytest.MonkeyPatch.context() as patch:
        small_and_polite(patch)
        train(TrainRequest(made / "facts.dlm", made / "home"))
    return made


def test_one_adapter_and_a_mix_are_exported_and_checked(folder: Path) -> None:
    job = ExportJob(folder / "facts.dlm", folder / "home", ExportOptions(quant=Quant.F16))
    with pytest.raises(UsageError, match="has the adapters harbour, kitchen"):
        export(job)
    one = export(ExportJob(job.path, job.home, job.options, adapter="kitchen"))
    mix = Mix.read("harbour=0.7,kitchen=0.3")
    both = export(ExportJob(job.path, job.home, job.options, mix=mix))
    merged = ExportOptions(quant=Quant.F16, merged=True)
    whole = export(ExportJob(job.path, job.home, merged, mix=mix))
    names = [made.folder.name for made in (one, both, whole)]
    label = "mix-harbour-0.7-kitchen-0.3"
    assert names == ["F16-kitchen", f"F16-{label}", f"F16-merged-{label}"]
    for made in (one, both, whole):
        assert all(c.passed for c in made.checks), made.checks
        verified(made.folder)
    compared = {c.name: c.measured for c in both.checks}["adapter adds what PEFT adds"]
    assert compared is not None
    assert compared < 1e-3
    assert (one.manifest.adapter_version, both.manifest.adapter_version) == (1, None)
    recorded = read_metrics(Store(job.home, DLM_ID).root).exports
    assert [(row.adapter, row.adapter_version) for row in recorded[:2]] == [
        ("kitchen", 1),
        (None, None),
    ]
    assert recorded[1].mix == "harbour version 1 x 0.7, kitchen version 1 x 0.3"
    report = json.loads((both.folder / "export_report.json").read_text())
    assert report["adapters"] == ["harbour version 1 x 0.7", "kitchen version 1 x 0.3"]


def test_an_editor_exports_a_mix_to_its_end(folder: Path) -> None:
    with Editor(folder / "home") as editor:
        uri = editor.open(folder / "facts.dlm")
        chosen = {"target": "gguf", "quant": "F16", "mix": "harbour=0.5,kitchen=0.5"}
        reply = editor.command("dlm.export", uri=uri, **chosen)
        said = {s["job"]["message"] for s in editor.told("dlm/status") if s["job"]}
    made = Path(reply["folder"])
    assert made.name == "F16-mix-harbour-0.5-kitchen-0.5"
    verified(made)
    assert reply["files"]
    assert all(Path(file).stat().st_size > 0 for file in reply["files"])
    assert isinstance(reply["answer"], str)
    report = json.loads((made / "export_report.json").read_text())
    assert report["adapters"] == ["harbour version 1 x 0.5", "kitchen version 1 x 0.5"]
    assert len(said) > 2, said


def test_an_adapter_without_a_version_is_not_exported(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="adapter kitchen: has not been trained yet"):
        export(ExportJob(folder / "facts.dlm", tmp_path, ExportOptions(), adapter="kitchen"))
