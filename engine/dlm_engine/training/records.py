"""What a training run leaves in the store besides the adapter: manifest, log, summary, lock.

Everything is derived from the run's inputs and its outcome; nothing here decides anything.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import JsonValue

from dlm_engine.bases import Weights
from dlm_engine.case import Case
from dlm_engine.data import ChatRow, Row, SourceRow, TextRow
from dlm_engine.data.pairs import PreferenceRow
from dlm_engine.data.sources import Expansion, Found, Reason
from dlm_engine.document.text import encode
from dlm_engine.hardware import Hardware, Plan
from dlm_engine.store import (
    Banner,
    Delta,
    LearnedRow,
    LockFile,
    MadeBy,
    Manifest,
    PreferenceSummary,
    RunComplete,
    RunLog,
    RunRecord,
    SourceSummary,
    TrainingRunSummary,
    TrainingSummary,
    now,
    timestamp,
)
from dlm_engine.training import determinism, ranks
from dlm_engine.training.model import EndedBy, Phase, TrainOutcome
from dlm_engine.training.settings import Settings

if TYPE_CHECKING:
    from dlm_engine.training.sft import Run, StepReport


@dataclass(frozen=True)
class Records:
    """The facts of one run that its records are made of."""

    case: Case
    weights: Weights
    hardware: Hardware
    plan: Plan
    settings: Settings
    threads: int
    started: datetime
    sources: tuple[SourceSummary, ...]
    #: of the files that are learned, how many have each value of each tag
    tags: dict[str, JsonValue] | None = None

    def manifest(self) -> Manifest:
        """The store's manifest, written first when there is none or a licence was accepted."""
        case = self.case
        manifest = case.store.read_manifest() or Manifest(
            dlm_id=case.frontmatter.dlm_id,
            base_model=case.frontmatter.base_model,
            base_model_revision=case.spec.revision,
        )
        source = case.path.absolute()
        wanted = manifest.model_copy(
            update={
                "base_model_revision": case.spec.revision,
                "base_model_sha256": self.weights.sha256,
                "license_acceptance": case.licence_record or manifest.license_acceptance,
                "source_path": source,
            }
        )
        if wanted != manifest or case.store.read_manifest() is None:
            case.store.write_manifest(wanted)
        return wanted

    def run_record(self, summary: TrainingRunSummary, made_by: MadeBy) -> RunRecord:
        return RunRecord(
            run=summary,
            section_ids=tuple(s.id for s in self.case.document.sections),
            base_model=self.case.frontmatter.base_model,
            base_model_sha256=self.weights.sha256,
            made_by=made_by,
        )

    def summary(
        self,
        number: int,
        run_id: int,
        run: Run,
        report: StepReport | None,
        val_loss: float | None,
        log: RunLog,
    ) -> TrainingRunSummary:
        return TrainingRunSummary(
            run_id=run_id,
            started_at=self.started,
            ended_at=now(),
            adapter_version=number,
            base_model_revision=self.case.spec.revision,
            seed=self.settings.seed,
            steps=run.step,
            final_train_loss=report.loss if report else None,
            final_val_loss=val_loss,
            adapter_name=self.case.adapter,
            status="completed",
            pinned_versions=determinism.pinned_versions(four_bit=self.plan.use_qlora),
            summary_path=log.summary_path.relative_to(self.case.store.root).as_posix(),
            weight_distribution=self.tags,
        )

    def write_reports(
        self,
        log: RunLog,
        summary: TrainingRunSummary,
        outcome: TrainOutcome,
        klass: str,
        phase: Phase,
    ) -> None:
        assert outcome.version is not None
        held_out = outcome.validation_loss
        found = outcome.preference
        log.write_summary(
            TrainingSummary(
                run_id=summary.run_id,
                adapter_version=outcome.version,
                seed=summary.seed,
                final_train_loss=outcome.loss,
                final_val_loss=held_out,
                final_val_perplexity=None if held_out is None else math.exp(min(held_out, 700.0)),
                train_loss_cpt=outcome.trained.prose,
                train_loss_sft=outcome.trained.answers,
                val_loss_cpt=outcome.held_out.prose,
                val_loss_sft=outcome.held_out.answers,
                ended_by=outcome.ended_by,
                early_stopped=outcome.ended_by is EndedBy.EARLY_STOP,
                kept=outcome.kept,
                lost=outcome.lost_keys,
                steps=outcome.steps,
                duration_seconds=outcome.seconds,
                determinism_class=klass,
                source_directives=self.sources,
                phase="preference" if phase is Phase.PREFERENCE else "sft",
                preference=PreferenceSummary(**asdict(found)) if found else None,
            )
        )
        log.write(
            RunComplete(
                run_id=summary.run_id,
                adapter_version=outcome.version,
                steps=outcome.steps,
                elapsed_seconds=outcome.seconds,
                ended_by=outcome.ended_by,
                early_stopped=outcome.ended_by is EndedBy.EARLY_STOP,
                summary_path=summary.summary_path,
            )
        )

    def lock_file(self, klass: str, run_id: int = 1) -> LockFile:
        case = self.case
        layers = self.settings.layers
        conditions = determinism.conditions(
            self.plan,
            self.settings,
            "all" if layers is None else f"last {layers}",
            self.threads,
        )
        return LockFile.model_validate(
            {
                "dlm_id": case.frontmatter.dlm_id,
                "dlm_sha256": hashlib.sha256(encode(case.document.text)).hexdigest(),
                "base_model_revision": case.spec.revision,
                "base_model_sha256": self.weights.sha256,
                "pinned_versions": determinism.pinned_versions(four_bit=self.plan.use_qlora),
                "cuda_version": self.hardware.cuda_version,
                "rocm_version": self.hardware.rocm_version,
                "hardware_tier": determinism.tier(self.hardware),
                "seed": self.settings.seed,
                "determinism_class": klass,
                "determinism_flags": determinism.flags(),
                "conditions": {
                    name: value
                    for name, value in conditions.items()
                    # One lock serves all named adapters, whose numbers of rows differ.
                    if name != "batch" or case.adapter is None
                },
                "license_acceptance": case.licence_record,
                "last_run_id": run_id,
                "world_size": ranks.world(),
            }
        )

    def banner(self, run_id: int, klass: str) -> Banner:
        versions = determinism.pinned_versions(four_bit=self.plan.use_qlora)
        chosen = {choice.name: choice.value for choice in self.settings.choices}
        return Banner(
            run_id=run_id,
            seed=self.settings.seed,
            determinism_class=klass,
            pinned_versions=tuple(sorted(versions.items())),
            plan={
                **({"adapter": self.case.adapter} if self.case.adapter else {}),
                "precision": self.plan.precision,
                "attention": self.plan.attention,
                **chosen,
            },
        )

    def delta(self) -> Delta:
        before: Iterable[str] = self.case.manifest.content_hashes if self.case.manifest else ()
        if self.case.adapter is not None:
            current = self.case.version(None)
            record = current.run_record() if current else None
            before = record.section_ids if record else ()
        ids = [section.id for section in self.case.document.sections]
        return Delta(
            timestamp=timestamp(),
            new=tuple(dict.fromkeys(i for i in ids if i not in before)),
            unchanged=tuple(dict.fromkeys(i for i in ids if i in before)),
            removed=tuple(sorted(set(before) - set(ids))),
        )


