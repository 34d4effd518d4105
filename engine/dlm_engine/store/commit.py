"""From a folder being filled to a version that counts, and back to order after a crash.

The order is everything: files and marker are on the disk before the rename, the
rename before the manifest, the manifest before the pointer. So at every instant
the pointer names a complete version, and what a crash left undone (manifest,
pointer, temporary folders) follows from the version folders themselves; `settle`
redoes it. A journal would be one more file to keep true.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import (
    claim_temporary_name,
    disk_errors,
    fsync_dir,
    fsync_file,
    is_abandoned,
    make_folders,
    release_temporary_name,
    remove_tree,
    sha256_file,
    write_atomic,
    write_durably,
)
from dlm_engine.store.layout import (
    adapter_root,
    checkpoint_folders,
    gate_path,
    named_adapters,
    pointer_path,
    version_name,
    versions_root,
)
from dlm_engine.store.ledger import read_ledger
from dlm_engine.store.manifest import (
    Manifest,
    TrainingRunSummary,
    now,
    read_manifest,
    write_manifest,
)
from dlm_engine.store.records import canonical_json
from dlm_engine.store.versions import (
    COMPLETE_NAME,
    CONFIG_NAME,
    REJECTED_NAME,
    RUN_NAME,
    WEIGHTS_NAME,
    Complete,
    FileSeal,
    RunRecord,
    Version,
    VersionState,
    highest_number,
    read_complete,
    read_pointer,
    read_run_record,
    regular_files,
    scan_versions,
)


class Staging:
    """A folder to fill, and the number it will get. One of `commit` and `reject` ends it."""

    def __init__(self, root: Path, dlm_id: str, adapter: str | None) -> None:
        self._root = root
        self._dlm_id = dlm_id
        self.adapter = adapter
        self.number = highest_number(root, adapter, read_manifest(root, dlm_id)) + 1
        self._name = claim_temporary_name()
        self.path = versions_root(root, adapter) / self._name
        self.ended = False
        try:
            make_folders(self.path)
        except StoreError:
            release_temporary_name(self._name)
            raise

    def commit(self, run: TrainingRunSummary | RunRecord | None = None) -> Version:
        """Seal the folder, make it a version and the current one; returns it.

        Without `run`, `dlm_run.json` in the folder is the run's record if there is
        one. A run's `adapter_version` must be `number` and its name the adapter's.

        Raises:
            StoreError: the disk refused. Before the rename nothing has happened, and
                the commit may be tried again while the folder is open; after it the
                version is whole and `settle` makes it current.
        """
        self._require_open()
        target = versions_root(self._root, self.adapter) / version_name(self.number)
        with disk_errors(self.path):
            self._write_run_record(run)
            self._seal()
            _rename_new(self.path, target)
            self.ended = True
            fsync_dir(target.parent)
        version = Version(self.number, target, self.adapter, VersionState.COMPLETE, True)
        _record(self._root, self._dlm_id, version)
        _point(self._root, version)
        return version

    def reject(self, reason: str) -> Version:
        """Keep the folder as `vNNNN-rejected` with `reason` in a file; the number is used up."""
        self._require_open()
        target = versions_root(self._root, self.adapter) / f"{version_name(self.number)}-rejected"
        with disk_errors(self.path):
            body = {"at": now().isoformat(), "number": self.number, "reason": reason}
            write_durably(self.path / REJECTED_NAME, _json_line(body))
            _sync_tree(self.path)
            _rename_new(self.path, target)
            self.ended = True
            fsync_dir(target.parent)
        return Version(self.number, target, self.adapter, VersionState.REJECTED, False)

    def close(self) -> None:
        """Remove the folder unless it became a version. Never raises."""
        if not self.ended:
            try:
                remove_tree(self.path)
            except OSError:
                # The name stays temporary, so the next sweep takes it.
                self.ended = True
        release_temporary_name(self._name)

    def _require_open(self) -> None:
        if self.ended:
            raise RuntimeError("this staging folder was already committed or rejected")

    def _write_run_record(self, run: TrainingRunSummary | RunRecord | None) -> None:
        if isinstance(run, TrainingRunSummary):
            run = RunRecord(run=run)
        written = read_run_record(self.path)
        if run is not None and written is None:
            write_atomic(self.path / RUN_NAME, canonical_json(run, ascii_only=False))
        elif run is not None and run != written:
            raise ValueError(f"{RUN_NAME} in the folder tells of another run")
        record = run or written
        if record is None:
            return
        named = (record.run.adapter_version, record.run.adapter_name)
        if named != (self.number, self.adapter):
            raise ValueError(f"the run says {named}, the folder is {(self.number, self.adapter)}")

    def _seal(self) -> None:
        files = regular_files(self.path)
        files.pop(COMPLETE_NAME, None)
        if not files:
            raise ValueError("a version without files cannot be committed")
        _sync_tree(self.path)
        marker = Complete(
            number=self.number,
            adapter=self.adapter,
            completed_at=now(),
            files={
                name: FileSeal(bytes=path.stat().st_size, sha256=sha256_file(path))
                for name, path in files.items()
            },
        )
        write_atomic(self.path / COMPLETE_NAME, canonical_json(marker, ascii_only=True))


@dataclass(slots=True)
class Recovery:
    """What `settle` did, one sentence each; empty when all was in order."""

    actions: list[str] = field(default_factory=list)


def settle(root: Path, dlm_id: str) -> Recovery:
    """Finish what a crash cut short. The caller holds the lock. Writes only what differs.

    Raises:
        StoreError: the store is damaged beyond what a crash can do, or the disk refused.
    """
    recovery = Recovery()
    for adapter in all_adapters(root):
        _settle_manifest(root, dlm_id, adapter, recovery)
        _settle_pointer(root, dlm_id, adapter, recovery)
    return recovery


def sweep(root: Path) -> Recovery:
    """Remove what dead processes left unfinished. The caller holds the lock."""
    recovery = Recovery()
    for path in abandoned(root):
        with disk_errors(path), suppress(FileNotFoundError):
            remove_tree(path)
            recovery.actions.append(f"removed {path.name}, left by a process that is gone")
    return recovery


def abandoned(root: Path) -> list[Path]:
    """Temporary files and folders in the store whose process is gone."""
    adapters = all_adapters(root)
    folders = [root, root / "logs", gate_path(root), *checkpoint_folders(root)]
    folders += [adapter_root(root, adapter) for adapter in adapters]
    folders += [versions_root(root, adapter) for adapter in adapters]
    found = []
    for folder in folders:
        with disk_errors(folder), suppress(FileNotFoundError):
            found += [path for path in folder.iterdir() if is_abandoned(path.name)]
    return sorted(found)


def all_adapters(root: Path) -> list[str | None]:
    """The flat adapter (None) and every named one."""
    with disk_errors(root):
        return [None, *named_adapters(root)]


def point_at(root: Path, dlm_id: str, version: Version) -> None:
    """Make a complete version current: the manifest first, the pointer last."""
    _record(root, dlm_id, version)
    _point(root, version)


# --- the steps ---------------------------------------------------------------------------


def _record(root: Path, dlm_id: str, version: Version) -> None:
    """Bring the manifest in line with `version` being current, adding its run if missing."""
    manifest = read_manifest(root, dlm_id)
    record = version.run_record()
    if manifest is None:
        manifest = _rebuilt_manifest(dlm_id, [version])
    if manifest is None:
        return
    changed = _described(_with_runs(manifest, [version]), version, record)
    if version.adapter is not None and record is not None:
        learned = {**_learned_by_others(root, version.adapter), **changed.content_hashes}
        changed = changed.model_copy(update={"content_hashes": dict(sorted(learned.items()))})
    if changed != manifest:
        write_manifest(root, dlm_id, changed.model_copy(update={"updated_at": now()}))


def _learned_by_others(root: Path, adapter: str) -> dict[str, str]:
    """The sections that the other named adapters' current versions learned."""
    found: dict[str, str] = {}
    for name in named_adapters(root):
        number = None if name == adapter else _pointer_or_none(root, name)
        if number is not None:
            record = read_run_record(versions_root(root, name) / version_name(number))
            found |= {section: section for section in (record.section_ids if record else ())}
    return found


