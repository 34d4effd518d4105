"""`dlm lsp`: the language server, for editors that know only where `dlm` is."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Exit code: 0 the editor ended it, 1 the editor left without a word."


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def command(
    stdio: Annotated[
        bool, typer.Option("--stdio", help="What editors say; there is no other way.")
    ] = False,
    log_level: Annotated[Level, typer.Option(help="How much to log.")] = Level.WARNING,
    log_file: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Log there rather than to stderr.")
    ] = None,
) -> None:
    """Serve an editor over standard input and output."""
    from dlm_server.main import main

    arguments = ["--stdio", "--log-level", log_level.value]
    if log_file is not None:
        arguments += ["--log-file", str(log_file)]
    raise typer.Exit(main(arguments))
