"""With which flags a run is gone on with: those it was begun with, which its state keeps.

A flag that shapes the bytes must be the same again, and nobody should have to remember it.
One that says otherwise is refused by its name, before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dlm_engine.case import Case
from dlm_engine.errors import UsageError
from dlm_engine.store import checkpoint_path
from dlm_engine.training import ranks
from dlm_engine.training.checkpoint import Asked, StateFacts, read_facts
from dlm_engine.training.model import Phase, TrainRequest

_REMEDY = "leave it out to go on with that run, or leave out --resume"


def as_begun(case: Case, request: TrainRequest, say: Callable[[str], None]) -> TrainRequest:
    """`request`, which resumes, with the flags of the run that it goes on with.

    Of several processes the first finds them, as it has the store.

    Raises:
        UsageError: a flag contradicts that run, or that run cannot be resumed.
        TrainingError: a state cannot be read.
    """
    found = _as_begun(case, request, say) if ranks.leads() else request
    seed, all_layers, phase = ranks.told([found.seed, found.all_layers, found.phase])
    return replace(found, seed=seed, all_layers=all_layers, phase=Phase(phase))


def _as_begun(case: Case, request: TrainRequest, say: Callable[[str], None]) -> TrainRequest:
    facts = _facts(case)
    asked = facts.asked if facts else None
    if facts is None or asked is None:
        return request
    if asked.early_stop is not None:
        flag = f"--early-stop {asked.early_stop}"
        raise UsageError("--resume", f"that run had {flag}, and does not go on", f"give {flag}")
    written = case.frontmatter.training.seed
    seed = written if asked.seed is None else asked.seed
    if request.seed is not None and request.seed != seed:
        raise UsageError(f"--seed {request.seed}", f"that run has the seed {seed}", _REMEDY)
    if request.all_layers and not asked.all_layers:
        raise UsageError("--all-layers", "that run was begun without it", _REMEDY)
    # Of a run that is over the next phase may be wanted.
    phase = Phase.ALL if facts.finished else asked.phase
    if Phase.ALL not in (phase, request.phase) and request.phase is not phase:
        flag = f"--phase {request.phase}"
        raise UsageError(flag, f"that run was begun with --phase {phase}", _REMEDY)
    same = replace(
        request,
        seed=request.seed if asked.seed is None else asked.seed,
        all_layers=asked.all_layers,
        phase=phase if request.phase is Phase.ALL else request.phase,
    )
    flags = _flags(same, request)
    if flags:
        say(f"going on with {' '.join(flags)}, as that run was begun")
    return same


def _facts(case: Case) -> StateFacts | None:
    """Of the run that was stopped last, else of the current version."""
    parts = case.parts()
    stopped = (checkpoint_path(case.store.root, part.adapter) for part in parts)
    versions = (part.version(None) for part in parts)
    folders = (*stopped, *(version.path for version in versions if version is not None))
    return next((facts for facts in map(read_facts, folders) if facts is not None), None)


def _flags(same: TrainRequest, given: TrainRequest) -> list[str]:
    """Those of `same` that were not given again."""
    flags = []
    if same.seed != given.seed:
        flags.append(f"--seed {same.seed}")
    if same.all_layers and not given.all_layers:
        flags.append("--all-layers")
    if same.phase is not given.phase:
        flags.append(f"--phase {same.phase}")
    return flags


def asked_of(request: TrainRequest, *, all_layers: bool) -> Asked:
    """What a state keeps of `request`; `all_layers` as it came to be."""
    return Asked(
        seed=request.seed,
        all_layers=all_layers,
        early_stop=request.early_stop,
        phase=request.phase,
    )