def _rebuilt_manifest(dlm_id: str, versions: Iterable[Version]) -> Manifest | None:
    for version in versions:
        record = version.run_record()
        if record is not None and record.base_model is not None:
            return Manifest(dlm_id=dlm_id, base_model=record.base_model)
    return None


def _with_runs(manifest: Manifest, versions: Iterable[Version]) -> Manifest:
    known = {(run.adapter_name, run.adapter_version) for run in manifest.training_runs}
    missing = [
        record.run
        for version in versions
        if (version.adapter, version.number) not in known
        and (record := version.run_record()) is not None
    ]
    if not missing:
        return manifest
    runs = sorted((*manifest.training_runs, *missing), key=lambda run: run.run_id)
    return manifest.model_copy(update={"training_runs": tuple(runs)})


def _described(manifest: Manifest, version: Version, record: RunRecord | None) -> Manifest:
    """`manifest` as it is when `version` is the current one."""
    update: dict[str, object] = {}
    if version.adapter is None:
        marker = read_complete(version.path)
        files = {} if marker is None else marker.files
        update["adapter_version"] = version.number
        update["adapter_sha256"] = files[WEIGHTS_NAME].sha256 if WEIGHTS_NAME in files else None
        update["adapter_config_sha256"] = (
            files[CONFIG_NAME].sha256 if CONFIG_NAME in files else None
        )
    else:
        numbers = {**manifest.adapter_versions, version.adapter: version.number}
        update["adapter_versions"] = dict(sorted(numbers.items()))
    if record is not None:
        update["content_hashes"] = {section: section for section in record.section_ids}
        update["pinned_versions"] = record.run.pinned_versions
        if record.run.base_model_revision is not None:
            update["base_model_revision"] = record.run.base_model_revision
        if record.base_model is not None:
            update["base_model"] = record.base_model
        if record.base_model_sha256 is not None:
            update["base_model_sha256"] = record.base_model_sha256
    return manifest.model_copy(update=update)


