#!/usr/bin/env python3
"""Writes the parts of docs/ that the code decides: docs/cli.md and the tables of docs/format.md.

.venv/bin/python scripts/generate_docs.py           write
.venv/bin/python scripts/generate_docs.py --check   fail if anything would change
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
CLI_PAGE = ROOT / "docs" / "cli.md"
FORMAT_PAGE = ROOT / "docs" / "format.md"

CLI_OPENING = """\
# Command line

Written by `make docs` from the commands themselves; a test fails when it is out of date.

Results go to standard output, everything else to standard error, so `dlm ... | tool` and
`--json` stay clean. The global options may stand before or after the command.

| exit code | means |
|---|---|
| 0 | done, also when there was nothing to do |
| 1 | failed; one line on standard error says what, where and what to do |
| 2 | wrong usage: a flag, an argument, or nothing to work on |
| 130 | interrupted with Ctrl-C |

| variable | means |
|---|---|
| `DLM_HOME` | where stores and weights live; default `~/.dlm` (`%APPDATA%\\dlm` on Windows) |
| `DLM_CACHE_DIR` | where base weights and export caches live; default `$DLM_HOME/cache` |
| `DLM_THREADS` | how many threads training takes; default every core it may use |
| `DLM_VERBOSE` | `1` shows tracebacks, as `--verbose` does |
| `HF_TOKEN` | the token for bases that need one |

Shell completion: `dlm --install-completion` once, then start a new shell.

"""

#: what each frontmatter field means; every field needs a line here
MEANINGS: Mapping[str, str] = {
    "dlm_id": "Names the document's store. Written by `dlm init`, never changed by hand.",
    "dlm_version": "Version of the format. A missing key means 1.",
    "base_model": "The base: a name of the registry, `hf:org/name`, or a folder (`./`, `/`, `~/`).",
    "system_prompt": "Put before every question, in training, in `dlm prompt` and in exports.",
    "training.adapter": "Plain LoRA, LoRA on a 4-bit base, or weight-decomposed LoRA.",
    "training.lora_r": "Rank of the adapter. Left out: planned.",
    "training.lora_alpha": "Scale of the adapter, divided by the rank. Left out: planned.",
    "training.lora_dropout": "Share of adapter inputs dropped while training.",
    "training.target_modules": "Linear layers with an adapter; `auto` means all of the base's.",
    "training.sequence_len": "Longest row in tokens; longer prose is cut into several rows.",
    "training.micro_batch_size": "Rows per forward pass; `auto` means what fits.",
    "training.grad_accum": "Forward passes per step; `auto` means what the batch needs.",
    "training.learning_rate": "Peak learning rate. Left out: planned.",
    "training.num_epochs": "Passes over the rows. Left out: planned.",
    "training.optimizer": "The optimiser.",
    "training.lr_scheduler": "Shape of the learning rate after warm-up.",
    "training.warmup_ratio": "Share of the steps with a rising learning rate.",
    "training.precision": "Number format of the base while training; null means planned.",
    "training.seed": "Decides initial values, order and dropout.",
    "training.preference.enabled": "Learn from the preference sections after the questions.",
    "training.preference.method": "Which loss the preferences use.",
    "training.preference.hyperparams.beta": "Strength of the pull to the reference (DPO).",
    "training.preference.hyperparams.alpha": "Weight of the odds term (ORPO).",
    "training.preference.hyperparams.learning_rate": "Peak learning rate of this phase.",
    "training.preference.hyperparams.num_epochs": "Passes over the preferences.",
    "training.preference.loss_type": "Form of the DPO loss.",
    "training.preference.reference": "What DPO compares with: base, or adapter before this phase.",
    "training.cpt.schedule": "How prose is learned: by its share, slowly, or as answers.",
    "training.cpt.embed_warmup_steps": "Steps that also train the embeddings.",
    "training.gate.enabled": "Choose among named adapters per prompt.",
    "training.gate.hidden_proj_dim": "Width of the gate.",
    "training.gate.steps": "Steps the gate is trained for.",
    "training.gate.lr": "Learning rate of the gate.",
    "training.gate.cold_start_floor": "Rows per adapter below which the gate is not trained.",
    "training.gate.entropy_lambda": "Pull towards using more than one adapter.",
    "training.cache.enabled": "Keep tokenised source files between runs.",
    "training.cache.max_bytes": "Size of that cache.",
    "training.cache.prune_older_than_days": "Age at which entries leave it.",
    "training.audio.auto_resample": "Resample audio that has another rate than the base wants.",
    "training.adapters": "Named adapters; sections choose one with `#name`.",
    "training.adapters.*.adapter": "As `training.adapter`.",
    "training.adapters.*.lora_r": "As `training.lora_r`.",
    "training.adapters.*.lora_alpha": "As `training.lora_alpha`.",
    "training.adapters.*.lora_dropout": "As `training.lora_dropout`.",
    "training.adapters.*.target_modules": "As `training.target_modules`.",
    "training.adapters.*.learning_rate": "As `training.learning_rate`.",
    "training.sources": "Files and folders whose text is learned as prose.",
    "training.sources[].path": "The file or folder, relative to the document.",
    "training.sources[].include": "Patterns of files to take.",
    "training.sources[].exclude": "Patterns of files to leave.",
    "training.sources[].max_bytes_per_file": "Larger files are left out.",
    "training.sources[].max_files": "At most so many files.",
    "training.sources_policy": "Whether sources may lie outside the document's folder.",
    "export.default_quant": "Quantisation of `dlm export` without `--quant`.",
    "export.default_temperature": "Temperature written into exports.",
    "export.default_top_p": "Top-p written into exports.",
}


# docs/cli.md


def help_text(*words: str) -> str:
    """What `dlm WORDS --help` prints, at 88 columns."""
    os.environ["COLUMNS"] = "88"
    from dlm_engine.cli.app import run

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run([*words, "--help"])
    return said.getvalue().strip()


def cli_page() -> str:
    from dlm_engine.cli.catalogue import COMMANDS

    parts = [CLI_OPENING, "## dlm\n\n```text\n" + help_text() + "\n```\n"]
    for name in COMMANDS:
        parts.append(f"\n## dlm {name}\n\n```text\n{help_text(name)}\n```\n")
    return "".join(parts)


# docs/format.md


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """(dotted path, type and bounds, default) of every field, in order of declaration."""
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        path, annotation = prefix + name, hints[name]
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from fields(annotation, path + ".")
            continue
        yield path, kind(annotation), "required" if field.is_required() else written(field.default)
        for step, inner in entries(annotation):
            yield from fields(inner, path + step)


def entries(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The models inside a list or mapping, with how a path names one of them."""
    for option in get_args(annotation) if get_origin(annotation) is UnionType else [annotation]:
        origin = get_origin(option)
        step = "[]." if origin is tuple else ".*." if origin is dict else ""
        for inner in get_args(option):
            if step and isinstance(inner, type) and issubclass(inner, BaseModel):
                yield step, inner


