"""`dlm prompt`: one question, one answer, streamed as it comes."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dlm_engine.cli.app import globals_of, require_text
from dlm_engine.cli.asking import Base, MaxTokens, Seed, Temperature, TopP, VersionNumber
from dlm_engine.cli.console import is_terminal
from dlm_engine.cli.mixes import AdapterMix, AdapterMixMethod, AdapterName, GateChoice, mix_of
from dlm_engine.errors import UsageError
from dlm_engine.jobs import MixMethod, PromptOutcome, PromptRequest, prompt
from dlm_engine.store import home_dir

EPILOG = "Without QUESTION it is read from standard input."


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help="What to ask.")] = None,
    base: Base = False,
    version_number: VersionNumber = None,
    adapter: AdapterName = None,
    adapter_mix: AdapterMix = None,
    adapter_mix_method: AdapterMixMethod = MixMethod.LINEAR,
    gate: GateChoice = None,
    max_tokens: MaxTokens = 256,
    temp: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Instead of the document's system_prompt.")
    ] = None,
    no_stream: Annotated[
        bool, typer.Option("--no-stream", help="Print the answer when it is complete.")
    ] = False,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Ask the trained model a question."""
    console = globals_of(context).console
    if top_p is not None and not top_p > 0:
        raise UsageError("--top-p", "must be above 0", "leave it out for no limit")
    request = PromptRequest(
        path=path,
        home=home_dir(globals_of(context).home),
        question=_question(question),
        version=_version(version_number, base=base),
        system=system,
        temperature=temp,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        accept_licence=i_accept_license,
        adapter=adapter,
        gate=gate,
        mix=mix_of(adapter, adapter_mix, adapter_mix_method),
    )
    if json or no_stream:
        outcome = prompt(request, report=console.status)
        if json:
            console.result_json(_facts(outcome))
        else:
            console.result(outcome.answer)
    else:
        outcome = prompt(request, console.result_part, console.status)
        console.result("")
    for note in outcome.notes:
        console.status(note)
    if outcome.stopped == "length":
        console.status(f"(cut at {max_tokens} tokens; --max-tokens changes that)")
    if outcome.gate:
        console.detail(f"weighed by the gate ({outcome.gate})")
    for share in outcome.shares:
        console.detail(f"{share.adapter} version {share.version}: {share.weight:.3f}")
    console.detail(
        f"{outcome.answer_tokens} tokens in {outcome.seconds:.1f} s, temperature "
        f"{outcome.temperature:g}, stopped by {outcome.stopped}"
    )


def _question(given: str | None) -> str:
    if given is None and is_terminal(sys.stdin):
        raise UsageError("dlm prompt", "there is no question", "write it after the document's name")
    try:
        question = (sys.stdin.read() if given is None else given).strip()
    except UnicodeDecodeError as error:
        raise UsageError("standard input", "is not UTF-8 text", "convert it first") from error
    require_text(question, "standard input")
    if not question:
        raise UsageError(
            "dlm prompt", "the question is empty", "write it after the document's name"
        )
    return question


def _version(number: int | None, *, base: bool) -> int | Literal["base"] | None:
    if base and number is not None:
        raise UsageError(
            "dlm prompt", "--base and --version-number exclude each other", "choose one"
        )
    return "base" if base else number


def _facts(outcome: PromptOutcome) -> dict[str, Any]:
    return {
        "answer": outcome.answer,
        "version": outcome.version,
        "base_model": outcome.base_model,
        "prompt_tokens": outcome.prompt_tokens,
        "answer_tokens": outcome.answer_tokens,
        "stopped": outcome.stopped,
        "temperature": outcome.temperature,
        "seconds": round(outcome.seconds, 3),
        "notes": list(outcome.notes),
        **({"adapters": [asdict(s) for s in outcome.shares]} if outcome.shares else {}),
        **({"gate": outcome.gate} if outcome.gate else {}),
    }
