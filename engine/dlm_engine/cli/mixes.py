"""`--adapter`, `--adapter-mix` and `--gate`, as `dlm prompt`, `repl` and `export` take them."""

from __future__ import annotations

from typing import Annotated

import typer

from dlm_engine.errors import UsageError
from dlm_engine.jobs import GateUse, Mix, MixMethod

AdapterName = Annotated[
    str | None, typer.Option("--adapter", metavar="NAME", help="Which of several named adapters.")
]
AdapterMix = Annotated[
    str | None,
    typer.Option("--adapter-mix", metavar="MIX", help="The sum of several, as in a=0.7,b=0.3."),
]
AdapterMixMethod = Annotated[
    MixMethod,
    typer.Option(
        "--adapter-mix-method",
        help="linear sums exactly, svd to 0.05 % at the least rank that does.",
    ),
]
GateChoice = Annotated[
    GateUse | None,
    typer.Option(
        "--gate",
        help="Whether the document's gate weighs the adapters; without it, if any.",
    ),
]


def mix_of(adapter: str | None, text: str | None, method: MixMethod) -> Mix | None:
    """The mix that was asked for."""
    if text is None:
        if method is not MixMethod.LINEAR:
            raise UsageError("--adapter-mix-method", "is of --adapter-mix", "give that as well")
        return None
    if adapter is not None:
        raise UsageError("dlm", "--adapter and --adapter-mix exclude each other", "choose one")
    return Mix.read(text, method)