def written(value: Any) -> str:
    """A default as it would stand in the frontmatter."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{v}"' for v in value) + "]"
    if isinstance(value, str):
        return f"`{value}`"
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind(annotation: Any) -> str:
    """Type and bounds in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is NoneType:
        return "null"
    if origin is Annotated:
        signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
        bounds = [
            f"{sign} {getattr(part, name):g}"
            for metadata in arguments[1:]
            for part in (metadata.metadata if isinstance(metadata, FieldInfo) else [metadata])
            for name, sign in signs.items()
            if getattr(part, name, None) is not None
        ]
        return kind(arguments[0]) + (f" ({', '.join(bounds)})" if bounds else "")
    if origin is UnionType or origin is Union:
        return " or ".join(kind(option) for option in arguments)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return "list of texts" if arguments[0] is str else "list of entries"
    if origin is dict:
        return "entries by name"
    return {int: "whole number", float: "number", str: "text", bool: "yes or no"}[annotation]


def frontmatter_table() -> str:
    from dlm_engine.document import Frontmatter

    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for path, values, default in fields(Frontmatter):
        rows.append(f"| `{path}` | {values} | {default} | {MEANINGS[path]} |")
    return "\n".join(rows)


def codes_table() -> str:
    from dlm_engine.document.codes import CODES

    rows = ["| code | severity | meaning |", "|---|---|---|"]
    rows += [f"| `{c.code}` | {c.severity} | {c.meaning} |" for c in CODES.values()]
    return "\n".join(rows)


def bases_table() -> str:
    from dlm_engine.bases import REGISTRY

    rows = ["| base | parameters | licence | accept first |", "|---|---|---|---|"]
    for spec in REGISTRY.values():
        size = f"{spec.params / 1e9:.1f} B" if spec.params >= 1e9 else f"{spec.params / 1e6:.0f} M"
        gated = "yes" if spec.requires_acceptance else "no"
        rows.append(f"| `{spec.key}` | {size} | {spec.license_spdx} | {gated} |")
    return "\n".join(rows)


def format_page(current: str) -> str:
    """`current` with everything between its markers made anew."""
    page = current
    for name, table in (
        ("frontmatter", frontmatter_table()),
        ("codes", codes_table()),
        ("bases", bases_table()),
    ):
        before, start, rest = page.partition(f"<!-- generated: {name} -->\n")
        _, end, after = rest.partition(f"<!-- end: {name} -->")
        if not start or not end:
            raise SystemExit(f"{FORMAT_PAGE}: no place marked for {name}")
        page = f"{before}{start}\n{table}\n\n{end}{after}"
    return page


def main() -> None:
    pages = {CLI_PAGE: cli_page(), FORMAT_PAGE: format_page(FORMAT_PAGE.read_text("utf-8"))}
    stale = [p for p, text in pages.items() if not p.exists() or p.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(p.relative_to(ROOT)) for p in stale)
        raise SystemExit(f"out of date: {names}; run `make docs`" if stale else 0)
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
