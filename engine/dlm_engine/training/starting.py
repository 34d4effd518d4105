"""Where a run begins: anew, where a stopped one was, from the current version, or upon another.

Each of these reads what the store has and changes nothing of it, but for what a kill left behind.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from dlm_engine.case import Case
from dlm_engine.errors import TrainingError
from dlm_engine.store import Version, checkpoint_path
from dlm_engine.training import checkpoint, further
from dlm_engine.training.building import adapter_sha256
from dlm_engine.training.checkpoint import State, StateFacts
from dlm_engine.training.further import Addition
from dlm_engine.training.given import Given
from dlm_engine.training.model import Phase, Start, TrainRequest
from dlm_engine.training.settings import reads_prose

#: A run further has so few steps that it has a rate and a batch of its own.
_OF_A_WHOLE_RUN = ("lr_scheduler", "warmup_ratio")


def state_to_resume(given: Given, request: TrainRequest, current: Version | None) -> State | None:
    """What `--resume` goes on with, or a run further with what a limit or a cancel left of the
    same document; None where nothing is to be resumed.

    Raises:
        TrainingError: `--resume` has nothing to go on with, or it is of another document.
    """
    if request.start is Start.FURTHER:
        return _left(given, current)
    if request.start is not Start.RESUME:
        return None
    state = checkpoint.read_state(checkpoint_path(given.case.store.root, given.case.adapter))
    if state is None and current is not None:
        current.verify()
        state = checkpoint.read_state(current.path)
    if state is None:
        raise TrainingError("--resume", "there is no run to go on with", "run it without --resume")
    if state.fingerprint not in (given.fingerprint(), given.rows_fingerprint()):
        raise TrainingError(
            "--resume",
            "the document, the settings or the base changed since that run",
            "run it without --resume to learn the document as it is now",
        )
    return state


def _left(given: Given, current: Version | None) -> State | None:
    """Where an earlier run over what `given` is stopped; of another run, or damaged, it is as
    good as none."""
    kept = checkpoint_path(given.case.store.root, given.case.adapter)
    for folder in (kept, *((current.path,) if current else ())):
        with suppress(TrainingError):
            facts = checkpoint.read_facts(folder)
            if facts is None or facts.finished or not _is_same_run(given, facts):
                continue
            if current is not None and folder == current.path:
                current.verify()
            return checkpoint.read_state(folder)
    return None


def _is_same_run(given: Given, facts: StateFacts) -> bool:
    """Whether a run over `given` without flags takes the steps of the one that `facts` are of."""
    if facts.asked is not None and facts.asked.early_stop is not None:
        return False
    upon = facts.preference.upon if facts.preference else ""
    return facts.fingerprint in (given.fingerprint(), given.rows_fingerprint()) and (
        not upon or _knows_the_rows(given, upon) is not None
    )


def version_that_knows_the_rows(
    given: Given, request: TrainRequest, state: State | None
) -> Version | None:
    """The version that knows the document's rows and no preference, to learn those upon.

    None where there is no such version, where it is not wanted, or without preferences.

    Raises:
        TrainingError: it is needed, and not there.
    """
    if given.wishes is None or not given.split.train:
        return None
    upon = state.preference.upon if state and state.preference else None
    alone = request.phase is Phase.PREFERENCE
    if request.start is not Start.FRESH or alone:
        version = _knows_the_rows(given, upon)
        if version is not None:
            version.verify()
            return version
    if upon is not None:
        raise TrainingError(
            "--resume",
            "the version that the preferences were being learned upon is gone",
            "run it without --resume",
        )
    if alone:
        raise TrainingError(
            "--phase preference",
            "no version knows the questions, answers and prose of the document as it is now",
            "train with --phase all",
        )
    return None


def _knows_the_rows(given: Given, upon: str | None) -> Version | None:
    """The newest version that a finished run over the document's rows made, with the adapter of
    which `upon` is the SHA-256 where that is said."""
    rows = given.rows_fingerprint()
    for version in reversed(given.case.store.versions(given.case.adapter)):
        facts = _facts_of(version)
        if facts is None or facts.fingerprint != rows or not facts.finished:
            continue
        if upon is None or adapter_sha256(version.path) == upon:
            return version
    return None


def _facts_of(version: Version) -> StateFacts | None:
    """What a version's state says; None for one that is not whole, as for one without a state."""
    return facts_in(version.path) if version.complete else None


def facts_in(folder: Path) -> StateFacts | None:
    """What the state in `folder` says; None where there is none, or it cannot be read."""
    try:
        return checkpoint.read_facts(folder)
    except TrainingError:
        return None


def addition_to(given: Given, current: Version | None, facts: StateFacts | None) -> Addition | str:
    """What to add to the `current` version, of which `facts` are; or why it takes a whole run."""
    if current is None or facts is None:
        return "there is no version to go on from"
    if facts.basis != given.basis():
        return "the settings or the base changed"
    if set(facts.pairs) != {pair.key for pair in given.pairs}:
        return "the preferences changed"
    if not given.settings.grows:
        return "the document fixes the rank or the number of epochs, or asks for DoRA"
    training = given.case.frontmatter.training
    fixed = [name for name in _OF_A_WHOLE_RUN if name in training.model_fields_set]
    fixed += ["grad_accum"] if training.grad_accum != "auto" else []
    if fixed:
        named = " and ".join(f"training.{name}" for name in fixed)
        return f"the document fixes {named}, which only a whole run keeps to"
    current.verify()
    shape = further.earlier_shape(current.path)
    rows = given.split.train
    found = further.addition(rows, given.questions, facts, *shape, given.settings.rank)
    prose = not isinstance(found, str) and any(row.kind == "text" for row in found.new)
    if prose and reads_prose(training, rows)[0]:
        return "there is new prose, which is read in passes"
    return found


def lacks_something(given: Given, current: Version, facts: StateFacts) -> bool:
    """Whether the `current` version is an addition that a limit ended before all was known. Its
    state is as of a finished run, as nobody can resume it; it can be added to."""
    rank, _ = further.earlier_shape(current.path)
    ended = facts.step >= further.STEPS or all(facts.known.values())
    return facts.preference is None and rank > given.settings.rank and not ended


def forget_state_of(case: Case, fingerprint: str) -> None:
    """Remove what a kill right after the commit left, also a folder whose state it had removed; the
    state of another run stays."""
    folder = checkpoint_path(case.store.root, case.adapter)
    with suppress(TrainingError):
        left = checkpoint.read_facts(folder)
        if left is None or left.fingerprint == fingerprint:
            shutil.rmtree(folder, ignore_errors=True)
