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
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dlm_engine.bases import REGISTRY, BaseSpec, Weights, cache_root, config
from dlm_engine.case import Case, open_case
from dlm_engine.errors import TrainingError
from dlm_engine.hardware import Hardware, Plan, detect, plan, shape_of
from dlm_engine.store import (
    LockMode,
    RunLog,
    Staging,
    Step,
    Version,
    check_lock,
    ensure_space,
    now,
    read_lock,
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
    from dlm_engine.data.packs import Pack
    from dlm_engine.data.tokens import Encoded
    from dlm_engine.inference.resident import Resident
    from dlm_engine.training import checkpoint
    from dlm_engine.training.aim import Everyday
    from dlm_engine.training.checkpoint import StateFacts
    from dlm_engine.training.everyday import Lay
    from dlm_engine.training.further import Addition
    from dlm_engine.training.network import Trainee
    from dlm_engine.training.sft import Laid, Run

#: Raise when a change of the algorithm makes other bytes from the same inputs.
RECIPE = 2
CHECKPOINT_FOLDER = "checkpoint"
_CHECKPOINT_SECONDS = 10.0


def train(
    request: TrainRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
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
    polite.threads_wanted()
    weights = case.weights(lambda message: tell(Status(message)))
    session = _Session(case, request, weights, tell, cancelled, resident)
    with case.store.lock("training"):
        case.store.recover()
        ensure_space(case.store.root, _space_needed(case.spec))
        return session.run()


def _space_needed(spec: BaseSpec) -> int:
    """Bytes for adapter, moments and their second copy while the version is sealed."""
    return 4 * max(16 * 2**20, int(spec.size_gb_fp16 * 2**30) // 40)


def _digest(facts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class _Session:
    """The heavy half: everything from here on needs torch."""

    def __init__(
        self,
        case: Case,
        request: TrainRequest,
        weights: Weights,
        tell: Listener,
        cancelled: Callable[[], bool],
        resident: Resident | None,
    ) -> None:
        from dlm_engine.data import ChatRow, encode_row, rows_of, split_rows
        from dlm_engine.data.packs import packs_of
        from dlm_engine.inference.resident import Resident
        from dlm_engine.training import settings as settling
        from dlm_engine.training.records import Records

        self.case = case
        self.request = request
        self.weights = weights
        self.tell = tell
        self.cancelled = cancelled
        self.resident = resident or Resident()
        self.began = time.monotonic()
        started = now()
        training = case.frontmatter.training
        threads = polite.settle_in()
        hardware: Hardware = detect()
        model = config(weights)
        shape = shape_of(model)
        length = settling.sequence_length(training, case.spec)
        self.chat = self.resident.chat(weights, case.frontmatter.system_prompt)
        encoded: list[Encoded] = []
        #: what each row asks, by its key; "" for prose
        self.questions: dict[str, str] = {}
        for row in rows_of(case.document):
            windows = encode_row(row, self.chat, length)
            encoded += windows
            question = row.question if isinstance(row, ChatRow) else ""
            self.questions |= {window.key: question for window in windows}
        seed = request.seed if request.seed is not None else training.seed
        self.split = split_rows(encoded, seed)
        longest = max(len(row.ids) for row in self.split.train)
        rank = training.lora_r if "lora_r" in training.model_fields_set else None
        self.plan: Plan = plan(
            hardware,
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
        self.records = Records(case, weights, hardware, self.plan, self.settings, threads, started)

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
        last = request.max_steps
        if current and facts and state and last is not None and last <= state.step == facts.step:
            return self._unchanged(current, facts)
        added = self._addition(current, facts)
        # The class is earned once the base is loaded; what else drifted is said before that.
        compared = request.lock_mode in (LockMode.DEFAULT, LockMode.STRICT)
        locked = read_lock(store) if compared else None
        klass = locked.determinism_class if locked else "best-effort"
        check = check_lock(store, self.records.lock_file(klass), request.lock_mode)
        for drift in check.warnings:
            self.tell(Status(f"dlm.lock: {drift.message}"))
        self._explain(added)
        return self._train(state, current, added, fingerprint)

    def _addition(self, current: Version | None, facts: StateFacts | None) -> Addition | None:
        """What to add to the current version; None for a whole run, which says why."""
        from dlm_engine.training.further import addition, earlier_shape

        if self.request.start is not Start.FURTHER:
            return None
        if current is None or facts is None:
            why = "there is no version to go on from"
        elif facts.basis != self._basis():
            why = "the settings or the base changed"
        elif not self.settings.grows:
            why = "the document fixes the rank or the number of epochs, or asks for DoRA"
        else:
            current.verify()
            shape = earlier_shape(current.path)
            found = addition(self.split.train, self.questions, facts, *shape, self.settings.rank)
            if not isinstance(found, str):
                return found
            why = found
        self.tell(Choice("start", "anew", why))
        return None

    def _train(
        self,
        state: checkpoint.State | None,
        current: Version | None,
        added: Addition | None,
        fingerprint: str,
    ) -> TrainOutcome:
        import torch

        from dlm_engine.training import checkpoint, determinism
        from dlm_engine.training.sft import mean_loss

        store, request = self.case.store, self.request
        self.tell(Status(f"loading {self.case.spec.key}"))
        run, validation = self._build(current if added else None, added)
        klass = self.resident.keep(
            "determinism",
            (self.settings.layers, self.settings.target_modules, self.settings.kind),
            lambda: determinism.earn(run.trainee, run.packs[0].pack),
        )
        check = check_lock(store, self.records.lock_file(klass), request.lock_mode)
        for drift in check.warnings:
            if drift.name == "determinism_class":
                self.tell(Status(f"dlm.lock: {drift.message}"))
        if state is not None:
            run.resume(state)
            self.tell(Status(f"resuming after step {state.step}"))
        folder = store.root / CHECKPOINT_FOLDER
        run_id = self.records.manifest().next_run_id()
        began = saved = time.monotonic()
        report = None
        with RunLog.create(store, run_id, datetime.now(UTC)) as log:
            log.write(self.records.banner(run_id, klass))
            log.write(self.records.delta())
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
                        run.settings.cap,
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
                due = stop or time.monotonic() - saved > _CHECKPOINT_SECONDS
                if due and added is None:
                    checkpoint.write_state(folder, self._state(run, fingerprint))
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
                summary = self.records.summary(staging.number, run_id, run, report, val_loss, log)
                version = staging.commit(self.records.run_record(summary))
            self.resident.attached(run.trainee.model, digest)
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
            self.records.write_reports(log, summary, outcome, klass)
        if check.writes:
            write_lock(store, self.records.lock_file(klass, run_id))
        shutil.rmtree(folder, ignore_errors=True)
        return outcome

    # --- building ------------------------------------------------------------------------

    def _build(self, earlier: Version | None, added: Addition | None) -> tuple[Run, list[Laid]]:
        """The run, and the packs held out; with `added`, one that goes on from `earlier`."""
        import torch

        from dlm_engine.data.packs import packs_of
        from dlm_engine.training import further
        from dlm_engine.training.aim import aim, aim_further
        from dlm_engine.training.network import Trainee, Wiring
        from dlm_engine.training.sft import Laid, Run

        settings = self.settings if added is None else further.settle_further(self.settings, added)
        base = self.resident.base(
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
        self.resident.attached(trainee.model)
        device = torch.device(trainee.device)

        def lay(packs: Sequence[Pack]) -> list[tuple[Pack, torch.Tensor | None]]:
            placed = [pack.to(device) for pack in packs]
            return [(pack, trainee.trunk(pack)) for pack in placed]

        def laid(packs: Sequence[Pack]) -> list[Laid]:
            return [Laid(pack, trunk) for pack, trunk in lay(packs)]

        everyday = self.resident.keep(
            "everyday",
            (
                self.chat.system_prompt,
                self.settings.sequence_len,
                self.settings.pack_tokens,
                self.settings.anchors_per_step,
                self.settings.target_modules,
                self.settings.layers,
            ),
            lambda: self._survey(trainee, lay),
        )
        held = laid(packs_of(self.split.validation, settings.pack_tokens))
        if added is None or earlier is None:
            own = lay(self.packs)
            aim(trainee, own, everyday)
            anchors = [
                Laid(pack, trunk, hidden)
                for (pack, trunk), hidden in zip(everyday.packs, everyday.hidden, strict=True)
            ]
            return Run(trainee, settings, [Laid(*each) for each in own], anchors), held
        trainee.take_over(further.earlier_tensors(earlier.path))
        new, kept = (
            lay(packs_of(rows, settings.pack_tokens, settings.pack_rows))
            for rows in (added.new, added.kept)
        )
        aim_further(trainee, new, kept, everyday, added.rank)
        every = [Laid(*each) for each in (*new, *kept)]
        return further.FurtherRun(trainee, settings, every, added, laid), held

    def _survey(self, trainee: Trainee, lay: Lay) -> Everyday:
        from dlm_engine.training.everyday import everyday_packs, surveyed

        packs = everyday_packs(self.chat, self.settings)
        folder = cache_root(self.request.home) / "everyday"
        conditions = self.records.computing_conditions(trainee.cut)

        def making() -> None:
            self.tell(Status("looking at what the base does with everyday questions"))

        return surveyed(folder, conditions, trainee, packs, lay, making)

    def _basis(self) -> str:
        """Of everything that the adapter's bytes are a function of, but the rows."""
        training = self.case.frontmatter.training
        return _digest(
            {
                "recipe": RECIPE,
                "training": training.model_dump(mode="json"),
                "wrote": sorted(training.model_fields_set),
                "seed": self.settings.seed,
                "system": self.chat.system_prompt,
                "base": self.weights.sha256,
                "precision": self.plan.precision,
                "attention": self.plan.attention,
            }
        )

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
        return _digest(whole)

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

    def _state(self, run: Run, fingerprint: str) -> checkpoint.State:
        rows = {row.key: self.questions[row.key] for row in self.split.train}
        return replace(run.state(fingerprint), basis=self._basis(), rows=rows)

    # --- what is written ------------------------------------------------------------------

    def _write_adapter(self, staging: Staging, run: Run, fingerprint: str) -> str:
        """Fill the staging folder; returns the SHA-256 of the adapter's tensors file."""
        from dlm_engine.training import checkpoint
        from dlm_engine.training.network import adapter_files

        files = adapter_files(run.trainee, self.weights)
        for name, data in files.items():
            write_atomic(staging.path / name, data)
        checkpoint.write_state(staging.path, self._state(run, fingerprint))
        return hashlib.sha256(files["adapter_model.safetensors"]).hexdigest()

    # --- what is said ---------------------------------------------------------------------

    def _explain(self, added: Addition | None) -> None:
        if self.case.spec.capability_warning:
            self.tell(Status(self.case.spec.capability_warning))
        for reason in self.plan.reasons:
            name, _, why = reason.partition(": ")
            self.tell(Choice("plan", name, why))
        if added is not None:
            rows = "row" if len(added.new) == 1 else "rows"
            self.tell(
                Choice(
                    "start",
                    f"from the current version, {len(added.new)} new {rows}",
                    f"what it knows stays; rank {added.rank} grows to {added.grown_rank}",
                )
            )
            return
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
