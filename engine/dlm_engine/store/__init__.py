"""What lives under the home for one document: manifest, versions, locks, logs.

Importing this room costs pydantic and nothing heavier; no torch.
"""

from dlm_engine.store.atomic import (
    disk_errors,
    ensure_space,
    fsync_dir,
    make_folders,
    sha256_file,
    tree_bytes,
    write_atomic,
)
from dlm_engine.store.commit import Recovery, Staging
from dlm_engine.store.layout import home_dir, validate_adapter_name, validate_dlm_id
from dlm_engine.store.ledger import Ledger, Rollback, read_ledger
from dlm_engine.store.lockfile import (
    Drift,
    DriftSeverity,
    LockCheck,
    LockFile,
    LockMode,
    check_lock,
    compare,
    read_lock,
    require_no_errors,
    write_lock,
)
from dlm_engine.store.locks import LockOwner, lock_owner
from dlm_engine.store.logs import (
    Banner,
    Delta,
    ProbeAnswer,
    RunComplete,
    RunLog,
    SourceSummary,
    Step,
    TrainingSummary,
    read_log,
    timestamp,
)
from dlm_engine.store.manifest import (
    ExportSummary,
    LicenceRecord,
    Manifest,
    TrainingRunSummary,
    now,
)
from dlm_engine.store.metrics_reading import (
    Metrics,
    RunFigures,
    is_live,
    read_metrics,
    read_run,
)
from dlm_engine.store.metrics_schema import (
    ChoiceRow,
    EvaluationRow,
    ExportRow,
    PhaseRow,
    RunRow,
    RunStatus,
    StepRow,
)
from dlm_engine.store.metrics_writing import MetricsWriter
from dlm_engine.store.opening import Store
from dlm_engine.store.upkeep import (
    Garbage,
    GarbageItem,
    GarbageKind,
    RollbackReport,
    collect_garbage,
    plan_garbage,
    rollback,
)
from dlm_engine.store.versions import Complete, FileSeal, RunRecord, Version, VersionState

__all__ = [
    "Banner",
    "ChoiceRow",
    "Complete",
    "Delta",
    "Drift",
    "DriftSeverity",
    "EvaluationRow",
    "ExportRow",
    "ExportSummary",
    "FileSeal",
    "Garbage",
    "GarbageItem",
    "GarbageKind",
    "Ledger",
    "LicenceRecord",
    "LockCheck",
    "LockFile",
    "LockMode",
    "LockOwner",
    "Manifest",
    "Metrics",
    "MetricsWriter",
    "PhaseRow",
    "ProbeAnswer",
    "Recovery",
    "Rollback",
    "RollbackReport",
    "RunComplete",
    "RunFigures",
    "RunLog",
    "RunRecord",
    "RunRow",
    "RunStatus",
    "SourceSummary",
    "Staging",
    "Step",
    "StepRow",
    "Store",
    "TrainingRunSummary",
    "TrainingSummary",
    "Version",
    "VersionState",
    "check_lock",
    "collect_garbage",
    "compare",
    "disk_errors",
    "ensure_space",
    "fsync_dir",
    "home_dir",
    "is_live",
    "lock_owner",
    "make_folders",
    "now",
    "plan_garbage",
    "read_ledger",
    "read_lock",
    "read_log",
    "read_metrics",
    "read_run",
    "require_no_errors",
    "rollback",
    "sha256_file",
    "timestamp",
    "tree_bytes",
    "validate_adapter_name",
    "validate_dlm_id",
    "write_atomic",
    "write_lock",
]
