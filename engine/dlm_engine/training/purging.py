"""Making a model forget what was taken out of its document, and showing that it has.

Training anew is the only forgetting that is one: an adapter that never saw a row cannot hold
it. So what is removed is learned by no later version; the versions that did learn it are then
deleted, with what was exported of them. Before that `proving.py` asks for all of it; if the new
adapter still gives the old answer and the base alone does not, something else in the document
says it, and nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlm_engine.case import Case, open_case
from dlm_engine.errors import TrainingError
from dlm_engine.store import (
    Garbage,
    LearnedRow,
    Store,
    Version,
    forget_injected,
    learned_by,
    plan_purge,
    purge_store,
    read_injected,
    token_cache_path,
)
from dlm_engine.training import polite
from dlm_engine.training.model import (
    Ending,
    Listener,
    Start,
    Status,
    TrainOutcome,
    TrainRequest,
)
from dlm_engine.training.proving import Proof, proofs_of

if TYPE_CHECKING:
    from dlm_engine.inference.resident import Resident


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """Forget what versions of the document at `path` learned and it no longer says.

    `unproven`: delete also where the new adapter still gives an answer that was removed.
    """

    path: Path
    home: Path
    accept_licence: bool = False
    unproven: bool = False


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """`removed`: what versions learned and the document no longer says. `trains`: the current
    version is one of them. `garbage`: what would be deleted."""

    removed: tuple[LearnedRow, ...]
    trains: bool
    garbage: Garbage


@dataclass(frozen=True, slots=True)
class PurgeOutcome:
    """`training` is None where the current version never knew it. Files of `training.sources`
    leave no text behind to ask about: they have no proof."""

    removed: tuple[LearnedRow, ...]
    proofs: tuple[Proof, ...]
    training: TrainOutcome | None
    deleted: Garbage

    @property
    def cancelled(self) -> bool:
        return self.training is not None and self.training.ending is Ending.CANCELLED


def plan_purging(request: PurgeRequest) -> PurgePlan:
    """What `purge` would do; reads only."""
    return _plan(open_case(request.path, request.home, accept_licence=request.accept_licence))


def purge(
    request: PurgeRequest,
    tell: Listener = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    resident: Resident | None = None,
) -> PurgeOutcome:
    """Train anew where the current version knows what was removed, prove it, delete the rest.

    Raises:
        TrainingError: the model still gives an answer that was removed; nothing was deleted.
        DlmError: as training does.
    """
    case = open_case(request.path, request.home, accept_licence=request.accept_licence)
    case.require_sound()
    plan = _plan(case)
    if not plan.removed:
        # A purge that was killed may have left the last version half deleted.
        case.store.recover()
        return PurgeOutcome((), (), None, Garbage(()))
    _require_declared(case)
    polite.prepare()
    from dlm_engine.data import ChatRow
    from dlm_engine.data.token_cache import TokenCache
    from dlm_engine.inference.resident import Resident

    resident = resident or Resident()
    outcome = None
    if plan.trains:
        from dlm_engine.training.session import train

        wanted = TrainRequest(
            request.path, request.home, Start.FRESH, accept_licence=request.accept_licence
        )
        outcome = train(wanted, tell, cancelled, resident)
        if outcome.ending is Ending.EMPTY:
            raise TrainingError(
                str(request.path),
                "has nothing left to learn, so there is no version to take the old one's place",
                f"delete {case.store.root} to forget all of it",
            )
        if outcome.ending is Ending.CANCELLED:
            return PurgeOutcome(plan.removed, (), outcome, Garbage(()))
    tell(Status("asking for what was removed"))
    versions = tuple(_versions(case.store))

    def report(message: str) -> None:
        tell(Status(message))

    proofs = proofs_of(case, plan.removed, versions, resident, report)
    still = [proof for proof in proofs if not proof.forgotten]
    if still and not request.unproven:
        raise TrainingError(
            _name(still[0].row),
            f"is still known after training without it ({len(still)} of {len(proofs)} such)",
            "remove what else in the document says it, or give --unproven if it is a guess; "
            "nothing was deleted",
        )
    keys = {row.key for row in plan.removed}
    # Tokens are text as well, and found by digests that do not say whose they are. What says that
    # there is something to forget goes last, so that a purge that was killed can be run again.
    trouble = TokenCache(token_cache_path(request.home)).clear()
    if trouble:
        tell(Status(f"the token cache could not be cleared: {trouble}"))
    deleted = purge_store(case.store, keys)
    forget_injected(case.store, lambda line: ChatRow("", line.prompt, line.reference).key in keys)
    return PurgeOutcome(plan.removed, proofs, outcome, deleted)


def _plan(case: Case) -> PurgePlan:
    from dlm_engine.data import ChatRow, rows_of
    from dlm_engine.data.pairs import preferences_of
    from dlm_engine.data.sources import expand, require_usable, source_rows

    if not case.store.exists():
        return PurgePlan((), False, Garbage(()))
    sources = expand(case.frontmatter.training, case.path, home=case.home)
    # What lies in a folder that is not there now was not removed.
    require_usable(sources)
    rows = (*rows_of(case.document), *source_rows(sources), *preferences_of(case.document))
    present = {row.key for row in rows}
    removed: dict[str, LearnedRow] = {}
    trains = False
    for version in _versions(case.store):
        gone = [row for row in learned_by(version) or () if row.key not in present]
        removed |= {row.key: row for row in gone}
        trains = trains or (version.current and bool(gone))
    # What was sent from outside is still written down where no version has it any more.
    for line in read_injected(case.store):
        key = ChatRow("", line.prompt, line.reference).key
        if key not in present and key not in removed:
            removed[key] = LearnedRow(
                kind="chat", key=key, section_id="", question=line.prompt, text=line.reference
            )
    garbage = plan_purge(case.store, removed.keys()) if removed else Garbage(())
    return PurgePlan(tuple(removed.values()), trains, garbage)


def _versions(store: Store) -> Iterator[Version]:
    for adapter in (None, *store.adapters()):
        yield from store.versions(adapter)


def _adapters(case: Case) -> tuple[str | None, ...]:
    return tuple(part.adapter for part in case.parts())


def _require_declared(case: Case) -> None:
    """Training anew makes no version of an adapter that the document no longer has."""
    for adapter in (None, *case.store.adapters()):
        current = case.store.current(adapter)
        if current is not None and adapter not in _adapters(case):
            raise TrainingError(
                f"adapter {adapter}" if adapter else "the adapter without a name",
                "is no longer one of the document's, and its versions hold what they were taught",
                f"delete {current.path.parent.parent} first",
            )


def _name(row: LearnedRow) -> str:
    return row.question or row.text.strip().splitlines()[0][:80]