def source_summaries(sources: Expansion) -> tuple[SourceSummary, ...]:
    """What a summary says of each source, which is not the texts of its files."""
    return tuple(_source_summary(found) for found in sources.found)


def tag_counts(sources: Expansion) -> dict[str, JsonValue] | None:
    """How many files have each value of each tag that can be given a weight; None without tags."""
    found: dict[str, dict[str, JsonValue]] = {}
    for (tag, value), count in sorted(Counter(t for f in sources.files for t in f.tags).items()):
        found.setdefault(tag, {})[value] = count
    return {**found} or None


def _source_summary(found: Found) -> SourceSummary:
    reasons = found.reasons
    return SourceSummary(
        path=found.path,
        file_count=len(found.files),
        total_bytes=found.bytes,
        skipped_binary=reasons.get(Reason.BINARY, 0),
        skipped_encoding=reasons.get(Reason.ENCODING, 0),
        skipped_over_size=reasons.get(Reason.TOO_LARGE, 0),
    )


def learned_rows(rows: Iterable[Row | PreferenceRow]) -> tuple[LearnedRow, ...]:
    """What is to be kept of `rows` beside the adapter that learned them."""
    return tuple(_learned(row) for row in rows)


def _learned(row: Row | PreferenceRow) -> LearnedRow:
    common = {"key": row.key, "section_id": row.section_id}
    match row:
        case ChatRow():
            return LearnedRow(kind="chat", question=row.question, text=row.answer, **common)
        case TextRow():
            return LearnedRow(kind="text", text=row.text, **common)
        case SourceRow():
            return LearnedRow(kind="source", text=row.label, **common)
        case PreferenceRow():
            texts = {"question": row.prompt, "text": row.chosen, "instead": row.rejected}
            return LearnedRow(kind="preference", **texts, **common)
