"""Going back to an older version, and giving disk space back.

The invariant: neither can make the current version one that does not verify, and
neither removes the current version or the newest complete one. What would be
removed is a plan, computed by reading alone, so that looking and doing are two
functions and not a flag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from dlm_engine.errors import StoreError, UsageError
from dlm_engine.store.atomic import (
    claim_temporary_name,
    disk_errors,
    fsync_dir,
    release_temporary_name,
    remove_tree,
    tree_bytes,
)
from dlm_engine.store.commit import abandoned, all_adapters, point_at, settle
from dlm_engine.store.layout import adapter_root, checkpoint_folders, exports_root, gate_path
from dlm_engine.store.learned import learned_by
from dlm_engine.store.ledger import Rollback, read_ledger, write_ledger
from dlm_engine.store.manifest import now
from dlm_engine.store.metrics_thinning import Thinning, plan_thinning, thin
from dlm_engine.store.opening import Store
from dlm_engine.store.outgrown import TRIMMED_AT_ONCE, spare_logs, without_old_runs
from dlm_engine.store.records import read_json_object
from dlm_engine.store.versions import MadeBy, Version, highest_number


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """The version that was current (None: none was) and the one that is now."""

    adapter: str | None
    before: int | None
    after: Version


def rollback(store: Store, number: int, adapter: str | None = None) -> RollbackReport:
    """Make the complete version `number` current; later ones stay and are not lost.

    The choice is recorded in the ledger and holds until the next commit.

    Raises:
        StoreError: there is no such version, it is rejected, or it does not verify.
        StoreLocked: someone else is writing to the store.
    """
    _require_store(store)
    with store.lock("rollback"):
        settle(store.root, store.dlm_id)
        versions = store.versions(adapter)
        target = _complete_version(store, versions, number)
        target.verify()
        before = next((v.number for v in versions if v.current), None)
        if before == number:
            return RollbackReport(adapter, before, target)
        newest = max(v.number for v in versions if v.complete)
        ledger = read_ledger(store.root, adapter)
        step = Rollback(at=now(), source=before, target=number, newest=newest)
        # The ledger first: after a crash in between, recovery finishes the rollback.
        kept = ledger.model_copy(update={"rollbacks": (*ledger.rollbacks, step)})
        write_ledger(store.root, adapter, kept)
        point_at(store.root, store.dlm_id, target)
        after = next(v for v in store.versions(adapter) if v.path == target.path)
    return RollbackReport(adapter, before, after)


def _complete_version(store: Store, versions: list[Version], number: int) -> Version:
    for version in versions:
        if version.number == number and version.complete:
            return version
    found = [version for version in versions if version.number == number]
    complete = ", ".join(str(v.number) for v in versions if v.complete) or "none"
    if not found:
        problem = "does not exist"
    elif found[0].rejected:
        problem = f"was rejected ({found[0].rejection_reason() or 'no reason recorded'})"
    else:
        problem = "is not complete"
    raise StoreError(f"version {number}", problem, f"complete versions: {complete}")


def _require_store(store: Store) -> None:
    if not store.exists():
        raise StoreError(
            str(store.root), "there is no store for this document yet", "run `dlm train` first"
        )


# --- garbage -----------------------------------------------------------------------------


class GarbageKind(StrEnum):
    OLD = "old version"
    REJECTED = "rejected run"
    INCOMPLETE = "incomplete version"
    TEMPORARY = "left by a dead process"
    STEPS = "steps of old runs"
    REMOVED = "knows what was removed"
    LOG = "log of a version that is gone"


@dataclass(frozen=True, slots=True)
class GarbageItem:
    """One file or folder to remove, and the bytes of its files."""

    path: Path
    kind: GarbageKind
    bytes: int


@dataclass(frozen=True, slots=True)
class Garbage:
    items: tuple[GarbageItem, ...]

    @property
    def bytes(self) -> int:
        return sum(item.bytes for item in self.items)


def plan_garbage(store: Store, keep: int, adapter: str | None = None) -> Garbage:
    """What `collect_garbage` would remove; reads only.

    Of each adapter, the newest `keep` complete versions stay, and always the
    current and the newest complete one; rejected runs and leftovers go, and
    incomplete folders older than the newest complete version, and the logs of what goes or is
    gone. Of runs that are not among the newest, most steps go from the metrics; their bytes are
    estimated. With `adapter` only versions of that named one go, and nothing else.

    Raises:
        UsageError: `keep` is negative. StoreError: the store is damaged.
    """
    if keep < 0:
        raise UsageError("--keep", "cannot be negative", "give the number of versions to keep")
    if not store.exists():
        return Garbage(())
    if adapter is not None:
        return Garbage(tuple(_adapter_garbage(store.versions(adapter), keep)))
    items: list[GarbageItem] = []
    for adapter in all_adapters(store.root):
        items += _adapter_garbage(store.versions(adapter), keep)
    items += _logs(store, {item.path for item in items})
    return Garbage((*items, *_leftovers(store), *_steps(store, plan_thinning)))


def collect_garbage(store: Store, keep: int, adapter: str | None = None) -> Garbage:
    """Remove what `plan_garbage` names; returns what was removed.

    Raises:
        UsageError, StoreError: as there; also when the disk refuses to delete.
        StoreLocked: someone else is writing to the store.
    """
    plan_garbage(store, keep, adapter)
    if not store.exists():
        return Garbage(())
    with store.lock("garbage collection"):
        # What frees space without writing comes first: the disk may be full.
        leftovers = _leftovers(store) if adapter is None else []
        _remove_all(leftovers)
        settle(store.root, store.dlm_id)
        planned = plan_garbage(store, keep, adapter).items
        items = [item for item in planned if item.kind is not GarbageKind.STEPS]
        rejected = [item for item in items if item.kind is GarbageKind.REJECTED]
        _remove_all([item for item in items if item.kind is not GarbageKind.REJECTED])
        if rejected:
            _remember_numbers(store)
            _remove_all(rejected)
        if adapter is None:
            _trim_runs(store, 1)
        # Last: to make a database smaller takes space first.
        steps = _steps(store, thin) if adapter is None else []
    return Garbage((*items, *leftovers, *steps))


def plan_purge(store: Store, removed: Collection[str]) -> Garbage:
    """What `purge_store` would delete, in that order; reads only."""
    if not store.exists():
        return Garbage(())
    versions = [v for adapter in all_adapters(store.root) for v in store.versions(adapter)]
    knowing = [version for version in versions if _knows(version, removed)]
    staying = {v.number for v in versions if v.adapter is None and v not in knowing}
    doomed = [*checkpoint_folders(store.root), *_exports_not_of(store, staying)]
    doomed += _gate_of_others(store)
    # What says that there is something to forget goes last: a purge that was killed is run again.
    doomed += [v.path for v in sorted(knowing, key=lambda v: learned_by(v) is not None)]
    doomed = [path for path in doomed if path.is_dir()]
    return Garbage(tuple(_item(path, GarbageKind.REMOVED) for path in doomed))


def gate_mode(store: Store, adapters: Collection[str] | None = None) -> str | None:
    """How the gate weighs, `trained` or `uniform`; None unless it was made beside the versions
    that are current, and is over these `adapters`, if any are named.

    Adapters that the document once had keep their versions, and the gate is not over them.
    """
    with suppress(StoreError):
        facts = read_json_object(gate_path(store.root) / "gate_config.json", "train again") or {}
        versions = facts.get("adapter_versions")
        if not isinstance(versions, dict) or not versions:
            return None
        current = [store.current(name) for name in adapters or versions]
        if versions == {version.adapter: version.number for version in current if version}:
            return str(facts.get("mode"))
    return None


def _gate_of_others(store: Store) -> list[Path]:
    """The gate's folder, unless it was trained beside the versions that are current."""
    return [] if gate_mode(store) else [gate_path(store.root)]