def _point(root: Path, version: Version) -> None:
    line = version.path.relative_to(root).as_posix() + "\n"
    write_atomic(pointer_path(root, version.adapter), line.encode("ascii"))


def _settle_manifest(root: Path, dlm_id: str, adapter: str | None, recovery: Recovery) -> None:
    manifest = read_manifest(root, dlm_id)
    versions = _whole(root, adapter, manifest)
    if manifest is None:
        manifest = _rebuilt_manifest(dlm_id, reversed(versions))
        if manifest is None:
            return
        recovery.actions.append("rebuilt the manifest from the versions")
    changed = _with_runs(manifest, versions)
    count = len(changed.training_runs) - len(manifest.training_runs)
    if count == 0:
        return
    write_manifest(root, dlm_id, changed.model_copy(update={"updated_at": now()}))
    recovery.actions.append(f"recorded {count} finished run{'' if count == 1 else 's'}")


def _settle_pointer(root: Path, dlm_id: str, adapter: str | None, recovery: Recovery) -> None:
    manifest = read_manifest(root, dlm_id)
    pointed = _pointer_or_none(root, adapter)
    target = _rightful_current(root, adapter, _whole(root, adapter, manifest), pointed)
    if target is None:
        return
    if pointed == target.number and _manifest_number(manifest, adapter) in (None, pointed):
        return
    point_at(root, dlm_id, target)
    was = "nothing was" if pointed is None else f"{version_name(pointed)} was"
    recovery.actions.append(f"made {target.path.name} current ({was})")


def _whole(root: Path, adapter: str | None, manifest: Manifest | None) -> list[Version]:
    # A pointer that makes no sense must not keep the store from being put in order.
    pointed = _pointer_or_none(root, adapter)
    return [v for v in scan_versions(root, adapter, manifest, pointed) if v.complete]


def _pointer_or_none(root: Path, adapter: str | None) -> int | None:
    try:
        return read_pointer(root, adapter)
    except StoreError:
        return None


def _manifest_number(manifest: Manifest | None, adapter: str | None) -> int | None:
    if manifest is None:
        return None
    return manifest.adapter_version if adapter is None else manifest.adapter_versions.get(adapter)


def _rightful_current(
    root: Path, adapter: str | None, versions: list[Version], pointed: int | None
) -> Version | None:
    """The newest version, unless a rollback holds an older one; None without versions."""
    whole = {version.number: version for version in versions}
    if not whole:
        return None
    newest = max(whole)
    held = read_ledger(root, adapter).held_target(newest)
    if held in whole:
        return whole[held]
    if pointed not in whole or whole[newest].state is VersionState.COMPLETE:
        return whole[newest]
    # Another writer's pointer is its own decision while its version is whole, but a
    # version sealed after it was committed by us and not yet pointed at.
    sealed = [n for n, v in whole.items() if v.state is VersionState.COMPLETE and n > pointed]
    return whole[max(sealed, default=pointed)]


def _rename_new(source: Path, target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise StoreError(
            str(target), "is there already", "another program writes to this store; stop it"
        )
    os.rename(source, target)


def _sync_tree(folder: Path) -> None:
    for path in regular_files(folder).values():
        fsync_file(path)
    for directory, _, _ in os.walk(folder, topdown=False):
        fsync_dir(Path(directory))


def _json_line(body: dict[str, object]) -> bytes:
    return json.dumps(body, sort_keys=True, indent=2, ensure_ascii=False).encode("utf-8") + b"\n"
