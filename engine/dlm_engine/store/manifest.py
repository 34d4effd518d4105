"""`manifest.json`: what a store knows about its document, runs and exports (schema 1).

The invariant: what is written here has exactly the keys of schema 1, because the
format is shared with other readers, which refuse keys they do not know. What dlm
records beyond that lies in files of its own: `dlm_run.json` and `COMPLETE.json`
in a version's folder, `ledger.json` beside the pointer.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    PlainSerializer,
    field_validator,
)

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import write_atomic
from dlm_engine.store.layout import validate_dlm_id
from dlm_engine.store.records import (
    canonical_json,
    read_json_object,
    require_version,
    validated,
)

SCHEMA_VERSION: Final = 1
MANIFEST_NAME = "manifest.json"


def now() -> datetime:
    """The present, naive UTC, whole seconds: the form of every time in the manifest."""
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


def _naive_utc(moment: datetime) -> datetime:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=0)


Moment = Annotated[
    datetime,
    AfterValidator(_naive_utc),
    PlainSerializer(lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S"), when_used="json"),
]


def _present_only(value: object) -> object:
    # Some writers record a package that is not installed as null.
    if not isinstance(value, dict):
        return value
    return {name: version for name, version in value.items() if version is not None}


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class LicenceRecord(_Record):
    """The acceptance of a base's licence: when, which, and how it was given."""

    # Other writers give this one time with its zone; both forms are read.
    accepted_at: AwareDatetime | datetime
    license_url: str
    license_spdx: str
    via: Literal["cli_flag", "interactive", "frontmatter"]

    @field_validator("accepted_at")
    @classmethod
    def _with_zone(cls, moment: datetime) -> datetime:
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class TrainingRunSummary(_Record):
    """One run that ended in a version. Losses are nats per supervised token."""

    run_id: int = Field(ge=1)
    started_at: Moment
    ended_at: Moment | None = None
    adapter_version: int = Field(ge=1)
    base_model_revision: str | None = None
    seed: int
    steps: int = Field(default=0, ge=0)
    final_train_loss: FiniteFloat | None = None
    final_val_loss: FiniteFloat | None = None
    status: Literal["running", "completed", "failed", "cancelled"] = "completed"
    pinned_versions: dict[str, str] = Field(default_factory=dict)
    summary_path: str | None = None
    adapter_name: str | None = None
    weight_distribution: JsonValue = None

    @field_validator("pinned_versions", mode="before")
    @classmethod
    def _without_absent(cls, value: object) -> object:
        return _present_only(value)


class ExportSummary(_Record):
    """One export and what its check answered."""

    exported_at: Moment
    target: str = "ollama"
    quant: str
    merged: bool = False
    ollama_name: str | None = None
    ollama_version: str | None = None
    llama_cpp_tag: str | None = None
    base_gguf_sha256: str | None = None
    adapter_gguf_sha256: str | None = None
    smoke_output_first_line: str | None = None
    adapter_name: str | None = None
    adapter_mix: tuple[tuple[str, FiniteFloat], ...] | None = None


class Manifest(_Record):
    """The whole of `manifest.json`. `adapter_version` is the current version, 0 for none.

    `exports` is what the existing tool recorded there, and is kept. Those made here say it in
    their own folders (`layout.export_folders`) and in the metrics.
    """

    dlm_id: str
    schema_version: Literal[1] = SCHEMA_VERSION
    created_at: Moment = Field(default_factory=now)
    updated_at: Moment = Field(default_factory=now)
    base_model: str
    base_model_revision: str | None = None
    base_model_sha256: str | None = None
    adapter_version: int = Field(default=0, ge=0)
    adapter_sha256: str | None = None
    adapter_config_sha256: str | None = None
    adapter_versions: dict[str, int] = Field(default_factory=dict)
    training_runs: tuple[TrainingRunSummary, ...] = ()
    exports: tuple[ExportSummary, ...] = ()
    content_hashes: dict[str, str] = Field(default_factory=dict)
    pinned_versions: dict[str, str] = Field(default_factory=dict)
    source_path: Path | None = None
    license_acceptance: LicenceRecord | None = None

    @field_validator("pinned_versions", mode="before")
    @classmethod
    def _without_absent(cls, value: object) -> object:
        return _present_only(value)

    def next_run_id(self) -> int:
        """One more than the highest run recorded; 1 for the first."""
        return max((run.run_id for run in self.training_runs), default=0) + 1


_REMEDY = "restore it from a copy, or move the store away and train again"


def read_manifest(root: Path, dlm_id: str) -> Manifest | None:
    """The manifest of the store at `root`, or None when there is none.

    Raises:
        StoreError: unreadable, damaged, written by a newer dlm, or of another document.
    """
    path = root / MANIFEST_NAME
    value = read_json_object(path, _REMEDY)
    if value is None:
        return None
    require_version(path, value, "schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
    manifest = validated(Manifest, value, path, _REMEDY)
    _require_own(manifest, dlm_id, path)
    return manifest


def write_manifest(root: Path, dlm_id: str, manifest: Manifest) -> None:
    """Replace the manifest durably. Raises `StoreError` (disk, or another document's)."""
    path = root / MANIFEST_NAME
    _require_own(manifest, dlm_id, path)
    validate_dlm_id(manifest.dlm_id)
    write_atomic(path, canonical_json(manifest, ascii_only=False))


def _require_own(manifest: Manifest, dlm_id: str, path: Path) -> None:
    if manifest.dlm_id == dlm_id:
        return
    raise StoreError(
        str(path),
        f"belongs to another document ({manifest.dlm_id[:64]!r}, not {dlm_id})",
        "the store was copied or renamed; move it away or restore the right one",
    )
