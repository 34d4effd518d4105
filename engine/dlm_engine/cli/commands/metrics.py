"""`dlm metrics`: what every run and export measured, as a table, a curve, JSON or CSV.

Reads only, and by itself: a run that is going on is neither asked nor slowed.
"""

from __future__ import annotations

import csv
import io
import json as json_text
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from dlm_engine.cli.app import PlainCommand, globals_of
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.figures import ending, exports_table, losses, one_run, run_curve, runs_table
from dlm_engine.cli.tables import seconds
from dlm_engine.errors import StoreError, UsageError
from dlm_engine.store import (
    EvaluationRow,
    ExportRow,
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


class Steps(StrEnum):
    """The phases of which there are figures."""

    SFT = "sft"
    PREFERENCE = "preference"
    GATE = "gate"


class Table(StrEnum):
    """What `--csv` writes."""

    RUNS = "runs"
    PHASES = "phases"
    EVALUATIONS = "evaluations"
    STEPS = "steps"
    EXPORTS = "exports"


_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

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
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="Only since 90m, 24h or 7d ago, or since a date."),
    ] = None,
    phase: Annotated[
        Steps | None, typer.Option(help="Only runs that came to it; of --run, only it.")
    ] = None,
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
    if run is not None and since is not None:
        raise UsageError("dlm metrics", "--since and --run exclude each other", "choose one")
    began = "" if since is None else _moment(since)
    store = _store(context, path)
    root = store.root
    if run is not None:
        figures = read_run(root, run)
        if figures is None:
            raise StoreError(f"run {run}", "is not recorded", f"see `dlm metrics show {path}`")
        if phase is not None:
            figures = _only(figures, phase)
        if json:
            console.result_json(_facts(figures, _lost(store, figures)))
        elif as_csv:
            console.result(_table(table or Table.STEPS, [figures]))
        else:
            console.result(one_run(figures, _lost(store, figures)))
        return
    found = read_metrics(root, limit, since=began, phase=phase)
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
            every = [figures for row in found.runs if (figures := read_run(root, row.run_id))]
            chosen = [_only(figures, phase) for figures in every] if phase else every
            console.result(_table(table, chosen))
    elif not found.runs and not found.exports:
        if since is None and phase is None:
            console.status(f"{path}: no run is recorded yet: dlm train {path}")
        else:
            console.status(f"{path}: nothing of that kind is recorded")
    else:
        newest = read_run(root, found.runs[-1].run_id) if found.runs else None
        parts = [runs_table(found), exports_table(found.exports)]
        if newest is not None:
            said = losses(newest.run)
            parts += [run_curve(newest), said and f"loss of run {newest.run.run_id} {said}"]
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
        yield f"run {run.run_id}: {ending(run, figures.adapter, figures.phases)}"


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


# --- data --------------------------------------------------------------------------------


def _lost(store: Store, figures: RunFigures) -> list[dict[str, Any]]:
    """What each phase no longer knew, with its question where a version still has it."""
    if not figures.lost:
        return []
    texts: dict[str, str] = {}
    # The figures are there also where the store is damaged.
    with suppress(StoreError):
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


def _only(figures: RunFigures, phase: Steps) -> RunFigures:
    """What `figures` say of one phase."""
    if not any(row.phase == phase for row in figures.phases):
        number = figures.run.run_id
        raise StoreError(f"run {number}", f"had no phase {phase}", "leave --phase out to see all")
    return replace(
        figures,
        phases=tuple(row for row in figures.phases if row.phase == phase),
        steps=tuple(row for row in figures.steps if row.phase == phase),
        evaluations=tuple(row for row in figures.evaluations if row.phase == phase),
        lost=tuple(row for row in figures.lost if row.phase == phase),
    )


def _moment(since: str) -> str:
    """The UTC time that `since` stands for, as the metrics write it."""
    found = re.fullmatch(r"(\d+)([smhd])", since)
    try:
        if found:
            ago = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
            moment = datetime.now(UTC) - ago
        else:
            moment = datetime.fromisoformat(since)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {since[:40]!r}", "is no time", "say 90m, 24h, 7d or 2026-01-31"
        ) from None
    return moment.isoformat()[:19] + "Z"


def _require_one(*, json: bool, as_csv: bool) -> None:
    if json and as_csv:
        raise UsageError("dlm metrics", "--json and --csv exclude each other", "choose one")


def _store(context: typer.Context, path: Path) -> Store:
    _, settings = require_frontmatter(path)
    store = Store(home_dir(globals_of(context).home), settings.dlm_id)
    store.exists()
    return store
