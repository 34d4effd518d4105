"""`dlm train`: hands the document to the training job, and shows what it chose, did and learned."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dlm_engine.cli.app import Globals, globals_of
from dlm_engine.cli.console import Console, Verbosity
from dlm_engine.cli.documents import require_trainable
from dlm_engine.cli.folders import Policy, document_to_train
from dlm_engine.cli.launching import arguments_again, end_with_launcher, launch
from dlm_engine.cli.processes import Wanted, shard_wanted
from dlm_engine.cli.progress import told
from dlm_engine.cli.retention import no_longer_known, retention
from dlm_engine.cli.retraining import Watch, retrain
from dlm_engine.cli.tables import seconds
from dlm_engine.data.sources.scaffold import Wishes
from dlm_engine.errors import UsageError
from dlm_engine.jobs import (
    KEPT_SAVES,
    Dashboards,
    Ending,
    MadeBy,
    Phase,
    Start,
    TrainOutcome,
    TrainRequest,
    place_of,
    train,
)
from dlm_engine.store import LockMode, home_dir

if TYPE_CHECKING:
    from dlm_engine.jobs import Resident

EPILOG = "Every run adds a version; dlm rollback goes back. Stop it with Ctrl-C at any time."

#: After the last step of the plan there is no state to resume.
UNKNOWN = "the planned steps are over: word what is not known otherwise, then train again"


def command(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The document, or a folder to learn.")
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the last run stopped, with its flags.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew, even if nothing changed.")
    ] = False,
    further: Annotated[
        bool,
        typer.Option("--further", help="Only add what is new to the current version: seconds."),
    ] = False,
    phase: Annotated[
        Phase, typer.Option("--phase", help="The questions and texts, the preferences, or both.")
    ] = Phase.ALL,
    seed: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Instead of training.seed.", min=0)
    ] = None,
    max_steps: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Stop each phase after so many steps.", min=1),
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop after so much training.")
    ] = None,
    early_stop: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            help="End when held-out prose got no better for so long; keep the best step.",
            min=1,
        ),
    ] = None,
    all_layers: Annotated[
        bool,
        typer.Option("--all-layers", help="Adapt every layer, not the last third: slower."),
    ] = False,
    strict_lock: Annotated[
        bool, typer.Option("--strict-lock", help="Refuse any difference from dlm.lock.")
    ] = False,
    update_lock: Annotated[
        bool, typer.Option("--update-lock", help="Accept the differences into dlm.lock.")
    ] = False,
    ignore_lock: Annotated[
        bool, typer.Option("--ignore-lock", help="Neither read nor write dlm.lock.")
    ] = False,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Train again whenever it is saved; Ctrl-C ends.")
    ] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Figures for TensorBoard too [$DLM_TENSORBOARD]."),
    ] = None,
    wandb: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Figures to Weights & Biases too [$DLM_WANDB]."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help=f"With --watch: how many of its versions stay, 0 for all ({KEPT_SAVES}).",
            min=0,
        ),
    ] = None,
    repl: Annotated[
        bool, typer.Option("--repl", help="With --watch: talk with the newest version meanwhile.")
    ] = False,
    listen_rpc: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="With --watch: learn questions sent there too [$DLM_PROBE_TOKEN].",
        ),
    ] = None,
    max_cycles: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="With --watch: end after training again so often.", min=1
        ),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            metavar="all|NUMBER|0,1", help="Divide each step over GPUs: all, so many, or these."
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Divide each step over processes on the CPU.", min=1),
    ] = None,
    num_nodes: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Over so many machines too, each started alike.", min=1
        ),
    ] = None,
    node_rank: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Which of them this is; 0 writes.", min=0),
    ] = None,
    main_address: Annotated[
        str | None, typer.Option(metavar="HOST", help="Where machine 0 is.")
    ] = None,
    main_port: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Where they meet on it; 29500.", min=1, max=65535),
    ] = None,
    shard: Annotated[
        bool | None,
        typer.Option(
            "--shard/--no-shard",
            help="Divide the base between the processes too, or not; where it does not fit whole.",
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="Folder: the base of its new document.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Folder: which document in .dlm; corpus.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Folder: files to learn; **/*.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Folder: files to leave out.")
    ] = None,
    recursive: Annotated[
        bool | None,
        typer.Option("--recursive/--no-recursive", help="Folder: with the folders in it, or not."),
    ] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Folder: whether sources may lie outside it; strict.")
    ] = None,
    rescaffold: Annotated[
        bool, typer.Option("--rescaffold", help="Folder: set its source anew; a backup stays.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")] = (
        False
    ),
) -> None:
    """Train, so that the model knows what the document says."""
    at = globals_of(context)
    if time_limit is not None and not time_limit > 0:
        raise UsageError("--time-limit", "must be more than 0 seconds", "leave it out for none")
    if early_stop is not None and (resume or further or watch):
        problem = "excludes --resume, --further and --watch"
        raise UsageError("--early-stop", problem, "leave one of them out")
    if early_stop is not None and phase is Phase.PREFERENCE:
        problem = "ends the phase that learns prose, and --phase preference leaves that out"
        raise UsageError("--early-stop", problem, "leave one of them out")
    if further and phase is not Phase.ALL:
        raise UsageError("dlm train", "--further and --phase exclude each other", "choose one")
    if keep is not None and not watch:
        raise UsageError("--keep", "goes with --watch", "`dlm gc` removes other versions")
    watched = Watch(max_cycles, listen_rpc, repl)
    watched.require_usable(watching=watch)
    wishes = Wishes(
        base, name, tuple(include or ()), tuple(exclude or ()), recursive, policy, rescaffold
    )
    start = _start(resume=resume, fresh=fresh, further=further)
    if watch and (json or start is not Start.AUTO or phase is not Phase.ALL):
        other = "json" if json else "phase" if start is Start.AUTO else start
        raise UsageError("dlm train", f"--watch and --{other} exclude each other", "choose one")
    lock_mode = _lock_mode(strict=strict_lock, update=update_lock, ignore=ignore_lock)
    wanted = Wanted(gpus, processes, num_nodes, node_rank, main_address, main_port)
    wanted.require_usable(excluded={"--watch": watch, "--further": further})
    shared = place_of(os.environ)
    if shared and (wanted.given or watch or further or path.is_dir()):
        others = ["--watch"] * watch + ["--further"] * further + [str(path)]
        flag = [*wanted.given, *others][0]
        problem = f"one of several processes cannot take {flag}"
        raise UsageError("dlm train", problem, "unset RANK and WORLD_SIZE, or name a document")
    crowd = wanted.crowd()
    shard = shard_wanted(shard, os.environ, shared.world if shared else crowd.world if crowd else 1)
    path = document_to_train(at, path, wishes, accept_licence=i_accept_license)
    if crowd is not None:
        left_out = {field.name for kind in (Wanted, Wishes) for field in fields(kind)}
        arguments = arguments_again(context, path, frozenset(left_out))
        if crowd.world > 1:
            at.console.status(f"{crowd.world} processes share each step")
        raise typer.Exit(launch(arguments, crowd, at.console.failure))
    request = TrainRequest(
        path=path,
        home=home_dir(at.home),
        start=start,
        seed=seed,
        max_steps=max_steps,
        time_limit=time_limit,
        early_stop=early_stop,
        all_layers=all_layers,
        lock_mode=lock_mode,
        accept_licence=i_accept_license,
        dashboards=Dashboards(tensorboard, wandb),
        phase=phase,
        place=shared,
        shard=shard,
    )
    if watch:
        kept = KEPT_SAVES if keep is None else keep
        request = replace(request, made_by=MadeBy.SAVE, keep_saved=kept)
        _watch(at, request, watched)
        return
    end_with_launcher()
    if shared and shared.rank:
        at = replace(at, console=Console(Verbosity.QUIET))
    outcome = _train(at, request)
    if shared and shared.rank:
        return
    if json:
        at.console.result_json(_facts(outcome))
    _report(at, request, outcome)
    if outcome.ending is Ending.CANCELLED:
        raise typer.Exit(130)


def _train(at: Globals, request: TrainRequest, resident: Resident | None = None) -> TrainOutcome:
    require_trainable(at, request.path)
    with told(at.console) as (tell, stopped):
        return train(request, tell, stopped, resident)


def _watch(at: Globals, request: TrainRequest, watch: Watch) -> None:
    """Train now and after every change; what cannot be trained is said and waited out."""

    def once(
        at: Globals,
        request: TrainRequest,
        resident: Resident,
        stop: Callable[[], bool] | None,
    ) -> TrainOutcome:
        if stop is None:
            return _train(at, request, resident)
        # Beside a conversation: no line that rewrites itself, and Ctrl-C is not ours.
        require_trainable(at, request.path)
        return train(request, lambda event: None, stop, resident)

    further = replace(request, start=Start.FURTHER)

    def report(at: Globals, outcome: TrainOutcome) -> None:
        _report(at, further, outcome)

    code = retrain(at, request, watch, once, report)
    if code:
        raise typer.Exit(code)


def _start(*, resume: bool, fresh: bool, further: bool) -> Start:
    chosen = {Start.RESUME: resume, Start.FRESH: fresh, Start.FURTHER: further}
    starts = [start for start, given in chosen.items() if given]
    if len(starts) > 1:
        problem = f"--{starts[0]} and --{starts[1]} exclude each other"
        raise UsageError("dlm train", problem, "choose one")
    return starts[0] if starts else Start.AUTO


def _lock_mode(*, strict: bool, update: bool, ignore: bool) -> LockMode:
    chosen = {LockMode.STRICT: strict, LockMode.UPDATE: update, LockMode.IGNORE: ignore}
    modes = [mode for mode, given in chosen.items() if given]
    if len(modes) > 1:
        raise UsageError(
            "dlm train",
            "--strict-lock, --update-lock and --ignore-lock exclude each other",
            "choose one",
        )
    return modes[0] if modes else LockMode.DEFAULT


def _facts(outcome: TrainOutcome) -> dict[str, Any]:
    return {
        **({"adapter": outcome.adapter} if outcome.adapter else {}),
        "ending": str(outcome.ending),
        "ended_by": outcome.ended_by,
        "version": outcome.version,
        "path": None if outcome.path is None else str(outcome.path),
        "adapter_sha256": outcome.adapter_sha256,
        "steps": outcome.steps,
        "learned": outcome.learned,
        "rows": outcome.rows,
        "loss": outcome.loss,
        "validation_loss": outcome.validation_loss,
        "trained_losses": asdict(outcome.trained),
        "held_out_losses": asdict(outcome.held_out),
        "divergence": outcome.divergence,
        "seconds": round(outcome.seconds, 3),
        "seed": outcome.seed,
        "determinism": outcome.determinism,
        "kept": outcome.kept,
        "lost": list(outcome.lost),
        "preference": None if outcome.preference is None else asdict(outcome.preference),
        **({"adapters": [_facts(part) for part in outcome.parts]} if outcome.parts else {}),
        **({"gate": outcome.gate} if outcome.gate else {}),
    }


def _flags(request: TrainRequest) -> str:
    """With what a run of `request` that was ended too early is to be called again.

    `--resume` needs the state that a run further does not keep, and is of the whole document; it
    never ends on held-out prose.
    """
    if request.early_stop is not None:
        return f"--early-stop {request.early_stop}"
    return "--further" if request.start is Start.FURTHER else "--resume"


def _report(at: Globals, request: TrainRequest, outcome: TrainOutcome) -> None:
    say, path, flags = at.console.status, request.path, _flags(request)
    if outcome.parts:
        _report_adapters(at, request, outcome)
    elif outcome.ending is Ending.EMPTY:
        say(f"{path}: nothing to learn; write text or questions into it, then train again")
    elif outcome.ending is Ending.UNCHANGED:
        current = f"version {outcome.version} is current"
        say(f"{path}: nothing new to learn, {current}; --fresh trains anew")
    elif outcome.ending is Ending.CANCELLED:
        again = "go on" if flags == "--resume" else "begin again"
        say(f"{path}: stopped; {again} with: dlm train {path} {flags}")
    else:
        for line in _learned(outcome):
            say(line)
        if outcome.learned < outcome.rows and request.early_stop is None:
            say(UNKNOWN if outcome.finished else f"to go on: dlm train {path} {flags}")
        say(f'ask it: dlm prompt {path} "..."')


def _learned(outcome: TrainOutcome) -> Iterator[str]:
    """What a version knows, first of all how much of it."""
    took = f"after {outcome.steps} steps, {seconds(outcome.seconds)}"
    found = outcome.preference
    known = f"{outcome.learned} of {outcome.rows} known word for word"
    first = known if outcome.rows or found is None else found
    yield f"version {outcome.version}: {first} {took}"
    if outcome.trained.prose is not None:
        held = outcome.held_out.prose
        unseen = "" if held is None else f"; held-out prose {held:.3f}"
        yield f"loss in nats a token: {outcome.trained}{unseen}"
    if found is not None and outcome.rows:
        yield str(found)
    if outcome.lost:
        yield no_longer_known(outcome.lost)
    elif outcome.kept:
        yield retention(outcome.kept, ())


def _report_adapters(at: Globals, request: TrainRequest, outcome: TrainOutcome) -> None:
    say, path = at.console.status, request.path
    for part in outcome.parts:
        if part.ending is Ending.TRAINED:
            first, *more = _learned(part)
            for line in (f"{part.adapter} {first}", *(f"  {line}" for line in more)):
                say(line)
        elif part.ending is Ending.UNCHANGED:
            say(f"{part.adapter}: nothing new to learn, version {part.version} is current")
        elif part.ending is Ending.EMPTY:
            say(f"{part.adapter}: nothing to learn; route a section to it")
        else:
            say(f"{part.adapter}: stopped")
    short = outcome.learned < outcome.rows and request.early_stop is None
    if outcome.learned < outcome.rows and outcome.finished:
        if outcome.ending is Ending.TRAINED:
            say(UNKNOWN)
    elif outcome.ending is Ending.CANCELLED or short:
        say(f"to go on: dlm train {path} {_flags(request)}")
    elif outcome.ending is Ending.TRAINED:
        which = "" if outcome.gate else "--adapter NAME "
        say(f'ask it: dlm prompt {path} {which}"..."')
