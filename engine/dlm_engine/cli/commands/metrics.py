"""`dlm metrics`: what every run and export measured, as a table, a curve, JSON or CSV.

Reads only, and by itself: a run that is going on is neither asked nor slowed.
"""

from __future__ import annotations

import csv
import io
import json as json_text
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dlm_engine.cli.app import PlainCommand, globals_of
from dlm_engine.cli.charts import curve, drawable
from dlm_engine.cli.console import is_terminal
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.retention import retention
from dlm_engine.cli.tables import columns, moment, seconds, size
from dlm_engine.errors import StoreError, UsageError
from dlm_engine.store import (
    EvaluationRow,
    ExportRow,
    Metrics,
    PhaseRow,
    RunFigures,
    RunRow,
    RunStatus,
    StepRow,
    Store,
    home_dir,
    read_metrics,
    read_run,
    texts_of,
)
from dlm_engine.store.metrics_schema import Row, plain
from dlm_engine.store.metrics_schema import columns as names_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="Show what runs and exports measured, also while they go on.",
)

#: Lines of the table of steps; `--csv` and `--json` have them all.
_TABLE_STEPS: Final = 15


class Table(StrEnum):
    """What `--csv` writes."""

    RUNS = "runs"
    PHASES = "phases"
    EVALUATIONS = "evaluations"
    STEPS = "steps"
    EXPORTS = "exports"


Document = Annotated[Path, typer.Argument(metavar="PATH", help="The document.")]


@app.command("show", cls=PlainCommand, epilog="Times are UTC. Losses are nats per token.")
def show(
    context: typer.Context,
    path: Document,
    run: Annotated[
        int | None, typer.Option("--run", metavar="NUMBER", help="Everything of one run.", min=1)
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="NUMBER", help="How many runs and exports.", min=1)
    ] = 20,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Write the runs, or the steps of --run, as CSV.")
    ] = False,
    table: Annotated[
        Table | None, typer.Option("--table", help="Which table --csv writes instead.")
    ] = None,
) -> None:
    """Show the runs and exports, or one run with its steps and its curve."""
    console = globals_of(context).console
    _require_one(json=json, as_csv=as_csv)
    if table is not None and not as_csv:
        raise UsageError("--table", "goes with --csv", "add it; --json has every table")
    if run is not None and table in (Table.RUNS, Table.EXPORTS):
        raise UsageError("dlm metrics", f"--table {table} and --run exclude each other", "choose")
    store = _store(context, path)
    root = store.root
    if run is not None:
        figures = read_run(root, run)
        if figures is None:
            raise StoreError(f"run {run}", "is not recorded", f"see `dlm metrics show {path}`")
        if json:
            console.result_json(_facts(figures, _lost(store, figures)))
        elif as_csv:
            console.result(_table(table or Table.STEPS, [figures]))
        else:
            console.result(_one(figures, _lost(store, figures)))
        return
    found = read_metrics(root, limit)
    if json:
        runs = [
            {
                **plain(row),
                "adapter": found.adapters.get(row.run_id),
                "phases": [plain(phase) for phase in found.phases.get(row.run_id, ())],
            }
            for row in found.runs
        ]
        exports = [plain(row) for row in found.exports]
        console.result_json({"runs": runs, "exports": exports})
    elif as_csv:
        if table in (None, Table.RUNS):
            console.result(_csv(RunRow, found.runs))
        elif table is Table.EXPORTS:
            console.result(_csv(ExportRow, found.exports))
        else:
            every = (read_run(root, row.run_id) for row in found.runs)
            console.result(_table(table, [figures for figures in every if figures]))
    elif not found.runs and not found.exports:
        console.status(f"{path} has not been trained yet: dlm train {path}")
    else:
        newest = read_run(root)
        losses = newest and _losses(newest.run)
        last = newest and losses and f"loss of run {newest.run.run_id} {losses}"
        parts = [_runs(found), _exports(found.exports), newest and _curve(newest), last]
        console.result("\n\n".join(part for part in parts if part))


@app.command("watch", cls=PlainCommand, epilog="Ctrl-C ends watching, not the run.")
def watch(
    context: typer.Context,
    path: Document,
    until_end: Annotated[
        bool, typer.Option("--until-end", help="End with the run that goes on, or the next one.")
    ] = False,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="Between two looks.", min=0.2, max=3600)
    ] = 1.0,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object per line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write steps as CSV.")] = False,
) -> None:
    """Follow the run that goes on, and those that come after it."""
    console = globals_of(context).console
    _require_one(json=json, as_csv=as_csv)
    write = _json_lines if json else _csv_lines if as_csv else _plain_lines
    if as_csv:
        console.result_part(_csv(StepRow, ()) + "\n")
    root = _store(context, path).root
    newest = read_run(root)
    if newest is None or newest.run.status is not RunStatus.RUNNING:
        console.status(f"{path}: waiting for a run")
    try:
        for lines in follow(root, write, lambda: time.sleep(interval), until_end=until_end):
            console.result_part(lines)
    except KeyboardInterrupt:
        console.status("no longer watching")


Writer = Callable[[RunFigures, RunFigures | None], Iterable[str]]