def _exports_not_of(store: Store, staying: Collection[int]) -> list[Path]:
    """The exports in the store, but those that are plainly of one of the versions `staying`."""
    folder = exports_root(store.root)
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        with suppress(StoreError):
            facts = read_json_object(path / "export_manifest.json", "export again") or {}
            # Versions of several adapters have the same numbers.
            if facts.get("adapter_version") in staying and not store.adapters():
                continue
        found.append(path)
    return found


def purge_store(store: Store, removed: Collection[str]) -> Garbage:
    """Delete every version that was taught one of the `removed` rows (their keys), or does not
    say what it was taught, with all exports, any run that was stopped and a gate that was trained
    beside other versions than the current ones; returns what went.

    Raises:
        StoreError: the current version is one of them; or the disk refuses to delete.
        StoreLocked: someone else is writing to the store.
    """
    with store.lock("purge"):
        store.recover()
        for adapter in all_adapters(store.root):
            current = store.current(adapter)
            if current is not None and _knows(current, removed):
                raise StoreError(
                    str(current.path), "was taught what is to be forgotten", "train anew first"
                )
        planned = plan_purge(store, removed)
        _remember_numbers(store)
        _remove_all(planned.items)
        # There is no text in them.
        _remove_all(_logs(store))
    return planned


def _knows(version: Version, removed: Collection[str]) -> bool:
    learned = learned_by(version)
    return learned is None or any(row.key in removed for row in learned)


