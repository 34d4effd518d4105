"""One training job from the document to a committed version.

The order is the promise: everything that can be refused is refused before anything is
written or loaded; the store is held for the whole run; the version is committed in one
rename; `dlm.lock` is written last. Whatever stops the run in between leaves the store
with the version it had and, where steps were taken, a state to resume from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dlm_engine.bases import REGISTRY, BaseSpec, Weights, config
from dlm_engine.case import Case, open_case
from dlm_engine.errors import TrainingError
from dlm_engine.hardware import Hardware, Plan, detect, plan, shape_of
from dlm_engine.store import (
    Banner,
    Delta,
    LockFile,
    Manifest,
    RunComplete,
    RunLog,
    RunRecord,
    Staging,
    Step,
    TrainingRunSummary,
    TrainingSummary,
    Version,
    check_lock,
    ensure_space,
    now,
    timestamp,
    write_atomic,
    write_lock,
)
from dlm_engine.training import polite
from dlm_engine.training.model import (
    Choice,
    Ending,
    Listener,
    Progress,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.support import require_supported

if TYPE_CHECKING:
    from dlm_engine.training import checkpoint
    from dlm_engine.training.checkpoint import StateFacts
    from dlm_engine.training.sft import Laid, Run, StepReport

#: Raise when a change of the algorithm makes other bytes from the same inputs.
RECIPE = 1
CHECKPOINT_FOLDER = "checkpoint"
_CHECKPOINT_SECONDS = 10.0


def train(
    request: TrainRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TrainOutcome:
    """Train what the document says into the next version of its adapter.

    `cancelled` is asked after every step; when it says so the state is kept and the
    outcome is `cancelled`.

    Raises:
        DlmError: with what is wrong and what to do; nothing is lost.
    """
    case = open_case(request.path, request.home, accept_licence=request.accept_licence)
    case.require_sound()
    for remark in require_supported(case.document, case.frontmatter):
        tell(Status(remark))
    polite.prepare()
    from dlm_engine.data import rows_of

    if not rows_of(case.document):
        return TrainOutcome(Ending.EMPTY)
    with case.store.lock("training"):
        case.store.recover()
        weights = case.weights(lambda message: tell(Status(message)))
        ensure_space(case.store.root, _space_needed(case.spec))
        return _Session(case, request, weights, tell, cancelled).run()


def _space_needed(spec: BaseSpec) -> int:
    """Bytes for adapter, moments and their second copy while the version is sealed."""
    return 4 * max(16 * 2**20, int(spec.size_gb_fp16 * 2**30) // 40)


class _Session:
    """The heavy half: everything from here on needs torch."""

    def __init__(
        self,
        case: Case,
        request: TrainRequest,
        weights: Weights,
        tell: Listener,
        cancelled: Callable[[], bool],
    ) -> None:
        from dlm_engine.data import Chat, encode_row, rows_of, split_rows
        from dlm_engine.data.packs import packs_of
        from dlm_engine.training import settings as settling

        self.case = case
        self.request = request
        self.weights = weights
        self.tell = tell
        self.cancelled = cancelled
        self.began = time.monotonic()
        self.started = now()
        training = case.frontmatter.training
        self.threads = polite.settle_in()
        self.hardware: Hardware = detect()
        model = config(weights)
        shape = shape_of(model)
        length = settling.sequence_length(training, case.spec)
        self.chat = Chat.of(weights, case.frontmatter.system_prompt)
        encoded = [e for r in rows_of(case.document) for e in encode_row(r, self.chat, length)]
        seed = request.seed if request.seed is not None else training.seed
        self.split = split_rows(encoded, seed)
        longest = max(len(row.ids) for row in self.split.train)
        rank = training.lora_r if "lora_r" in training.model_fields_set else None
        self.plan: Plan = plan(
            self.hardware,
            shape,
            training,
            longest,
            rank=rank or settling.planned_rank(len(self.split.train)),
            alternatives={key: spec.params for key, spec in REGISTRY.items()},
        )
        self.packs = packs_of(
            self.split.train, settling.PACK_TOKENS, settling.pack_rows(training, self.plan)
        )
        self.settings = settling.settle(
            training,
            case.spec,
            shape,
            self.plan,
            self.split.train,
            model_type=str(model.get("model_type", "")),
            packs=len(self.packs),
            seed=request.seed,
        )

    def run(self) -> TrainOutcome:
        from dlm_engine.training import checkpoint

        store, request = self.case.store, self.request
        fingerprint = self._fingerprint()
        current = store.current()
        facts = checkpoint.read_facts(current.path) if current else None
        if current and facts and facts.fingerprint == fingerprint and facts.finished:
            current.verify()
            if request.start is not Start.FRESH:
                return self._unchanged(current, facts)
        state = self._state_to_resume(current, fingerprint)
        lock = self._lock_file("best-effort")
        check = check_lock(store, lock, request.lock_mode)
        for drift in check.warnings:
            self.tell(Status(f"dlm.lock: {drift.message}"))
        self._explain()
        return self._train(state, fingerprint, check.writes)

    def _train(
        self, state: checkpoint.State | None, fingerprint: str, writes_lock: bool
    ) -> TrainOutcome:
        import torch

        from dlm_engine.training import checkpoint, determinism
        from dlm_engine.training.sft import mean_loss

        store, request = self.case.store, self.request
        self.tell(Status(f"loading {self.case.spec.key}"))
        run, validation = self._build()
        klass = determinism.earn(run.trainee, run.packs[0].pack)
        if state is not None:
            run.resume(state)
            self.tell(Status(f"resuming after step {state.step}"))
        folder = store.root / CHECKPOINT_FOLDER
        run_id = self._manifest().next_run_id()
        began = saved = time.monotonic()
        report = None
        with RunLog.create(store, run_id, datetime.now(UTC)) as log:
            log.write(self._banner(run_id, klass))
            log.write(self._delta())
            for report in run.steps(request.max_steps):
                elapsed = time.monotonic() - began
                speed = report.tokens / report.seconds if report.seconds else 0.0
                log.write(
                    Step(
                        step=report.step,
                        loss=report.loss,
                        lr=report.rate,
                        grad_norm=report.gradient_norm,
                        tokens_per_sec=speed,
                        timestamp=timestamp(),
                    )
                )
                self.tell(
                    Progress(
                        report.step,
                        self.settings.cap,
                        report.loss,
                        report.divergence,
                        report.learned,
                        report.rows,
                        report.rate,
                        elapsed,
                        speed,
                    )
                )
                stop = self.cancelled()
                if stop or time.monotonic() - saved > _CHECKPOINT_SECONDS:
                    checkpoint.write_state(folder, run.state(fingerprint))
                    saved = time.monotonic()
                if stop:
                    return TrainOutcome(
                        Ending.CANCELLED,
                        steps=run.step,
                        learned=run.knowledge.count,
                        rows=run.rows,
                        loss=report.loss,
                        seconds=time.monotonic() - self.began,
                        seed=self.settings.seed,
                    )
                if request.time_limit is not None and elapsed >= request.time_limit:
                    self.tell(Status(f"time limit of {request.time_limit:g} s reached"))
                    break
            run.look()
            val_loss = mean_loss(run.trainee, validation)
            with store.stage() as staging:
                if not all(bool(torch.isfinite(p).all()) for p in run.parameters.values()):
                    self._write_adapter(staging, run, fingerprint)
                    staging.reject("the adapter holds numbers that are not finite")
                    raise TrainingError(
                        str(request.path),
                        "training ended in numbers that are not finite; nothing was replaced",
                        "lower training.learning_rate",
                    )
                digest = self._write_adapter(staging, run, fingerprint)
                summary = self._summary(staging.number, run_id, run, report, val_loss, log)
                version = staging.commit(self._record(summary))
            outcome = TrainOutcome(
                Ending.TRAINED,
                version.number,
                version.path,
                digest,
                run.step,
                run.knowledge.count,
                run.rows,
                report.loss if report else None,
                val_loss,
                report.divergence if report else None,
                time.monotonic() - self.began,
                self.settings.seed,
                klass,
            )
            self._write_reports(log, summary, outcome, klass)
        if writes_lock:
            write_lock(store, self._lock_file(klass, run_id))
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    # --- building ------------------------------------------------------------------------

    def _build(self) -> tuple[Run, list[Laid]]:
        import torch

        from dlm_engine.data import ChatRow, encode_row
        from dlm_engine.data.packs import Pack, packs_of
        from dlm_engine.inference.loading import load_base
        from dlm_engine.training.aim import aim
        from dlm_engine.training.anchors import ANCHORS
        from dlm_engine.training.network import Trainee, Wiring
        from dlm_engine.training.sft import Laid, Run

        settings = self.settings
        base = load_base(
            self.weights,
            self.plan.precision,
            self.plan.attention,
            self.plan.device,
            "nf4" if self.plan.use_qlora else None,
        )
        wiring = Wiring(
            settings.kind,
            settings.rank,
            settings.alpha,
            settings.dropout,
            settings.target_modules,
            settings.layers,
            settings.seed,
            self.plan.gradient_checkpointing,
        )
        trainee = Trainee(base, wiring)
        device = torch.device(trainee.device)

        def lay(packs: Sequence[Pack]) -> list[tuple[Pack, torch.Tensor | None]]:
            placed = [pack.to(device) for pack in packs]
            return [(pack, trainee.trunk(pack)) for pack in placed]

        encoded = [
            window
            for question, answer in ANCHORS
            for window in encode_row(
                ChatRow("anchor", question, answer), self.chat, settings.sequence_len
            )
        ]
        each = settings.anchors_per_step
        groups = [encoded[i : i + each] for i in range(0, len(encoded), each)]
        own = lay(self.packs)
        everyday = lay([p for group in groups for p in packs_of(group, settings.pack_tokens)])
        self.tell(Status("looking at what the base does with everyday questions"))
        base_hidden = aim(trainee, own, everyday)
        anchors = [Laid(p, t, h) for (p, t), h in zip(everyday, base_hidden, strict=True)]
        held = packs_of(self.split.validation, settings.pack_tokens)
        run = Run(trainee, settings, [Laid(p, t) for p, t in own], anchors)
        return run, [Laid(p, t) for p, t in lay(held)]

    def _fingerprint(self) -> str:
        """Of everything that the adapter's bytes are a function of."""
        from dlm_engine.training.anchors import ANCHORS

        facts = asdict(self.settings)
        del facts["choices"]
        whole = {
            "recipe": RECIPE,
            "settings": facts,
            "rows": [(row.key, row.ids, row.start) for row in self.split.train],
            "anchors": ANCHORS,
            "base": self.weights.sha256,
            "precision": self.plan.precision,
            "attention": self.plan.attention,
            "checkpointing": self.plan.gradient_checkpointing,
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()

    def _state_to_resume(
        self, current: Version | None, fingerprint: str
    ) -> checkpoint.State | None:
        from dlm_engine.training import checkpoint

        if self.request.start is not Start.RESUME:
            return None
        state = checkpoint.read_state(self.case.store.root / CHECKPOINT_FOLDER)
        if state is None and current is not None:
            current.verify()
            state = checkpoint.read_state(current.path)
        if state is None:
            raise TrainingError(
                "--resume", "there is no run to go on with", "run it without --resume"
            )
        if state.fingerprint != fingerprint:
            raise TrainingError(
                "--resume",
                "the document, the settings or the base changed since that run",
                "run it without --resume to learn the document as it is now",
            )
        return state

    # --- what is written ------------------------------------------------------------------

    def _write_adapter(self, staging: Staging, run: Run, fingerprint: str) -> str:
        """Fill the staging folder; returns the SHA-256 of the adapter's tensors file."""
        from dlm_engine.training import checkpoint
        from dlm_engine.training.network import adapter_files

        files = adapter_files(run.trainee, self.weights)
        for name, data in files.items():
            write_atomic(staging.path / name, data)
        checkpoint.write_state(staging.path, run.state(fingerprint))
        return hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()

    def _manifest(self) -> Manifest:
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

    def _record(self, summary: TrainingRunSummary) -> RunRecord:
        return RunRecord(
            run=summary,
            section_ids=tuple(s.id for s in self.case.document.sections),
            base_model=self.case.frontmatter.base_model,
            base_model_sha256=self.weights.sha256,
        )

    def _summary(
        self,
        number: int,
        run_id: int,
        run: Run,
        report: StepReport | None,
        val_loss: float | None,
        log: RunLog,
    ) -> TrainingRunSummary:
        from dlm_engine.training import determinism

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
            status="completed",
            pinned_versions=determinism.pinned_versions(four_bit=self.plan.use_qlora),
            summary_path=log.summary_path.relative_to(self.case.store.root).as_posix(),
        )

    def _write_reports(
        self, log: RunLog, summary: TrainingRunSummary, outcome: TrainOutcome, klass: str
    ) -> None:
        assert outcome.version is not None
        log.write_summary(
            TrainingSummary(
                run_id=summary.run_id,
                adapter_version=outcome.version,
                seed=summary.seed,
                final_train_loss=outcome.loss,
                final_val_loss=outcome.validation_loss,
                early_stopped=outcome.steps < self.settings.cap,
                steps=outcome.steps,
                duration_seconds=outcome.seconds,
                determinism_class=klass,
            )
        )
        log.write(
            RunComplete(
                run_id=summary.run_id,
                adapter_version=outcome.version,
                steps=outcome.steps,
                elapsed_seconds=outcome.seconds,
                early_stopped=outcome.steps < self.settings.cap,
                summary_path=summary.summary_path,
            )
        )

    def _lock_file(self, klass: str, run_id: int = 1) -> LockFile:
        from dlm_engine.training import determinism

        case = self.case
        layers = self.settings.layers
        return LockFile.model_validate(
            {
                "dlm_id": case.frontmatter.dlm_id,
                "dlm_sha256": hashlib.sha256(case.path.read_bytes()).hexdigest(),
                "base_model_revision": case.spec.revision,
                "base_model_sha256": self.weights.sha256,
                "pinned_versions": determinism.pinned_versions(four_bit=self.plan.use_qlora),
                "cuda_version": self.hardware.cuda_version,
                "rocm_version": self.hardware.rocm_version,
                "hardware_tier": determinism.tier(self.hardware),
                "seed": self.settings.seed,
                "determinism_class": klass,
                "conditions": determinism.conditions(
                    self.plan,
                    self.settings,
                    "all" if layers is None else f"last {layers}",
                    self.threads,
                ),
                "license_acceptance": case.licence_record,
                "last_run_id": run_id,
            }
        )

    def _banner(self, run_id: int, klass: str) -> Banner:
        from dlm_engine.training import determinism

        versions = determinism.pinned_versions(four_bit=self.plan.use_qlora)
        chosen = {choice.name: choice.value for choice in self.settings.choices}
        return Banner(
            run_id=run_id,
            seed=self.settings.seed,
            determinism_class=klass,
            pinned_versions=tuple(sorted(versions.items())),
            plan={"precision": self.plan.precision, "attention": self.plan.attention, **chosen},
        )

    def _delta(self) -> Delta:
        before = self.case.manifest.content_hashes if self.case.manifest else {}
        ids = [section.id for section in self.case.document.sections]
        return Delta(
            timestamp=timestamp(),
            new=tuple(dict.fromkeys(i for i in ids if i not in before)),
            unchanged=tuple(dict.fromkeys(i for i in ids if i in before)),
            removed=tuple(sorted(set(before) - set(ids))),
        )

    # --- what is said ---------------------------------------------------------------------

    def _explain(self) -> None:
        if self.case.spec.capability_warning:
            self.tell(Status(self.case.spec.capability_warning))
        for reason in self.plan.reasons:
            name, _, why = reason.partition(": ")
            self.tell(Choice("plan", name, why))
        for choice in self.settings.choices:
            self.tell(choice)
        self.tell(Choice("validation", f"{len(self.split.validation)} rows", self.split.reason))

    def _unchanged(self, current: Version, facts: StateFacts) -> TrainOutcome:
        record = current.run_record()
        return TrainOutcome(
            Ending.UNCHANGED,
            current.number,
            current.path,
            steps=facts.step,
            learned=sum(facts.known.values()),
            rows=len(facts.known),
            loss=record.run.final_train_loss if record else None,
            seed=self.settings.seed,
        )
