"""`dlm export`: says what will be carried, folded, merged or refused, then writes and proves it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dlm_engine.cli.app import Globals, globals_of
from dlm_engine.cli.mixes import AdapterMix, AdapterMixMethod, AdapterName, mix_of
from dlm_engine.cli.tables import seconds, size
from dlm_engine.export import Quant, Target
from dlm_engine.jobs import ExportJob, ExportOptions, ExportResult, MixMethod, export
from dlm_engine.store import home_dir

EPILOG = (
    "Every export is compared with the trained model before it becomes visible, and asked "
    "a question in llama.cpp; one that fails leaves nothing behind."
)


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    quant: Annotated[
        Quant | None,
        typer.Option(help="How weights are stored; default: the document's, or Q4_K_M."),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="ollama writes a Modelfile as well.")
    ] = Target.GGUF,
    merged: Annotated[
        bool, typer.Option("--merged", help="One file: the adapter folded into the weights.")
    ] = False,
    dequantize: Annotated[
        bool,
        typer.Option("--dequantize", help="With --merged: allow an adapter of a 4-bit base."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write there, not into the store.")
    ] = None,
    ask: Annotated[
        str | None,
        typer.Option(metavar="QUESTION", help="Ask the result this, not the first question."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's name in Ollama.")
    ] = None,
    version_number: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="Export this version, not the current one.", min=1),
    ] = None,
    adapter: AdapterName = None,
    adapter_mix: AdapterMix = None,
    adapter_mix_method: AdapterMixMethod = MixMethod.LINEAR,
    i_accept_license: Annotated[
        bool, typer.Option("--i-accept-license", help="Accept the licence of the base.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Write the result as one JSON object.")
    ] = False,
) -> None:
    """Write the trained model as GGUF, for llama.cpp and Ollama."""
    at = globals_of(context)
    options = ExportOptions(
        quant=quant,
        target=target,
        merged=merged,
        dequantize=dequantize,
        out=out,
        question=ask,
        ollama_name=name,
    )
    job = ExportJob(
        path=path,
        home=home_dir(at.home),
        options=options,
        version=version_number,
        accept_licence=i_accept_license,
        adapter=adapter,
        mix=mix_of(adapter, adapter_mix, adapter_mix_method),
    )
    result = export(job, at.console.status)
    if json:
        at.console.result_json(_facts(result))
    else:
        _report(at, result)


def _facts(result: ExportResult) -> dict[str, Any]:
    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    return {
        "folder": str(result.folder),
        "base_gguf": str(result.base_gguf),
        "adapter_gguf": text(result.adapter_gguf),
        "modelfile": text(result.modelfile),
        "manifest": result.manifest.model_dump(mode="json"),
        "checks": [check.as_json() for check in result.checks],
        "answer": result.answer,
        "seconds": dict(result.seconds),
    }


def _report(at: Globals, result: ExportResult) -> None:
    for artifact in result.manifest.artifacts:
        at.console.result(f"{result.folder / artifact.path}  {size(artifact.size_bytes)}")
    passed = sum(check.passed is True for check in result.checks)
    for check in result.checks:
        at.console.detail(f"  {check.name}: {check.detail}")
        if check.passed is None:
            at.console.status(f"not checked: {check.name}: {check.detail}")
    total = seconds(sum(result.seconds.values()))
    at.console.status(f"exported in {total}, {passed} checks passed")
    if result.answer is not None:
        at.console.status(f"llama.cpp answers: {result.answer.strip()}")