def prune_saved(store: Store, keep: int) -> tuple[Version, ...]:
    """Remove what saves left behind, and return it: all but the newest `keep` versions that a
    save made, of each adapter; and with them the logs and old runs of what is gone.

    Never removed are the current version, the newest complete one, what was exported or rolled
    back to, and what a command made, or something that left no word about it. Nothing is looked
    at but the versions' own records, and a kill in between leaves whole versions and leftovers.

    Raises:
        StoreError: the store is damaged, or the disk refuses to delete.
        StoreLocked: someone else is writing to the store.
    """
    removed: list[Version] = []
    with store.lock("removing old versions"):
        for adapter in all_adapters(store.root):
            versions = store.versions(adapter)
            complete = [version for version in versions if version.complete]
            ledger = read_ledger(store.root, adapter)
            kept = {*ledger.exported, *(step.target for step in ledger.rollbacks)}
            saved = [version for version in complete if _saved(version)]
            removed += [
                version
                for version in saved[: max(0, len(saved) - keep)]
                if not version.current and version is not complete[-1]
                if version.number not in kept
            ]
        _remove_all(GarbageItem(version.path, GarbageKind.OLD, 0) for version in removed)
        _remove_all(_logs(store))
        _trim_runs(store, TRIMMED_AT_ONCE)
    return tuple(removed)


def _saved(version: Version) -> bool:
    try:
        record = version.run_record()
    except StoreError:
        return False
    return record is not None and record.made_by is MadeBy.SAVE


def record_export(store: Store, version: Version) -> None:
    """Note that a version was exported, so that it stays when those of saves are removed."""
    with store.lock("exporting"):
        ledger = read_ledger(store.root, version.adapter)
        if version.number not in ledger.exported:
            exported = tuple(sorted({*ledger.exported, version.number}))
            new = ledger.model_copy(update={"exported": exported})
            write_ledger(store.root, version.adapter, new)


def _adapter_garbage(versions: list[Version], keep: int) -> list[GarbageItem]:
    complete = [version for version in versions if version.complete]
    newest = complete[-1].number if complete else 0
    kept = {version.number for version in complete[-keep:]} if keep else set()
    kept |= {newest} | {version.number for version in versions if version.current}
    items = []
    for version in versions:
        if version.rejected:
            items.append(_item(version.path, GarbageKind.REJECTED))
        elif version.complete and version.number not in kept:
            items.append(_item(version.path, GarbageKind.OLD))
        elif not version.complete and version.number < newest and not version.current:
            items.append(_item(version.path, GarbageKind.INCOMPLETE))
    return items


def _leftovers(store: Store) -> list[GarbageItem]:
    return [_item(path, GarbageKind.TEMPORARY) for path in abandoned(store.root)]


def _logs(store: Store, going: Collection[Path] = ()) -> list[GarbageItem]:
    return [_item(path, GarbageKind.LOG) for path in spare_logs(store, going)]


def _trim_runs(store: Store, at_once: int) -> None:
    manifest = without_old_runs(store, at_once)
    if manifest is not None:
        _remember_numbers(store)
        store.write_manifest(manifest)


def _steps(store: Store, ask: Callable[[Path], Thinning]) -> list[GarbageItem]:
    # Figures that cannot be read must not keep anyone from making space.
    with suppress(StoreError):
        thinning = ask(store.root)
        if thinning.steps:
            return [GarbageItem(thinning.path, GarbageKind.STEPS, thinning.bytes)]
    return []


def _item(path: Path, kind: GarbageKind) -> GarbageItem:
    return GarbageItem(path, kind, tree_bytes(path))


def _remember_numbers(store: Store) -> None:
    manifest = store.read_manifest()
    for adapter in all_adapters(store.root):
        highest = highest_number(store.root, adapter, manifest)
        ledger = read_ledger(store.root, adapter)
        if highest > ledger.highest and adapter_root(store.root, adapter).is_dir():
            write_ledger(store.root, adapter, ledger.model_copy(update={"highest": highest}))


def _remove_all(items: Iterable[GarbageItem]) -> None:
    for item in items:
        _remove(item)


def _remove(item: GarbageItem) -> None:
    with disk_errors(item.path):
        if item.kind is GarbageKind.TEMPORARY:
            remove_tree(item.path)
            return
        if item.kind is GarbageKind.LOG:
            item.path.unlink(missing_ok=True)
            return
        # Renamed first: a version half deleted must not look like a version.
        name = claim_temporary_name()
        doomed = item.path.with_name(name)
        try:
            os.rename(item.path, doomed)
            fsync_dir(item.path.parent)
            remove_tree(doomed)
        finally:
            release_temporary_name(name)
