"""An export and how it ended, written into the store's metrics.

The invariant: recording neither delays nor ends the export, and what it is told is the
export's own outcome, also when that is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dlm_engine.export.model import ExportAdapter, ExportOptions, ExportResult
from dlm_engine.store import ExportRow, MetricsWriter, timestamp


def recorded(
    root: Path,
    adapter: ExportAdapter,
    options: ExportOptions,
    report: Callable[[str], None],
    make: Callable[[], ExportResult],
) -> ExportResult:
    """What `make` gives, recorded in the store at `root`, which the caller holds."""
    began = time.monotonic()
    row = ExportRow(
        0,
        timestamp(),
        "failed",
        str(options.target),
        None if options.quant is None else str(options.quant),
        options.merged,
        adapter.version,
        adapter=None if adapter.version is None else adapter.label,
        mix=", ".join(adapter.made_of) if adapter.version is None else None,
    )

    def troubled(message: str) -> None:
        with suppress(Exception):
            report(message)

    def keep(row: ExportRow) -> None:
        writer = MetricsWriter(root, troubled)
        writer.add_export(replace(row, seconds=time.monotonic() - began))
        writer.close()

    try:
        result = make()
    except BaseException as error:
        said = " ".join(str(error).split())[:2000]
        keep(replace(row, error=type(error).__name__, message=said))
        raise
    keep(
        replace(
            row,
            status="done",
            quant=result.manifest.quant,
            size_bytes=sum(artifact.size_bytes for artifact in result.manifest.artifacts),
            checks_passed=sum(check.passed is True for check in result.checks),
        )
    )
    return result
