"""The rows of expanded sources, one for each file, and the one line that says what was taken."""

from __future__ import annotations

import hashlib
from functools import partial

from dlm_engine.data.bulk import collector_paused
from dlm_engine.data.rows import SourceRow
from dlm_engine.data.sources.expansion import read_source
from dlm_engine.data.sources.model import Expansion, Reason
from dlm_engine.errors import TrainingError

#: how many denied files a message names
_NAMED = 3


def require_usable(expansion: Expansion) -> None:
    """Raise `TrainingError` for the first source that cannot be used."""
    problem = expansion.problem
    if problem is not None:
        raise TrainingError(f"training.sources: {problem.subject}", problem.what, problem.remedy)


@collector_paused()
def source_rows(expansion: Expansion) -> tuple[SourceRow, ...]:
    """The rows, in the order of the files. A file is read only when its row's text is needed."""
    return tuple(
        SourceRow(
            hashlib.sha256(f"source\0{file.label}".encode()).hexdigest()[:16],
            file.label,
            file.sha256,
            file.weight,
            partial(read_source, file),
        )
        for file in expansion.files
    )


def summary(expansion: Expansion) -> str:
    """`sources: 12 files, 48.1 KiB; left out 3: 1 secret (.env), 2 binary`."""
    files = expansion.files
    size = sum(file.stamp.size for file in files)
    said = f"sources: {len(files)} file{'s' * (len(files) != 1)}, {size / 1024:.1f} KiB"
    counts: dict[Reason, int] = {}
    for found in expansion.found:
        for reason, count in found.reasons.items():
            counts[reason] = counts.get(reason, 0) + count
    if not counts:
        return said
    secret = [
        left.path
        for found in expansion.found
        for left in found.left_out
        if left.reason is Reason.SECRET
    ]
    named = ", ".join(secret[:_NAMED]) + (", ..." if len(secret) > _NAMED else "")
    parts = [
        f"{counts[reason]} {reason}" + (f" ({named})" if reason is Reason.SECRET else "")
        for reason in Reason
        if reason in counts
    ]
    return f"{said}; left out {sum(counts.values())}: {', '.join(parts)}"
