"""`dlm.lock`: the inputs of the last run, and what a difference from them means.

The invariant: everything that fixes the adapter's bytes is recorded and really
compared, each difference has one severity from one table, and an error lists every
difference at once with what to do about it. The file is written last, after the
manifest, so it always describes a run that is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
)

from dlm_engine.errors import LockDrift, StoreError
from dlm_engine.store.atomic import write_atomic
from dlm_engine.store.manifest import LicenceRecord
from dlm_engine.store.opening import Store
from dlm_engine.store.records import canonical_json, read_json_object, require_version, validated

LOCKFILE_NAME = "dlm.lock"
LOCK_VERSION: Final = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
HardwareTier = Literal["cuda-sm80+", "cuda-sm<80", "mps", "cpu", "rocm"]
#: strong: earned by a self-test on this machine; best-effort; advisory: nothing promised.
DeterminismClass = Literal["strong", "best-effort", "advisory"]


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


class LockFile(BaseModel):
    """The whole of `dlm.lock`.

    `determinism_flags` are the switches of torch that decide which kernels it takes.
    `conditions` are what the determinism class depends on (instruction set, dtype,
    attention, batch geometry, kernel versions), each a short string. Names that
    start with `threads` are kept for the reader and never compared, since the
    self-test has shown that the thread count does not matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    lock_version: Literal[1] = LOCK_VERSION
    created_at: Annotated[AwareDatetime, AfterValidator(_in_utc)] = Field(
        default_factory=lambda: datetime.now(UTC)
    )
    dlm_id: str
    dlm_sha256: Sha256
    base_model_revision: str
    base_model_sha256: Sha256 | None = None
    pinned_versions: dict[str, str] = Field(default_factory=dict)
    cuda_version: str | None = None
    rocm_version: str | None = None
    hardware_tier: HardwareTier = "cpu"
    seed: int
    determinism_flags: dict[str, JsonValue] = Field(default_factory=dict)
    determinism_class: DeterminismClass
    conditions: dict[str, str] = Field(default_factory=dict)
    license_acceptance: LicenceRecord | None = None
    last_run_id: int = Field(ge=1)
    world_size: int = Field(default=1, ge=1)

    @field_validator("pinned_versions", mode="before")
    @classmethod
    def _without_absent(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: version for name, version in value.items() if version is not None}


class LockMode(StrEnum):
    """How a run treats `dlm.lock`.

    default: errors stop, warnings are told. strict: warnings stop too. update:
    compare nothing and write. ignore: compare nothing and do not write.
    """

    DEFAULT = "default"
    STRICT = "strict"
    UPDATE = "update"
    IGNORE = "ignore"


