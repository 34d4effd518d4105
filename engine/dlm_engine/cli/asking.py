"""The options of whoever asks a model, as `dlm prompt` and `dlm repl` take them."""

from __future__ import annotations

from typing import Annotated

import typer

Base = Annotated[bool, typer.Option("--base", help="Ask the bare base, without what was learned.")]
VersionNumber = Annotated[
    int | None,
    typer.Option(
        "--version-number", metavar="NUMBER", help="Ask this version, not the current one.", min=1
    ),
]
MaxTokens = Annotated[
    int, typer.Option("--max-tokens", metavar="NUMBER", help="Longest answer, in tokens.", min=1)
]
Temperature = Annotated[
    float | None,
    typer.Option("--temp", metavar="NUMBER", help="0 always answers the same.", min=0, max=5),
]
TopP = Annotated[
    float | None, typer.Option("--top-p", metavar="NUMBER", help="Above 0, at most 1.", max=1)
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="NUMBER", help="Repeat the same draws.", min=0)
]
