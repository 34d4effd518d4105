"""Runs, exports and their figures as tables, lines and curves, as wide as the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

from dlm_engine.cli.charts import curve, drawable
from dlm_engine.cli.console import is_terminal
from dlm_engine.cli.retention import retention
from dlm_engine.cli.tables import columns, moment, seconds, size
from dlm_engine.store import (
    EvaluationRow,
    ExportRow,
    Metrics,
    PhaseRow,
    RunFigures,
    RunRow,
    RunStatus,
)

#: Lines of the table of steps; `--csv` and `--json` have them all.
_TABLE_STEPS: Final = 15


def runs_table(found: Metrics) -> str:
    runs = found.runs
    if not runs:
        return ""
    # Seldom measured, and the line has to fit.
    held = any(run.val_loss is not None for run in runs)
    names = ["run", "started", "start", "steps", "known", "loss", "held out", "time", "ended"]
    rows = [names, *(_run_cells(run, found) for run in runs)]
    return columns([row if held else row[:6] + row[7:] for row in rows])


def _run_cells(run: RunRow, found: Metrics) -> list[str]:
    adapter, phases = found.adapters.get(run.run_id), found.phases.get(run.run_id, ())
    return [
        str(run.run_id),
        moment(run.started_at).removesuffix(" UTC"),
        run.start,
        _number(run.steps),
        "-" if run.rows is None else f"{run.learned} of {run.rows}",
        _loss(run.loss),
        _loss(run.val_loss),
        "-" if run.seconds is None else seconds(run.seconds),
        ending(run, adapter, phases, short=True),
    ]


def exports_table(exports: Sequence[ExportRow]) -> str:
    if not exports:
        return ""
    named = any(row.adapter or row.mix for row in exports)
    of = ["adapter"] if named else []
    header = ["export", "when", *of, "version", "target", "quant", "size", "time", "ended"]
    table = columns([header, *(_export_cells(row, named=named) for row in exports)])
    mixes = [f"export {row.export_id}: {row.mix}" for row in exports if row.mix]
    return "\n".join([table, *mixes])


def _export_cells(row: ExportRow, *, named: bool) -> list[str]:
    return [
        str(row.export_id),
        moment(row.exported_at).removesuffix(" UTC"),
        *([row.adapter or ("mix" if row.mix else "-")] if named else []),
        _number(row.adapter_version),
        row.target,
        row.quant or "-",
        "-" if row.size_bytes is None else size(row.size_bytes),
        "-" if row.seconds is None else seconds(row.seconds),
        f"failed: {row.error}" if row.error else f"{row.checks_passed} checks",
    ]


def one_run(figures: RunFigures, lost: Sequence[dict[str, Any]]) -> str:
    run = figures.run
    head = [f"run {run.run_id}: {ending(run, figures.adapter, figures.phases)}"]
    facts = [
        ("began", f"{moment(run.started_at)}, start {run.start}"),
        ("base", f"{run.base_model}, seed {run.seed}"),
        ("phases", ", ".join(map(_phase, figures.phases))),
        *(("measured", _measured(row)) for row in _last_of_phases(figures)),
        *(("kept", _kept(row, lost)) for row in _last_of_phases(figures)),
        ("losses", losses(run)),
        *(("chose", f"{c.name} = {c.value}: {c.reason}") for c in figures.choices),
    ]
    head += [
        textwrap.fill(f"  {name:<9} {value}", width=79, subsequent_indent=" " * 12)
        for name, value in facts
        if value
    ]
    parts = ["\n".join(head), run_curve(figures), _steps(figures)]
    return "\n\n".join(part for part in parts if part)


def losses(run: RunRow) -> str:
    """Over all rows of a kind, apart; "" where none was measured."""
    parts = {"prose": run.prose_loss, "answers": run.answers_loss, "held-out prose": run.val_loss}
    said = ", ".join(f"{name} {loss:.3f}" for name, loss in parts.items() if loss is not None)
    return f"as it ended: {said}" if said else ""


def _phase(row: PhaseRow) -> str:
    made = [] if row.adapter_version is None else [f"version {row.adapter_version}"]
    made += [] if row.ended_by is None else [f"ended by {row.ended_by}"]
    return f"{row.phase} {_time(row.seconds)}" + (f" ({', '.join(made)})" if made else "")


def _last_of_phases(figures: RunFigures) -> Iterable[EvaluationRow]:
    """What was measured at the end of each phase, and before it of what it is to change."""
    rows = figures.evaluations
    last = {row.phase: row for row in rows}.values()
    return (row for row in rows if not row.step or any(row is each for each in last))


def _measured(row: EvaluationRow) -> str:
    known = "" if row.learned is None else f", {row.learned} of {row.rows} known"
    held = "" if row.val_loss is None else f", loss on held-out prose {row.val_loss:.3f}"
    drift = "" if row.divergence is None else f", drift {row.divergence:.4f}"
    when = f"{row.phase}, after step {row.step}" if row.step else f"{row.phase}, before it"
    return f"{when}{known}{_preferred(row)}{held}{drift}"


def _kept(row: EvaluationRow, lost: Sequence[dict[str, Any]]) -> str:
    mine = [each["question"] for each in lost if each["phase"] == row.phase]
    return f"{row.phase}, {retention(row.kept, mine)}" if row.kept or mine else ""


def _preferred(row: EvaluationRow) -> str:
    if row.pairs is None or row.accuracy is None or row.margin is None:
        return ""
    likelier = f"{round(row.accuracy * row.pairs)} of {row.pairs} wanted answers likelier"
    return f", {likelier} (margin {row.margin:+.3f})"


def _steps(figures: RunFigures) -> str:
    rows = figures.steps
    if not rows:
        return ""
    stride = -(-len(rows) // _TABLE_STEPS)
    shown = [row for at, row in enumerate(rows) if at % stride == 0 or at == len(rows) - 1]
    header = ["step", "phase", "loss", "rate", "gradient", "drift", "known", "tokens/s", "time"]
    table = columns(
        [
            header,
            *(
                [
                    str(row.step),
                    row.phase,
                    _loss(row.loss),
                    _short(row.lr),
                    _short(row.grad_norm),
                    _short(row.divergence),
                    f"{row.learned} of {row.rows}",
                    _short(row.tokens_per_sec),
                    seconds(row.elapsed),
                ]
                for row in shown
            ),
        ]
    )
    left = len(rows) - len(shown)
    number = figures.run.run_id
    return table + (f"\n{left} more: --run {number} --csv" if left else "")


def run_curve(figures: RunFigures) -> str:
    width = shutil.get_terminal_size().columns - 1 if is_terminal(sys.stdout) else 79
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in figures.steps:
        if row.loss is not None:
            # Another phase has another loss.
            curves.setdefault(f"loss of run {row.run_id}, {row.phase}", []).append(
                (row.step, row.loss)
            )
    for measured in sorted(figures.evaluations, key=lambda row: row.step):
        if measured.val_loss is not None:
            curves.setdefault(f"loss on held-out prose, {measured.phase}", []).append(
                (measured.step, measured.val_loss)
            )
    ascii_only = not drawable(sys.stdout.encoding)
    drawn = (
        curve(title, points, width=min(width, 100), ascii_only=ascii_only)
        for title, points in curves.items()
    )
    return "\n\n".join(each for each in drawn if each)


def ending(
    run: RunRow, adapter: str | None, phases: Sequence[PhaseRow], *, short: bool = False
) -> str:
    said = str(run.status)
    made = [str(row.adapter_version) for row in phases if row.adapter_version is not None]
    if run.status is RunStatus.TRAINED:
        several = len(made) > 1
        said = f"versions {', '.join(made)}" if several else f"version {run.adapter_version}"
        if run.adapter_version is None:
            said = "trained"
    elif run.status is RunStatus.FAILED:
        said = f"failed: {run.error}" + ("" if short else f": {run.message}")
    of = "gate" if any(row.phase == "gate" for row in phases) else adapter
    return f"{of} {said}" if of else said


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _loss(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _time(value: float | None) -> str:
    return "unfinished" if value is None else seconds(value)
