"""The versions of an adapter on disk: which there are, which is current, whether one is whole.

The invariant: a version counts as complete only when its `COMPLETE.json` (written
last, before the rename) lists exactly the files that are there, with their sizes;
`verify` also compares every SHA-256. Versions of other writers carry no such
marker; they count when the pointer or the manifest vouches for them and their
weights file is as long as its header says. Nothing here writes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import disk_errors, sha256_file
from dlm_engine.store.layout import pointer_path, version_name, versions_root
from dlm_engine.store.ledger import read_ledger
from dlm_engine.store.manifest import Manifest, Moment, TrainingRunSummary
from dlm_engine.store.records import read_json_object, require_version, validated

COMPLETE_NAME = "COMPLETE.json"
RUN_NAME = "dlm_run.json"
REJECTED_NAME = "rejected.json"
WEIGHTS_NAME = "adapter_model.safetensors"
CONFIG_NAME = "adapter_config.json"

_NUMBER = re.compile(r"v(\d{4,9})")
_REJECTED = re.compile(r"v(\d{4,9})-rejected(?:-\d+)?")
#: Files that desktops drop into any folder they show.
_DESKTOP_LITTER = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_MAX_POINTER_BYTES = 4096
_MAX_HEADER_BYTES = 100 * 2**20
_DAMAGED = "roll back to another version, or train again"


class FileSeal(BaseModel):
    """Size in bytes and SHA-256 of one file of a version."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Complete(BaseModel):
    """`COMPLETE.json`: every other file of the version, by its path with `/`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    schema_version: int = 1
    number: int = Field(ge=1)
    adapter: str | None = None
    completed_at: Moment
    files: dict[str, FileSeal]


class MadeBy(StrEnum):
    """What had a version made: somebody who asked for it, or a save of the document."""

    COMMAND = "command"
    SAVE = "save"


class RunRecord(BaseModel):
    """`dlm_run.json`: what the manifest must know about the run that made a version.

    It travels inside the version's folder, so a commit that dies between the rename
    and the manifest loses nothing. Writers may add keys of their own. `made_by` a save are the
    versions that `prune_saved` removes in time.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    run: TrainingRunSummary
    section_ids: tuple[str, ...] = ()
    base_model: str | None = None
    base_model_sha256: str | None = None
    made_by: MadeBy = MadeBy.COMMAND


class VersionState(StrEnum):
    """What a version folder is.

    complete: sealed by its marker. unsealed: of another writer, vouched for by the
    pointer or the manifest. incomplete: neither, or files are missing or cut.
    rejected: a run that ended in no usable adapter, kept aside with its reason.
    """

    COMPLETE = "complete"
    UNSEALED = "unsealed"
    INCOMPLETE = "incomplete"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Version:
    """One version folder of an adapter (`adapter` None: the flat one)."""

    number: int
    path: Path
    adapter: str | None
    state: VersionState
    current: bool

    @property
    def complete(self) -> bool:
        return self.state in (VersionState.COMPLETE, VersionState.UNSEALED)

    @property
    def rejected(self) -> bool:
        return self.state is VersionState.REJECTED

    def adapter_sha256(self) -> str | None:
        """What the marker says the adapter's tensors are, None where it says nothing."""
        marker = read_complete(self.path)
        seal = marker.files.get("adapter_model.safetensors") if marker else None
        return seal.sha256 if seal else None

    def verify(self) -> None:
        """Compare every file with the marker.

        Raises:
            StoreError: a file is missing, cut, changed or was added since the commit.
        """
        if self.state is VersionState.UNSEALED:
            _require_whole_weights(self.path)
            return
        marker = read_complete(self.path)
        if marker is None:
            raise StoreError(str(self.path), "was never completed", _DAMAGED)
        if (marker.number, marker.adapter) != (self.number, self.adapter):
            raise StoreError(str(self.path), "was committed under another number", _DAMAGED)
        _require_sizes(self.path, marker)
        with disk_errors(self.path):
            for name, seal in marker.files.items():
                if sha256_file(self.path / name) != seal.sha256:
                    raise StoreError(
                        str(self.path / name), "was changed after the commit", _DAMAGED
                    )

    def run_record(self) -> RunRecord | None:
        """What `dlm_run.json` says, None when there is none; `StoreError` when damaged."""
        return read_run_record(self.path)

    def four_bit_base(self) -> bool:
        """Whether it was trained on a base in 4 bits, as the packages of its run tell."""
        record = self.run_record()
        return record is not None and "bitsandbytes" in record.run.pinned_versions

    def rejection_reason(self) -> str:
        """Why the run was rejected; empty when that was not recorded."""
        value = read_json_object(self.path / REJECTED_NAME, _DAMAGED)
        return str((value or {}).get("reason", ""))

    def require_base(self, base_model: str, base_model_sha256: str | None) -> None:
        """Refuse to put this adapter on a base it was not trained on.

        What the version does not record is not compared.

        Raises:
            StoreError: it was trained on another base, or on other weights of it.
        """
        record = self.run_record()
        if record is None:
            return
        if record.base_model is not None and record.base_model != base_model:
            raise StoreError(
                str(self.path),
                f"was trained on {record.base_model}, not on {base_model}",
                f"train again, or set base_model back to {record.base_model}",
            )
        recorded, offered = record.base_model_sha256, base_model_sha256
        if recorded is not None and offered is not None and recorded != offered:
            raise StoreError(
                str(self.path),
                f"was trained on other weights of {base_model} "
                f"(sha256 {recorded[:12]}, not {offered[:12]})",
                "train again on the weights that are here",
            )


