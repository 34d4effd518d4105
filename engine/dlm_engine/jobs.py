"""The jobs both fronts run: what is asked, what is said meanwhile, how it ends.

Importing this costs no torch: the types are plain, and each job loads what it needs when
it runs. A job has progress, can be cancelled, is bounded, and ends in an outcome or in
one `DlmError` that says what is wrong and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.errors import ExportError
from dlm_engine.export import ExportAdapter, ExportOptions, ExportResult
from dlm_engine.inference.model import PromptOutcome, PromptRequest, Sampling
from dlm_engine.store import MadeBy
from dlm_engine.training.model import (
    KEPT_SAVES,
    Choice,
    Ending,
    Evaluation,
    Event,
    Listener,
    Phase,
    PhaseBegan,
    Preferred,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.purging import Proof, PurgeOutcome, PurgePlan, PurgeRequest, plan_purging
from dlm_engine.training.sinks import Dashboards

if TYPE_CHECKING:
    from dlm_engine.inference.resident import Resident as Resident

__all__ = [
    "KEPT_SAVES",
    "Choice",
    "Dashboards",
    "Ending",
    "Evaluation",
    "Event",
    "ExportJob",
    "ExportOptions",
    "ExportResult",
    "Listener",
    "MadeBy",
    "Phase",
    "PhaseBegan",
    "Preferred",
    "Progress",
    "PromptOutcome",
    "PromptRequest",
    "Proof",
    "PurgeOutcome",
    "PurgePlan",
    "PurgeRequest",
    "Sampling",
    "Start",
    "Status",
    "TrainOutcome",
    "TrainRequest",
    "export",
    "make_resident",
    "plan_purging",
    "prompt",
    "purge",
    "train",
]


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Export `version` of the document's adapter; None is the current one."""

    path: Path
    home: Path
    options: ExportOptions
    version: int | None = None
    accept_licence: bool = False


def train(
    request: TrainRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
) -> TrainOutcome:
    """Train a document; see `training.session.train`.

    `resident`, in this job and the next, keeps in memory what every job would load anew.
    """
    from dlm_engine.training import session

    return session.train(request, tell, cancelled, resident)


def prompt(
    request: PromptRequest,
    on_text: Callable[[str], None] = lambda text: None,
    report: Callable[[str], None] = lambda message: None,
    resident: Resident | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> PromptOutcome:
    """Ask a document's model; see `inference.session.prompt`."""
    from dlm_engine.inference import session
    from dlm_engine.training import polite

    polite.prepare()
    return session.prompt(request, on_text, report, resident, cancelled)


def purge(
    request: PurgeRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
) -> PurgeOutcome:
    """Forget what was taken out of a document, and prove it; see `training.purging.purge`."""
    from dlm_engine.training import purging

    return purging.purge(request, tell, cancelled, resident)


def make_resident() -> Resident:
    """A memory for jobs that follow one another in this process."""
    from dlm_engine.training import polite

    polite.prepare()
    from dlm_engine.inference.resident import Resident

    return Resident()


def export(job: ExportJob, report: Callable[[str], None] = lambda message: None) -> ExportResult:
    """Export a trained document to files for llama.cpp and Ollama, checked.

    Without a question in the options the document's first one is asked.

    Raises:
        DlmError: untrained, damaged, refused by the table of capabilities, or a check failed.
    """
    from dlm_engine.bases import cache_root
    from dlm_engine.case import open_case
    from dlm_engine.export import export as make
    from dlm_engine.export import export_request
    from dlm_engine.export.recording import recorded
    from dlm_engine.store import make_folders, record_export
    from dlm_engine.training import polite

    case = open_case(job.path, job.home, accept_licence=job.accept_licence)
    version = case.version(job.version)
    if version is None:
        raise ExportError(
            str(job.path), "has not been trained yet", f"run `dlm train {job.path}` first"
        )
    polite.prepare()
    weights = case.weights(report)
    version.verify()
    version.require_base(case.frontmatter.base_model, weights.sha256)
    options = job.options
    first = next((p.question for s in case.document.sections for p in s.pairs), None)
    if options.question is None and first is not None:
        options = replace(options, question=first)
    with case.store.lock("exporting"):
        case.store.recover()
        make_folders(case.store.root)
        request = export_request(
            case.document,
            job.path,
            weights,
            ExportAdapter(version.path, version.number, version.four_bit_base()),
            store_root=case.store.root,
            cache_root=cache_root(job.home) / "gguf",
        )
        made = recorded(
            case.store.root,
            version.number,
            options,
            report,
            lambda: make(request, options, report),
        )
        record_export(case.store, version)
        return made
