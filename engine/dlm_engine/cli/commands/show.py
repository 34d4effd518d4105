"""`dlm show`: what a document contains and what was trained from it; creates nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dlm_engine.cli.app import globals_of
from dlm_engine.cli.documents import require_frontmatter
from dlm_engine.cli.retention import retention
from dlm_engine.cli.sources import expanded, source_facts, source_lines
from dlm_engine.cli.tables import columns, moment, size
from dlm_engine.cli.vocabulary import vocabulary_facts, vocabulary_lines
from dlm_engine.document import Document, Frontmatter, adapter_names, require_adapter
from dlm_engine.document.routing import part_for
from dlm_engine.errors import StoreError
from dlm_engine.store import (
    Store,
    Version,
    export_folders,
    gate_mode,
    home_dir,
    read_summary,
    texts_of,
)


def command(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The document.")],
    adapter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only what this named adapter learns.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Write one JSON object.")] = False,
) -> None:
    """Show what a document contains and what was trained from it."""
    at = globals_of(context)
    document, settings = require_frontmatter(path)
    names: tuple[str | None, ...] = adapter_names(settings) or (None,)
    if adapter is not None:
        names = (require_adapter(settings, adapter),)
        document = part_for(document, adapter)
        settings = document.frontmatter or settings
    home = home_dir(at.home)
    store = Store(home, settings.dlm_id)
    facts = _facts(path, document, settings, store, names)
    sources = expanded(settings.training, path, home)
    facts["sources"] = source_facts(sources)
    facts["vocabulary"], facts["vocabulary_unknown"] = vocabulary_facts(
        document, settings, path, store, sources.files
    )
    if json:
        at.console.result_json(facts)
    else:
        at.console.result(_text(facts))


def _facts(
    path: Path,
    document: Document,
    settings: Frontmatter,
    store: Store,
    names: tuple[str | None, ...],
) -> dict[str, Any]:
    sections = document.sections
    pairs = [pair for section in sections for pair in section.pairs]
    manifest = store.read_manifest()
    versions = [v for name in names for v in store.versions(name)] if store.exists() else []
    runs = [r for r in manifest.training_runs if r.adapter_name in names] if manifest else []
    last = runs[-1] if runs else None
    return {
        "path": str(path),
        "dlm_id": settings.dlm_id,
        "dlm_version": document.dlm_version,
        "base_model": settings.base_model,
        "system_prompt": settings.system_prompt,
        "sections": dict(sorted(Counter(str(s.type) for s in sections).items())),
        "questions": sum(not p.probe for p in pairs),
        "probes": sum(p.probe for p in pairs),
        "preferences": sum(len(s.triples) for s in sections),
        "training": settings.training.model_dump(mode="json", exclude_unset=True),
        "export": settings.export.model_dump(mode="json", exclude_unset=True),
        "store": {
            "path": str(store.root),
            "exists": store.exists(),
            "versions": [_version(v) for v in versions],
            "current": next((v.number for v in versions if v.current and not v.adapter), None),
            "current_by_adapter": {
                name: next((v.number for v in versions if v.current and v.adapter == name), None)
                for name in names
                if name is not None
            },
            "last_run": None if last is None else last.model_dump(mode="json"),
            "retention": _retention(store, versions),
            "gate": gate_mode(store, [*filter(None, names)])
            if settings.training.gate.enabled
            else None,
            "exports": [folder.name for folder in export_folders(store.root)],
        },
    }


def _retention(store: Store, versions: list[Version]) -> list[dict[str, Any]]:
    """What each current version knows of what the one before it knew, where there was one."""
    found = []
    for version in (version for version in versions if version.current):
        summary = None
        # A record that is damaged is told of by whatever needs it.
        with suppress(StoreError):
            record = version.run_record()
            summary = read_summary(store, record.run) if record else None
        if summary is None or summary.kept is None:
            continue
        texts = texts_of(summary.lost, [version])
        lost = [{"key": key, "question": texts.get(key)} for key in summary.lost]
        found.append({"adapter": version.adapter, "kept": summary.kept, "lost": lost})
    return found


def _version(version: Version) -> dict[str, Any]:
    return {
        "adapter": version.adapter,
        "number": version.number,
        "state": str(version.state),
        "current": version.current,
        "bytes": sum(f.stat().st_size for f in version.path.rglob("*") if f.is_file()),
    }


def _settings(name: str, value: Any) -> list[tuple[str, str]]:
    """One line for each value, under the name that docs/format.md has for it."""
    if isinstance(value, dict) and value:
        return [line for key, inner in value.items() for line in _settings(f"{name}.{key}", inner)]
    if isinstance(value, dict):
        return [(name, "as planned")] if name.count(".") > 1 else []
    return [(name, ", ".join(map(str, value)) if isinstance(value, list) else _said(value))]


def _said(value: Any) -> str:
    """As it is written in the document."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(facts: dict[str, Any]) -> str:
    sections = ", ".join(f"{n} {kind}" for kind, n in facts["sections"].items()) or "none"
    learnt = f"{facts['questions']} to learn, {facts['probes']} probes"
    if facts["preferences"]:
        learnt += f", {facts['preferences']} preferences"
    rows = [
        ("document", facts["path"]),
        ("id", facts["dlm_id"]),
        ("base", facts["base_model"]),
        ("format", f"version {facts['dlm_version']}"),
        ("sections", sections),
        ("questions", learnt),
    ]
    training = {k: v for k, v in facts["training"].items() if k != "sources"}
    rows += _settings("training", training)
    rows += source_lines(facts["sources"])
    rows += _settings("export", facts["export"])
    if facts["system_prompt"]:
        rows.append(("system prompt", " ".join(facts["system_prompt"].split())))
    rows += vocabulary_lines(facts["vocabulary"], facts["vocabulary_unknown"])
    store = facts["store"]
    current = store["current_by_adapter"] or {None: store["current"]}
    if not any(current.values()):
        rows.append(("trained", f"not yet: dlm train {facts['path']}"))
    else:
        total = sum(v["bytes"] for v in store["versions"])
        for name, number in current.items():
            label = "trained" if name is None else f"adapter {name}"
            said = "not trained yet" if number is None else f"version {number} is current"
            rows.append((label, said))
        if facts["training"].get("gate", {}).get("enabled"):
            made = {"trained": "trained", "uniform": "every adapter alike: too few questions"}
            again = "not of these versions: dlm train makes it"
            rows.append(("gate", made.get(store["gate"], again)))
        rows.append(("versions", f"{len(store['versions'])}, {size(total)} in {store['path']}"))
    if store["exports"]:
        rows.append(("exports", f"{', '.join(store['exports'])}, in {store['path']}/exports"))
    for kept in store["retention"]:
        label = "kept" if kept["adapter"] is None else f"kept, {kept['adapter']}"
        lost = [each["question"] for each in kept["lost"]]
        if kept["kept"] or lost:
            rows.append((label, retention(kept["kept"], lost)))
    run = store["last_run"]
    if run is not None:
        loss = run["final_train_loss"]
        said = f"{moment(run['ended_at'])}, {run['steps']} steps, seed {run['seed']}"
        rows.append(("last run", said + ("" if loss is None else f", loss {loss:.3f}")))
    return columns(rows)