def list_versions(root: Path, adapter: str | None, manifest: Manifest | None) -> list[Version]:
    """All version folders of an adapter, by number, rejected ones after their namesakes.

    Raises:
        StoreError: the folder cannot be read, or the pointer leads out of the store.
    """
    return scan_versions(root, adapter, manifest, read_pointer(root, adapter))


def scan_versions(
    root: Path, adapter: str | None, manifest: Manifest | None, pointed: int | None
) -> list[Version]:
    """As `list_versions`, with the number the pointer names given."""
    folder = versions_root(root, adapter)
    vouched = _vouched_numbers(manifest, adapter) | ({pointed} if pointed is not None else set())
    found = []
    for name, path in _folders(folder):
        if rejected := _REJECTED.fullmatch(name):
            number = int(rejected.group(1))
            found.append(Version(number, path, adapter, VersionState.REJECTED, False))
        elif (plain := _NUMBER.fullmatch(name)) and name == version_name(int(plain.group(1))):
            number = int(plain.group(1))
            state = _state(path, number, adapter, vouched)
            found.append(Version(number, path, adapter, state, number == pointed))
    return sorted(found, key=lambda version: (version.number, version.path.name))


def current_version(root: Path, adapter: str | None, manifest: Manifest | None) -> Version | None:
    """The version the pointer names, None when there is no pointer.

    Raises:
        StoreError: the pointer leads nowhere, out of the store, or to an incomplete version.
    """
    number = read_pointer(root, adapter)
    while number is not None:
        path = versions_root(root, adapter) / version_name(number)
        with disk_errors(path):
            present = path.is_dir() and not path.is_symlink()
        if present:
            vouched = _vouched_numbers(manifest, adapter) | {number}
            state = _state(path, number, adapter, vouched)
            if state in (VersionState.COMPLETE, VersionState.UNSEALED):
                return Version(number, path, adapter, state, True)
        # A writer may have moved on, and removed this version, since the pointer was read.
        again = read_pointer(root, adapter)
        if again == number:
            raise _damaged_current(root, adapter, manifest, path, present=present)
        number = again
    return None


def _damaged_current(
    root: Path, adapter: str | None, manifest: Manifest | None, path: Path, *, present: bool
) -> StoreError:
    others = [v.number for v in list_versions(root, adapter, manifest) if v.complete]
    remedy = "train again"
    if others:
        remedy = f"`dlm rollback` to {max(others)}, the newest complete one"
    problem = "is current but damaged" if present else "is current but missing"
    return StoreError(str(path), problem, remedy)


def read_pointer(root: Path, adapter: str | None) -> int | None:
    """The version number `current.txt` names, None when it is missing or empty.

    Raises:
        StoreError: it is unreadable or names anything but a version of this adapter.
    """
    path = pointer_path(root, adapter)
    remedy = "`dlm rollback` to one of the versions sets it anew"
    with disk_errors(path):
        try:
            with path.open("rb") as stream:
                data = stream.read(_MAX_POINTER_BYTES)
        except FileNotFoundError:
            return None
    target = data.decode("utf-8", errors="replace").strip()
    if not target:
        return None
    folder = versions_root(root, adapter)
    prefix = folder.relative_to(root).as_posix() + "/"
    match = _NUMBER.fullmatch(target.removeprefix(prefix))
    if not target.startswith(prefix) or match is None:
        raise StoreError(str(path), f"does not name a version ({target[:80]!r})", remedy)
    with disk_errors(path):
        real_root = root.resolve()
        real_target = (root / target).resolve()
    if not real_target.is_relative_to(real_root):
        raise StoreError(str(path), f"leads out of the store (to {real_target})", remedy)
    return int(match.group(1))