class DriftSeverity(StrEnum):
    ALLOW = "allow"
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference; `before` and `after` None mean absent."""

    name: str
    severity: DriftSeverity
    before: str | None
    after: str | None

    @property
    def message(self) -> str:
        return f"{self.name} was {_shown(self.before)} and is now {_shown(self.after)}"


@dataclass(frozen=True, slots=True)
class LockCheck:
    """The differences that do not stop the run, and whether to write the lock after it."""

    drifts: tuple[Drift, ...]
    writes: bool

    @property
    def warnings(self) -> tuple[Drift, ...]:
        return tuple(d for d in self.drifts if d.severity is DriftSeverity.WARN)


_REMEDY = "`--update-lock` accepts what is here now and writes the lock anew"
_DRIFT_REMEDY = (
    "put these back as they were, or accept them with `--update-lock`"
    " (`--ignore-lock` runs once without touching the lock)"
)


def read_lock(store: Store) -> LockFile | None:
    """The store's `dlm.lock`, None when there is none.

    Raises:
        StoreError: damaged, of a newer dlm, or of another document.
    """
    path = store.root / LOCKFILE_NAME
    value = read_json_object(path, _REMEDY)
    if value is None:
        return None
    require_version(path, value, "lock_version", LOCK_VERSION, None)
    lock = validated(LockFile, value, path, _REMEDY)
    if lock.dlm_id != store.dlm_id:
        raise StoreError(str(path), f"belongs to another document ({lock.dlm_id[:64]!r})", _REMEDY)
    return lock


def write_lock(store: Store, lock: LockFile) -> None:
    """Replace `dlm.lock` durably; raises `StoreError`."""
    if lock.dlm_id != store.dlm_id:
        raise ValueError("a lock of another document")
    with store.lock("writing dlm.lock"):
        write_atomic(store.root / LOCKFILE_NAME, canonical_json(lock, ascii_only=True))


def check_lock(store: Store, new: LockFile, mode: LockMode) -> LockCheck:
    """Compare what is about to run with the lock. Reads only.

    Raises:
        LockDrift: something differs that must not; the problem lists all of it.
        StoreError: the lock cannot be read (not under `update`, which replaces it).
    """
    if mode is LockMode.UPDATE:
        return LockCheck((), writes=True)
    if mode is LockMode.IGNORE:
        return LockCheck((), writes=False)
    old = read_lock(store)
    if old is None:
        return LockCheck((), writes=True)
    drifts = compare(old, new, mode)
    require_no_errors(drifts, str(store.root / LOCKFILE_NAME))
    return LockCheck(tuple(drifts), writes=True)


def require_no_errors(drifts: list[Drift], subject: str) -> None:
    """Raise `LockDrift` that lists every drift of severity error, if there is one."""
    errors = [drift.message for drift in drifts if drift.severity is DriftSeverity.ERROR]
    if errors:
        raise LockDrift(subject, "; ".join(errors), _DRIFT_REMEDY)


def compare(old: LockFile, new: LockFile, mode: LockMode) -> list[Drift]:
    """Every difference, in the order of the severity table; none under update and ignore."""
    if mode in (LockMode.UPDATE, LockMode.IGNORE):
        return []
    drifts = [drift for drift in _differences(old, new) if drift.before != drift.after]
    if mode is LockMode.DEFAULT:
        return drifts
    return [
        replace(drift, severity=DriftSeverity.ERROR)
        if drift.severity is DriftSeverity.WARN
        else drift
        for drift in drifts
    ]


def _differences(old: LockFile, new: LockFile) -> Iterator[Drift]:
    allow, warn, error = DriftSeverity.ALLOW, DriftSeverity.WARN, DriftSeverity.ERROR
    yield Drift("dlm_sha256", allow, old.dlm_sha256, new.dlm_sha256)
    yield Drift("base_model_revision", error, old.base_model_revision, new.base_model_revision)
    if old.base_model_sha256 is not None and new.base_model_sha256 is not None:
        yield Drift("base_model_sha256", error, old.base_model_sha256, new.base_model_sha256)
    before, after = old.pinned_versions.get("torch"), new.pinned_versions.get("torch")
    yield Drift("torch", error if _majors_differ(before, after) else warn, before, after)
    first = ("bitsandbytes",)
    yield from _map_drifts("", old.pinned_versions, new.pinned_versions, first)
    yield Drift("hardware_tier", warn, old.hardware_tier, new.hardware_tier)
    yield Drift("determinism_class", warn, old.determinism_class, new.determinism_class)
    flags = (_strings(old.determinism_flags), _strings(new.determinism_flags))
    if flags[0] and flags[1]:
        names = tuple(sorted(flags[0] | flags[1]))
        yield from _map_drifts("determinism_flags.", *flags, names)
    conditions = (_compared(old.conditions), _compared(new.conditions))
    if conditions[0] and conditions[1]:
        names = tuple(sorted(conditions[0] | conditions[1]))
        yield from _map_drifts("conditions.", *conditions, names)
    yield Drift("seed", warn, str(old.seed), str(new.seed))
    yield Drift("cuda_version", warn, old.cuda_version, new.cuda_version)
    yield Drift("rocm_version", warn, old.rocm_version, new.rocm_version)
    yield Drift("world_size", warn, str(old.world_size), str(new.world_size))
    yield from _licence_drifts(old.license_acceptance, new.license_acceptance)
    peers = (old.pinned_versions.keys() | new.pinned_versions.keys()) - {"torch", *first}
    yield from _map_drifts("", old.pinned_versions, new.pinned_versions, tuple(sorted(peers)))


def _map_drifts(
    prefix: str, old: dict[str, str], new: dict[str, str], names: tuple[str, ...]
) -> Iterator[Drift]:
    for name in names:
        yield Drift(f"{prefix}{name}", DriftSeverity.WARN, old.get(name), new.get(name))


def _licence_drifts(old: LicenceRecord | None, new: LicenceRecord | None) -> Iterator[Drift]:
    warn = DriftSeverity.WARN
    if old is None or new is None:
        before = None if old is None else old.license_spdx
        after = None if new is None else new.license_spdx
        yield Drift("license_acceptance", warn, before, after)
        return
    yield Drift("license_acceptance.spdx", warn, old.license_spdx, new.license_spdx)
    yield Drift("license_acceptance.url", warn, old.license_url, new.license_url)


def _compared(conditions: dict[str, str]) -> dict[str, str]:
    return {name: v for name, v in conditions.items() if not name.startswith("threads")}


def _strings(flags: dict[str, JsonValue]) -> dict[str, str]:
    return {name: str(value) for name, value in flags.items()}


def _majors_differ(before: str | None, after: str | None) -> bool:
    from packaging.version import InvalidVersion, Version

    if before is None or after is None:
        return False
    try:
        old, new = Version(before), Version(after)
    except InvalidVersion:
        return False
    return (old.epoch, old.major) != (new.epoch, new.major)


def _shown(value: str | None) -> str:
    if value is None:
        return "absent"
    return value if len(value) <= 48 else f"{value[:12]}…"
