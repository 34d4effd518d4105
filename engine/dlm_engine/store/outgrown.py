"""What a store gets with each run, and would keep for ever: log, summary, a line in the manifest.

The invariant: whatever is said of a version that is there stays, and so does the newest run, from
which the next one is numbered; `metrics.sqlite` has the history. What can go follows from the
folders alone, so a kill in between leaves it to the next time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from dlm_engine.errors import StoreError
from dlm_engine.store.atomic import disk_errors
from dlm_engine.store.commit import all_adapters
from dlm_engine.store.manifest import Manifest, now
from dlm_engine.store.opening import Store

#: Of runs that made no version, so many logs stay.
KEPT_STOPPED: Final = 10
#: Runs that the manifest lists besides those of versions that are there.
KEPT_RUNS: Final = 50
#: It is written anew only for so many that can go.
TRIMMED_AT_ONCE: Final = 16

_SUMMARY: Final = ".summary.json"
_LOG: Final = re.compile(r"(train-\d{6,}-\d{8}T\d{6})(\.jsonl|\.summary\.json)")


def spare_logs(store: Store, going: Collection[Path] = ()) -> list[Path]:
    """Logs and summaries of versions that are gone, or are among the folders `going`, and of runs
    that made none but the newest few; reads only."""
    folder = store.root / "logs"
    if not folder.is_dir():
        return []
    kept = _told_of_versions(store, going)
    runs: dict[str, list[Path]] = {}
    with disk_errors(folder):
        for path in sorted(folder.iterdir()):
            match = _LOG.fullmatch(path.name)
            if match and path.is_file() and match[1] not in kept:
                runs.setdefault(match[1], []).append(path)
    # A summary is written once there is a version.
    stopped = [run for run, files in runs.items() if not files[-1].name.endswith(_SUMMARY)]
    for run in stopped[-KEPT_STOPPED:]:
        del runs[run]
    return [path for files in runs.values() for path in files]


def _told_of_versions(store: Store, going: Collection[Path]) -> set[str]:
    """The names, without their ends, of the logs of versions that stay."""
    manifest = store.read_manifest()
    listed = (
        {(r.adapter_name, r.adapter_version): r for r in manifest.training_runs} if manifest else {}
    )
    found: set[str] = set()
    for adapter in all_adapters(store.root):
        for version in store.versions(adapter):
            if version.path in going:
                continue
            runs = [listed.get((adapter, version.number))]
            # One that is damaged is told of elsewhere; the manifest knows its run as well.
            with suppress(StoreError):
                record = version.run_record()
                runs.append(record.run if record else None)
            paths = (run.summary_path for run in runs if run is not None)
            found |= {Path(path).name.removesuffix(_SUMMARY) for path in paths if path}
    return found


def without_old_runs(store: Store, at_once: int = 1) -> Manifest | None:
    """The manifest less the old runs whose versions are gone; None where fewer than `at_once`
    are. Whoever writes it first has the numbers of versions remembered elsewhere."""
    manifest = store.read_manifest()
    if manifest is None or len(manifest.training_runs) < KEPT_RUNS + at_once:
        return None
    versions = [v for adapter in all_adapters(store.root) for v in store.versions(adapter)]
    there = {(version.adapter, version.number) for version in versions}
    newest = set(sorted(run.run_id for run in manifest.training_runs)[-KEPT_RUNS:])
    left = tuple(
        run
        for run in manifest.training_runs
        if run.run_id in newest or (run.adapter_name, run.adapter_version) in there
    )
    if len(manifest.training_runs) - len(left) < at_once:
        return None
    return manifest.model_copy(update={"training_runs": left, "updated_at": now()})
