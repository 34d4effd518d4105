"""The root command: global options, commands imported on demand, errors rendered once.

Commands raise; only `run` turns what they raise into a line and an exit code. A
command's module is imported when its name is on the command line, never for `--help`.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from dlm_engine import __version__
from dlm_engine.cli.catalogue import COMMANDS
from dlm_engine.cli.console import Console, Verbosity, prepare_streams
from dlm_engine.errors import DlmError, UsageError

EPILOG = "Start with: dlm init notes.dlm. Every command explains itself with --help."
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Globals:
    """What the options before the command resolved to."""

    console: Console
    home: Path | None


def require_text(given: str, subject: str) -> None:
    """Raise `UsageError` for what was no UTF-8: Python keeps such bytes as lone surrogates."""
    if any("\ud800" <= character <= "\udfff" for character in given):
        raise UsageError(subject, "is not UTF-8 text", "convert it first")


def globals_of(context: typer.Context) -> Globals:
    found = context.find_object(Globals)
    return found if found is not None else Globals(Console(), None)


#: What SQLite and torch take, and so every number of a command.
_LARGEST = 2**63 - 1


class PlainCommand(TyperCommand):
    """A command whose usage line names its arguments without Typer's braces, whose numbers fit
    in 64 bits, and whose texts are text."""

    def invoke(self, ctx: Any) -> Any:
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if isinstance(value, int) and abs(value) > _LARGEST:
                raise UsageError(parameter.opts[0], "must fit in 64 bits", "give a smaller number")
            if isinstance(value, str):
                require_text(value, parameter.opts[0])
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub("[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]


class LazyCommands(MutableMapping[str, Any]):
    """Command names to Typer commands, each imported when looked up."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            if name not in COMMANDS:
                raise KeyError(name)
            module = import_module(f"dlm_engine.cli.commands.{name}")
            if hasattr(module, "app"):  # a command that has commands of its own
                self._loaded[name] = get_command(module.app)
                return self._loaded[name]
            one = typer.Typer(add_completion=False, rich_markup_mode=None)
            epilog = getattr(module, "EPILOG", None)
            one.command(name=name, cls=PlainCommand, epilog=epilog)(module.command)
            self._loaded[name] = get_command(one)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """A group that lists its commands from the catalogue."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = typer.Typer(
    name="dlm",
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"dlm {__version__}")
        raise typer.Exit


@app.callback(epilog=EPILOG)
def root(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where dlm keeps what it makes [$DLM_HOME, ~/.dlm]."),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say more, and show tracebacks [$DLM_VERBOSE].")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", help="Say only results, warnings and errors.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """A text file becomes a language model that knows it, on the machine you have."""
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet exclude each other")
    verbosity = Verbosity.VERBOSE if verbose else Verbosity.QUIET if quiet else Verbosity.NORMAL
    context.obj = Globals(Console(verbosity), home)


#: global options that people also write after the command
_FLAGS = {"-v", "--verbose", "-q", "--quiet"}


def hoist_global_options(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the global options moved before the command's name.

    `dlm train notes.dlm --verbose` is what people type; Typer would want the option
    before `train`. Nothing after `--` is touched.
    """
    hoisted: list[str] = []
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            rest += ["--", *remaining]
        elif argument in _FLAGS or argument.startswith("--home="):
            hoisted.append(argument)
        elif argument == "--home":
            hoisted += [
                argument,
                *[value for value in [next(remaining, None)] if value is not None],
            ]
        else:
            rest.append(argument)
    return hoisted + rest


def wants_traceback(arguments: Sequence[str]) -> bool:
    return os.environ.get("DLM_VERBOSE", "") not in ("", "0") or bool(
        {"-v", "--verbose"} & set(arguments)
    )


def _quieten_libraries(arguments: Sequence[str]) -> None:
    """Keep other people's progress bars, advice and start-up costs out of ours."""
    for variable, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "BITSANDBYTES_NOWELCOME": "1",
        # Looking for plug-ins reads the metadata of every installed package: 30 ms at each start.
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
    }.items():
        os.environ.setdefault(variable, value)
    if not sys.warnoptions and not wants_traceback(arguments):
        warnings.simplefilter("ignore")


def _os_error(error: OSError) -> DlmError:
    subject = str(error.filename) if error.filename else "system"
    return DlmError(
        subject, error.strerror or str(error), "check the path, its rights and the disk"
    )


def run(arguments: Sequence[str]) -> int:
    """Run the command line; every way it can end is an exit code here."""
    prepare_streams()
    given = hoist_global_options(arguments)
    _quieten_libraries(given)
    console = Console(Verbosity.VERBOSE if wants_traceback(given) else Verbosity.NORMAL)
    try:
        code = get_command(app).main(args=given, prog_name="dlm", standalone_mode=False)
        sys.stdout.flush()
    except DlmError as error:
        console.traceback(error)
        console.error(error)
        return error.exit_code
    except TyperException as error:
        return _usage(console, error)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`dlm versions x.dlm | head -1`): nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        console.traceback(error)
        console.error(_os_error(error))
        return 1
    except Exception as error:
        console.bug(error)
        return 1
    # Of several processes, the one that started the others says so.
    if code == INTERRUPTED and not os.environ.get("DLM_LAUNCHED"):
        console.status("interrupted")
    return code if isinstance(code, int) else 0


def _usage(console: Console, error: TyperException) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "dlm"
    message = " ".join(error.format_message().split()).rstrip(".")
    # pydantic's word for what typer refuses itself.
    console.usage_error(command, message.replace(": Value error, ", ": "))
    return error.exit_code