def highest_number(root: Path, adapter: str | None, manifest: Manifest | None) -> int:
    """The highest number ever given to a version: rejected, recorded or since removed."""
    numbers = {read_ledger(root, adapter).highest} | _vouched_numbers(manifest, adapter)
    for name, _ in _folders(versions_root(root, adapter)):
        match = _REJECTED.fullmatch(name) or _NUMBER.fullmatch(name)
        if match:
            numbers.add(int(match.group(1)))
    return max(numbers)


def read_complete(folder: Path) -> Complete | None:
    """The marker of a version folder, None when it has none; `StoreError` when damaged."""
    path = folder / COMPLETE_NAME
    value = read_json_object(path, _DAMAGED)
    if value is None:
        return None
    require_version(path, value, "schema_version", 1, None)
    return validated(Complete, value, path, _DAMAGED)


def read_run_record(folder: Path) -> RunRecord | None:
    """What `dlm_run.json` in a folder says, None when there is none; `StoreError` when damaged."""
    path = folder / RUN_NAME
    value = read_json_object(path, _DAMAGED)
    return None if value is None else validated(RunRecord, value, path, _DAMAGED)


def regular_files(folder: Path) -> dict[str, Path]:
    """Every file under `folder` by its path with `/`, sorted; raises plain `OSError`.

    Raises:
        StoreError: there is a link or a device; a version is made of plain files only.
    """
    return {name: folder / name for name in sorted(_plain_files(str(folder), ""))}


def _plain_files(folder: str, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _plain_files(entry.path, f"{prefix}{entry.name}/")
            elif not entry.is_file(follow_symlinks=False):
                raise StoreError(
                    entry.path, "is not a plain file", "a version holds plain files only"
                )
            elif entry.name not in _DESKTOP_LITTER:
                yield f"{prefix}{entry.name}"


def _folders(folder: Path) -> Iterator[tuple[str, Path]]:
    with disk_errors(folder):
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name, Path(entry.path)


def _vouched_numbers(manifest: Manifest | None, adapter: str | None) -> set[int]:
    if manifest is None:
        return set()
    numbers = {run.adapter_version for run in manifest.training_runs if run.adapter_name == adapter}
    last = (
        manifest.adapter_version if adapter is None else manifest.adapter_versions.get(adapter, 0)
    )
    return numbers | ({last} if last else set())


def _state(path: Path, number: int, adapter: str | None, vouched: set[int]) -> VersionState:
    try:
        marker = read_complete(path)
        if marker is not None:
            _require_sizes(path, marker)
            own = (marker.number, marker.adapter) == (number, adapter)
            return VersionState.COMPLETE if own else VersionState.INCOMPLETE
        # Our own versions with a run record always have a marker: without it, it was lost.
        if number not in vouched or (path / RUN_NAME).exists():
            return VersionState.INCOMPLETE
        _require_whole_weights(path)
    except StoreError:
        return VersionState.INCOMPLETE
    return VersionState.UNSEALED


def _require_sizes(folder: Path, marker: Complete) -> None:
    with disk_errors(folder):
        present = regular_files(folder)
        present.pop(COMPLETE_NAME, None)
        for name, seal in marker.files.items():
            path = present.pop(name, None)
            if path is None:
                raise StoreError(str(folder / name), "is missing", _DAMAGED)
            size = path.stat().st_size
            if size != seal.bytes:
                raise StoreError(
                    str(path), f"has {size} bytes where {seal.bytes} were committed", _DAMAGED
                )
    if present:
        stranger = next(iter(present))
        raise StoreError(str(folder / stranger), "was added after the commit", _DAMAGED)


def _require_whole_weights(folder: Path) -> None:
    """A version without a marker: its config parses and its weights are not cut short."""
    config = read_json_object(folder / CONFIG_NAME, _DAMAGED)
    if config is None:
        raise StoreError(str(folder / CONFIG_NAME), "is missing", _DAMAGED)
    weights = folder / WEIGHTS_NAME
    problem = "is damaged, not a safetensors file"
    with disk_errors(weights):
        try:
            size = weights.stat().st_size
            with weights.open("rb") as stream:
                header_size = int.from_bytes(stream.read(8), "little")
                if not 2 <= header_size <= min(size - 8, _MAX_HEADER_BYTES):
                    raise StoreError(str(weights), problem, _DAMAGED)
                header = json.loads(stream.read(header_size))
            ends = [
                tensor["data_offsets"][1]
                for name, tensor in header.items()
                if name != "__metadata__"
            ]
            whole = size == 8 + header_size + max(ends, default=0)
        except FileNotFoundError as error:
            raise StoreError(str(weights), "is missing", _DAMAGED) from error
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise StoreError(str(weights), problem, _DAMAGED) from error
    if not whole:
        raise StoreError(str(weights), "is cut short", _DAMAGED)
