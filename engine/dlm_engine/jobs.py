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

from dlm_engine.errors import ExportError, InferenceError
from dlm_engine.export import ExportAdapter, ExportOptions, ExportResult
from dlm_engine.inference.model import (
    Answering,
    GateUse,
    Mix,
    MixMethod,
    PromptOutcome,
    PromptRequest,
    Sampling,
    Share,
)
from dlm_engine.store import MadeBy
from dlm_engine.training.model import (
    KEPT_SAVES,
    Choice,
    EndedBy,
    Ending,
    Evaluation,
    Event,
    Injected,
    Listener,
    Phase,
    PhaseBegan,
    PhaseEnded,
    Preferred,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.proving import Margin, Proof
from dlm_engine.training.purging import PurgeOutcome, PurgePlan, PurgeRequest, plan_purging
from dlm_engine.training.ranks import MEETING_VARIABLE, Place, joined, place_of
from dlm_engine.training.sinks import Dashboards

if TYPE_CHECKING:
    from dlm_engine.inference.resident import Resident as Resident
    from dlm_engine.store import Version

__all__ = [
    "KEPT_SAVES",
    "MEETING_VARIABLE",
    "Answering",
    "Choice",
    "Dashboards",
    "EndedBy",
    "Ending",
    "Evaluation",
    "Event",
    "ExportJob",
    "ExportOptions",
    "ExportResult",
    "GateUse",
    "Injected",
    "Listener",
    "MadeBy",
    "Margin",
    "Mix",
    "MixMethod",
    "Phase",
    "PhaseBegan",
    "PhaseEnded",
    "Place",
    "Preferred",
    "Progress",
    "PromptOutcome",
    "PromptRequest",
    "Proof",
    "PurgeOutcome",
    "PurgePlan",
    "PurgeRequest",
    "Sampling",
    "Share",
    "Start",
    "Status",
    "TrainOutcome",
    "TrainRequest",
    "export",
    "make_resident",
    "place_of",
    "plan_purging",
    "prompt",
    "purge",
    "require_answerable",
    "train",
]


@dataclass(frozen=True, slots=True)
class ExportJob:
    """Export `version` of the document's adapter; None is the current one.

    `adapter` names one of several, `mix` sums current versions of them.
    """

    path: Path
    home: Path
    options: ExportOptions
    version: int | None = None
    accept_licence: bool = False
    adapter: str | None = None
    mix: Mix | None = None


def train(
    request: TrainRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
) -> TrainOutcome:
    """Train a document; see `training.session.train`.

    `resident`, in this job and the next, keeps in memory what every job would load anew.
    """
    from dlm_engine.training import polite, session

    if request.place is not None:
        polite.prepare()
    with joined(request.place):
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


def require_answerable(request: PromptRequest) -> Answering:
    """Who would answer, or why nobody could; see `inference.session.require_answerable`."""
    from dlm_engine.inference import session

    return session.require_answerable(request)


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
    from dlm_engine.inference.session import versions_of
    from dlm_engine.store import make_folders, record_export
    from dlm_engine.training import polite

    case = open_case(job.path, job.home, accept_licence=job.accept_licence)
    try:
        versions = versions_of(case, job.adapter, job.mix, job.version)
    except InferenceError as error:
        remedy = f"run `dlm train {job.path}` first"
        raise ExportError(error.subject, error.problem, remedy) from None
    polite.prepare()
    weights = case.weights(report)
    for version, _ in versions:
        version.verify()
        version.require_base(case.frontmatter.base_model, weights.sha256)
    if job.mix is None:
        case = case.part(job.adapter)
    options = job.options
    first = next((p.question for s in case.document.sections for p in s.pairs), None)
    if options.question is None and first is not None:
        options = replace(options, question=first)
    from dlm_engine.inference.mixing import adapter_of

    method = job.mix.method if job.mix else MixMethod.LINEAR
    with case.store.lock("exporting"), adapter_of(versions, method) as adapter:
        if adapter.note:
            report(adapter.note)
        case.store.recover()
        make_folders(case.store.root)
        exported = _export_adapter(adapter.path, versions, job.mix)
        request = export_request(
            case.document,
            job.path,
            weights,
            exported,
            store_root=case.store.root,
            cache_root=cache_root(job.home) / "gguf",
        )
        made = recorded(
            case.store.root,
            exported,
            options,
            report,
            lambda: make(request, options, report),
        )
        for version, _ in versions:
            record_export(case.store, version)
        return made


def _export_adapter(
    path: Path | None, versions: list[tuple[Version, float]], mix: Mix | None
) -> ExportAdapter:
    assert path is not None
    four_bit = any(version.four_bit_base() for version, _ in versions)
    if mix is None:
        name = versions[0][0].adapter
        made_of: tuple[str, ...] = (f"{name} version {versions[0][0].number}",) if name else ()
        return ExportAdapter(path, versions[0][0].number, four_bit, name, made_of)
    label = "-".join(f"{name}-{weight:g}" for name, weight in mix.shares)
    made_of = tuple(f"{v.adapter} version {v.number} x {weight:g}" for v, weight in versions)
    return ExportAdapter(path, None, four_bit, f"mix-{label}", made_of)