def follow(
    root: Path, write: Writer, wait: Callable[[], None], *, until_end: bool
) -> Iterable[str]:
    """What `write` makes of each look that showed something new; `wait` is called between looks.

    A run that had ended before the first look is not told of.
    """
    newest = read_run(root)
    before = newest if newest and newest.run.status is not RunStatus.RUNNING else None
    seen = 0
    while True:
        for number in _since(root, before):
            known = before if before and before.run.run_id == number else None
            seen = seen if known else 0
            figures = read_run(root, number, seen)
            if figures is None:
                continue
            yield "".join(f"{line}\n" for line in write(figures, known))
            seen += len(figures.steps)
            before = figures
            if until_end and figures.run.status is not RunStatus.RUNNING:
                return
        wait()


def _since(root: Path, before: RunFigures | None) -> Sequence[int]:
    """The runs that may have something new since `before`; a run ends with its last steps."""
    runs = read_metrics(root, 1).runs
    if not runs:
        return ()
    newest = runs[0].run_id
    if before is None:
        return (newest,)
    ended = before.run.status is not RunStatus.RUNNING
    return range(before.run.run_id + ended, newest + 1)


# --- one look, as lines ------------------------------------------------------------------


def _plain_lines(figures: RunFigures, known: RunFigures | None) -> Iterable[str]:
    run = figures.run
    if known is None:
        yield f"run {run.run_id} ({run.start}), since {run.started_at}"
    for row in figures.steps:
        loss = "-" if row.loss is None else f"{row.loss:.3f}"
        yield (
            f"step {row.step}  loss {loss}  {row.learned} of {row.rows} known  "
            f"{seconds(row.elapsed)}"
        )
    if run.status is not RunStatus.RUNNING:
        yield f"run {run.run_id}: {_ending(run, figures.adapter, figures.phases)}"


def _json_lines(figures: RunFigures, known: RunFigures | None) -> Iterable[str]:
    run = figures.run
    if known is None or run.status is not known.run.status:
        yield _line("run", {**plain(run), "adapter": figures.adapter})
    yield from (_line("step", plain(row)) for row in figures.steps)
    seen = len(known.evaluations) if known else 0
    yield from (_line("evaluation", plain(row)) for row in figures.evaluations[seen:])


def _line(kind: str, facts: dict[str, Any]) -> str:
    return json_text.dumps({"type": kind, **facts}, ensure_ascii=False)


def _csv_lines(figures: RunFigures, known: RunFigures | None) -> Iterable[str]:
    return _csv(StepRow, figures.steps).splitlines()[1:]


# --- tables ------------------------------------------------------------------------------


def _runs(found: Metrics) -> str:
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
        _ending(run, adapter, phases, short=True),
    ]


def _exports(exports: Sequence[ExportRow]) -> str:
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


def _one(figures: RunFigures, lost: Sequence[dict[str, Any]]) -> str:
    run = figures.run
    head = [f"run {run.run_id}: {_ending(run, figures.adapter, figures.phases)}"]
    facts = [
        ("began", f"{moment(run.started_at)}, start {run.start}"),
        ("base", f"{run.base_model}, seed {run.seed}"),
        ("phases", ", ".join(map(_phase, figures.phases))),
        *(("measured", _measured(row)) for row in _last_of_phases(figures)),
        *(("kept", _kept(row, lost)) for row in _last_of_phases(figures)),
        ("losses", _losses(run)),
        *(("chose", f"{c.name} = {c.value}: {c.reason}") for c in figures.choices),
    ]
    head += [
        textwrap.fill(f"  {name:<9} {value}", width=79, subsequent_indent=" " * 12)
        for name, value in facts
        if value
    ]
    parts = ["\n".join(head), _curve(figures), _steps(figures)]
    return "\n\n".join(part for part in parts if part)


def _losses(run: RunRow) -> str:
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


def _curve(figures: RunFigures) -> str:
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


def _ending(
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


# --- data --------------------------------------------------------------------------------


def _lost(store: Store, figures: RunFigures) -> list[dict[str, Any]]:
    """What each phase no longer knew, with its question where a version still has it."""
    if not figures.lost:
        return []
    versions = sorted(store.versions(figures.adapter), key=lambda v: v.number, reverse=True)
    texts = texts_of({row.key for row in figures.lost}, versions)
    return [{**plain(row), "question": texts.get(row.key)} for row in figures.lost]


def _facts(figures: RunFigures, lost: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "run": {**plain(figures.run), "adapter": figures.adapter},
        "phases": [plain(row) for row in figures.phases],
        "choices": [plain(row) for row in figures.choices],
        "steps": [plain(row) for row in figures.steps],
        "evaluations": [plain(row) for row in figures.evaluations],
        "lost": list(lost),
    }


def _table(table: Table, runs: Sequence[RunFigures]) -> str:
    if table is Table.PHASES:
        return _csv(PhaseRow, [row for figures in runs for row in figures.phases])
    if table is Table.EVALUATIONS:
        return _csv(EvaluationRow, [row for figures in runs for row in figures.evaluations])
    return _csv(StepRow, [row for figures in runs for row in figures.steps])


def _csv(kind: type, rows: Sequence[Row]) -> str:
    written = io.StringIO()
    table = csv.DictWriter(written, names_of(kind), lineterminator="\n")
    table.writeheader()
    table.writerows(plain(row) for row in rows)
    return written.getvalue().rstrip("\n")


def _require_one(*, json: bool, as_csv: bool) -> None:
    if json and as_csv:
        raise UsageError("dlm metrics", "--json and --csv exclude each other", "choose one")


def _store(context: typer.Context, path: Path) -> Store:
    _, settings = require_frontmatter(path)
    store = Store(home_dir(globals_of(context).home), settings.dlm_id)
    store.exists()
    return store
