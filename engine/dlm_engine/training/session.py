"""One training job from the document to a committed version.

The order is the promise: everything that can be refused is refused before anything is
written or loaded; the store is held for the whole run; the version is committed in one
rename; `dlm.lock` is written last. Whatever stops the run in between leaves the store
with the version it had and, where steps were taken, a state to resume from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from dlm_engine.bases import BaseSpec, Weights
from dlm_engine.case import Case, open_case
from dlm_engine.document import adapter_names, content_digest
from dlm_engine.errors import UsageError
from dlm_engine.store import (
    LockMode,
    Version,
    check_lock,
    ensure_space,
    now,
    read_lock,
    token_cache_path,
)
from dlm_engine.training import polite, ranks
from dlm_engine.training.model import (
    Choice,
    Ending,
    Listener,
    Phase,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.recording import recording
from dlm_engine.training.sinks import sinks_of
from dlm_engine.training.support import require_preferences, require_room, require_supported

if TYPE_CHECKING:
    from dlm_engine.data import Row
    from dlm_engine.data.pairs import PreferenceRow
    from dlm_engine.data.sources import Expansion
    from dlm_engine.data.token_cache import TokenCache
    from dlm_engine.inference.resident import Resident
    from dlm_engine.training.building import Built
    from dlm_engine.training.checkpoint import State, StateFacts
    from dlm_engine.training.further import Addition


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
    require_supported(case.document, case.frontmatter, case.spec.target_modules)
    if request.start is Start.RESUME:
        polite.prepare()
        from dlm_engine.training.resuming import as_begun

        request = as_begun(case, request, lambda said: tell(Status(said)))
    preferring, remarks = require_preferences(case.document, case.frontmatter, request.phase)
    for remark in remarks:
        tell(Status(remark))
    sinks_of(request.dashboards)
    if ranks.leads():
        # Taken below, once there is something to write: what comes before may take minutes.
        case.store.require_free()
    polite.prepare()
    from dlm_engine.data import injected_rows, rows_of
    from dlm_engine.data.pairs import preferences_of
    from dlm_engine.data.sources import expand, require_usable, source_rows, summary
    from dlm_engine.data.token_cache import TokenCache

    kept = case.frontmatter.training.cache.enabled
    cache = TokenCache(token_cache_path(request.home) if kept else None)
    sources = expand(case.frontmatter.training, case.path, cache.files_under, home=request.home)
    require_usable(sources)
    if sources.found:
        tell(Status(summary(sources)))
    content = content_digest(case.document)
    injected = injected_rows(case.document, request.injected)
    left_out = len(request.injected) - len(injected)
    if left_out:
        tell(Status(f"{left_out} injected question(s) left out: the document asks them itself"))
    rows = (*rows_of(case.document), *injected, *source_rows(sources))
    preferences = preferences_of(case.document) if preferring else ()
    if not rows and not preferences:
        return TrainOutcome(Ending.EMPTY, content=content)
    polite.threads_wanted()
    weights = case.weights(lambda message: tell(Status(message)))
    names = adapter_names(case.frontmatter)
    if names:
        from dlm_engine.inference.resident import Resident
        from dlm_engine.training.adapters import train_adapters

        memory = resident or Resident()
        # Like a section without a name, what is injected teaches the adapter declared first.
        own: dict[str | None, Sequence[Row]] = {names[0]: injected}
        make = _each(request, weights, sources, cache, preferring, cancelled, memory, own)
        if not ranks.leads():
            return _follow({part.adapter: make(part) for part in case.parts()}, request)

        def gate_for() -> Literal["trained", "uniform"] | None:
            from dlm_engine.training.gate import train_gate

            made = train_gate(case, weights, request, memory, tell)
            return made.mode if made else None

        space = _space_needed(case.spec)
        whole = train_adapters(case, request, make, gate_for, space, tell, cancelled)
        return replace(whole, content=content)
    taught = Taught(rows, preferences, sources, cache)
    session = _Session(case, request, weights, taught, cancelled, resident)
    # They hold the texts of all sources, and training needs tokens only.
    del rows, sources, taught
    if not ranks.leads():
        return _follow({None: session}, request)
    with case.store.lock("training"):
        case.store.recover()
        ensure_space(case.store.root, _space_needed(case.spec))
        return replace(session.run(request, tell), content=content)


def _each(
    request: TrainRequest,
    weights: Weights,
    sources: Expansion,
    cache: TokenCache,
    preferring: bool,
    cancelled: Callable[[], bool],
    resident: Resident,
    injected: Mapping[str | None, Sequence[Row]],
) -> Callable[[Case], _Session | None]:
    """What makes the session of one adapter of several; None for one that is taught nothing."""
    from dlm_engine.data import rows_of
    from dlm_engine.data.pairs import preferences_of
    from dlm_engine.data.sources import source_rows

    def session_for(part: Case) -> _Session | None:
        own = injected.get(part.adapter, ())
        rows = (*rows_of(part.document), *own, *source_rows(sources))
        preferences = preferences_of(part.document) if preferring else ()
        if not rows and not preferences:
            return None
        taught = Taught(rows, preferences, sources, cache)
        return _Session(part, request, weights, taught, cancelled, resident)

    return session_for


def _follow(sessions: Mapping[str | None, _Session | None], request: TrainRequest) -> TrainOutcome:
    from dlm_engine.training.following import follow

    return follow({name: s.given for name, s in sessions.items() if s is not None}, request)


def _space_needed(spec: BaseSpec) -> int:
    """Bytes for adapter, moments and their second copy while the version is sealed."""
    return 4 * max(16 * 2**20, int(spec.size_gb_fp16 * 2**30) // 40)


@dataclass(frozen=True)
class Taught:
    """What the document and its `sources` say; tokens are looked up and kept in `cache`."""

    rows: Sequence[Row]
    preferences: Sequence[PreferenceRow]
    sources: Expansion
    cache: TokenCache


class _Session:
    """The heavy half: everything from here on needs torch."""

    def __init__(
        self,
        case: Case,
        request: TrainRequest,
        weights: Weights,
        taught: Taught,
        cancelled: Callable[[], bool],
        resident: Resident | None,
    ) -> None:
        from dlm_engine.data.token_cache import Limits
        from dlm_engine.inference.resident import Resident
        from dlm_engine.training.further import on_every_layer
        from dlm_engine.training.given import given_by
        from dlm_engine.training.records import Records, learned_rows, source_summaries, tag_counts
        from dlm_engine.training.resuming import asked_of

        self.case = case
        self.cancelled = cancelled
        self.resident = resident or Resident()
        self.began, started = time.monotonic(), now()
        threads = polite.settle_in()
        chat = self.resident.chat(weights, case.frontmatter.system_prompt)
        further = request.start is Start.FURTHER
        all_layers = request.all_layers or (further and on_every_layer(case.version(None)))
        self.asked = asked_of(request, all_layers=all_layers)
        self.given = given_by(
            case,
            weights,
            chat,
            taught.rows,
            taught.cache,
            request.seed,
            taught.preferences,
            request.early_stop,
            all_layers,
            request.shard,
        )
        self.settings = self.given.settings
        if request.early_stop is not None and not self.given.split.validation:
            raise UsageError("--early-stop", self.given.split.reason, "leave it out")
        self.records = Records(
            case,
            weights,
            self.given.hardware,
            self.given.plan,
            self.settings,
            threads,
            started,
            source_summaries(taught.sources),
            tag_counts(taught.sources),
        )
        encoding, cache = self.given.encoding, case.frontmatter.training.cache
        self.keep_tokens = partial(
            taught.cache.keep,
            encoding.fresh,
            taught.sources.fresh,
            encoding.used,
            taught.sources.met,
            Limits(cache.max_bytes, cache.prune_older_than_days),
        )
        self.taught = learned_rows((*taught.rows, *taught.preferences))
        require_room(self.given.plan, case.frontmatter)
        parts = self.given.plan.parts
        same = (self.given.fingerprint(), request.max_steps, request.early_stop, parts)
        ranks.require_same(same, str(request.path))

    def goes_on(self) -> bool:
        """Whether the current version is one of this run's."""
        from dlm_engine.training import checkpoint

        current = self.case.store.current(self.case.adapter)
        facts = checkpoint.read_facts(current.path) if current else None
        own = (self.given.fingerprint(), self.given.rows_fingerprint())
        return facts is not None and facts.fingerprint in own

    def run(self, request: TrainRequest, tell: Listener) -> TrainOutcome:
        """Train as `request`, which plans as the one this was made for."""
        from dlm_engine.training import checkpoint, starting
        from dlm_engine.training.stage import Around

        self.request, self.tell = request, tell
        store = self.case.store
        trouble = self.keep_tokens()
        if trouble:
            self.tell(Status(f"the token cache is left aside: {trouble}"))
        fingerprint = self.given.fingerprint()
        current = store.current(self.case.adapter)
        # What cannot be read says to begin anew, which it must not stop.
        read = checkpoint.read_facts if request.start is not Start.FRESH else starting.facts_in
        facts = read(current.path) if current else None
        if current and facts and facts.fingerprint == fingerprint and facts.finished:
            current.verify()
            further = request.start is Start.FURTHER
            lacks = further and starting.lacks_something(self.given, current, facts)
            if request.start is not Start.FRESH and not lacks:
                starting.forget_state_of(self.case, fingerprint)
                return self._unchanged(current, facts)
        state = starting.state_to_resume(self.given, request, current)
        last = request.max_steps
        if (
            current
            and facts
            and state
            and last is not None
            and last <= state.step == facts.step
            and state.fingerprint == facts.fingerprint
            and not state.finished
        ):
            return self._unchanged(current, facts)
        # The class is earned once the base is loaded; what else drifted is said before that.
        compared = request.lock_mode in (LockMode.DEFAULT, LockMode.STRICT)
        locked = read_lock(store) if compared else None
        klass = locked.determinism_class if locked else "best-effort"
        check = check_lock(store, self.records.lock_file(klass), request.lock_mode)
        for drift in check.warnings:
            self.tell(Status(f"dlm.lock: {drift.message}"))
        # Refused here, it has begun no run.
        learned = starting.version_that_knows_the_rows(self.given, request, state)
        facts_of_run = (request.start, self.case.spec.key, self.settings.seed)
        with recording(store.root, *facts_of_run, request.dashboards, self.tell) as recorder:
            self.tell = recorder.tell
            self.around = Around(
                self.given,
                request,
                self.taught,
                self.tell,
                self.cancelled,
                self.resident,
                self.began,
                facts,
                self.asked,
            )
            added = None
            if request.start is Start.FURTHER and learned is None and state is None:
                found = starting.addition_to(self.given, current, facts)
                if isinstance(found, str):
                    self.tell(Choice("start", "anew", found))
                else:
                    added = found
            self._explain(added, learned)
            return recorder.ended(self._train(state, current, added, learned))

    def _train(
        self,
        state: State | None,
        current: Version | None,
        added: Addition | None,
        learned: Version | None,
    ) -> TrainOutcome:
        """The phases that are due: the rows unless `learned` knows them, then the preferences."""
        from dlm_engine.training import further
        from dlm_engine.training.stage import Stage, carry_out

        given, seconds = self.given, self.request.time_limit
        whole = given.fingerprint()
        pairs = tuple(pair.key for pair in given.pairs)
        if added is not None:
            stage = Stage(
                Phase.SFT,
                lambda: self._build(current, added),
                whole,
                self.records,
                pairs,
                None,
                keeps=False,
                seconds=seconds,
            )
            return carry_out(stage, self.around).outcome
        steps = 0
        if given.split.train and learned is None:
            rows = given.rows_fingerprint()
            of_rows = state if state and state.fingerprint == rows else None
            stage = Stage(
                Phase.SFT, self._build, rows, self.records, (), of_rows, keeps=True, seconds=seconds
            )
            ended = carry_out(stage, self.around)
            if given.wishes is None or ended.outcome.ending is not Ending.TRAINED:
                return ended.outcome
            if self.around.cancelled():
                return replace(ended.outcome, ending=Ending.CANCELLED)
            if seconds is not None:
                seconds -= ended.trained_seconds
            if not ended.finished or (seconds is not None and seconds <= 0):
                on = "another training" if self.request.start is Start.FURTHER else "--resume"
                self.tell(Status(f"the preferences wait for {on}: this run ended before them"))
                return replace(ended.outcome, finished=False)
            learned, steps = self.case.version(None), ended.outcome.steps
        assert given.wishes is not None
        self.tell(Status(f"learning {len(pairs)} preferences ({given.wishes.objective})"))
        shape = further.earlier_shape(learned.path) if learned else None
        of_pairs = state if state and state.fingerprint == whole else None
        stage = Stage(
            Phase.PREFERENCE,
            lambda: self._build_preferences(learned, shape),
            whole,
            replace(self.records, settings=given.wishes.run, started=now()),
            pairs,
            of_pairs,
            keeps=True,
            seconds=seconds,
            shape=shape,
        )
        outcome = carry_out(stage, self.around).outcome
        return replace(outcome, steps=steps + outcome.steps)

    # --- building ---------------------------------------------------------------------------

    def _build(self, current: Version | None = None, added: Addition | None = None) -> Built:
        """The run over the rows; with `added`, one that goes on from the `current` version."""
        from dlm_engine.training import building

        if added is None or current is None:
            return building.build(self.given, self.resident, self._say, self.cancelled)
        return building.build_further(self.given, self.resident, self._say, current, added)

    def _build_preferences(self, learned: Version | None, shape: tuple[int, int] | None) -> Built:
        from dlm_engine.training import building

        return building.build_preferences(self.given, self.resident, self._say, learned, shape)

    # --- what is said -----------------------------------------------------------------------

    def _say(self, message: str) -> None:
        self.tell(Status(message))

    def _explain(self, added: Addition | None, learned: Version | None) -> None:
        given = self.given
        if self.case.adapter is not None:
            reason = f"{len(given.split.train)} rows teach it"
            self.tell(Choice("adapter", self.case.adapter, reason))
        if self.case.spec.capability_warning:
            self.tell(Status(self.case.spec.capability_warning))
        for reason in given.plan.reasons:
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
        if learned is not None:
            why = "it knows the rest of the document; the preferences are learned upon it"
            self.tell(Choice("start", f"from version {learned.number}", why))
        elif given.split.train:
            for choice in self.settings.choices:
                self.tell(choice)
            held = f"{len(given.split.validation)} rows"
            self.tell(Choice("validation", held, given.split.reason))
        if given.wishes is None:
            return
        for choice in given.wishes.run.choices:
            self.tell(choice)
        for pair in given.pairs:
            if pair.cut:
                self._say(
                    f"preference {pair.prompt[:60]!r}: an answer is longer than "
                    f"{self.settings.sequence_len} tokens and was cut at its end"
                )

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
            adapter=self.case.adapter,
            finished=facts.finished,
        )
