"""Commands that need no engine: they look at the store or change the text of a document."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict
from typing import Any, Final

from lsprotocol import types as lsp

from dlm_engine.document import TextEdit
from dlm_server.dispatch import Pending, RequestFailed
from dlm_server.engine.arguments import (
    Nothing,
    OfBase,
    OfDocument,
    OfNew,
    OfSource,
    dlm_id_of,
    not_open,
    refusal,
    target_of,
)
from dlm_server.engine.service import engine_of
from dlm_server.session import Session

_STDERR_SHOWN: Final = 16 * 2**10


# --- looking -------------------------------------------------------------------------------


def export_targets(session: Session, argument: OfDocument) -> list[dict[str, Any]]:
    """What can be exported to, with the document's own choice marked."""
    from dlm_engine.export.model import Quant
    from dlm_engine.export.model import Target as ExportTarget

    frontmatter = target_of(session, argument.uri).live.frontmatter
    chosen = frontmatter.export.default_quant if frontmatter else Quant.Q4_K_M
    said = {
        ExportTarget.GGUF: "GGUF files for llama.cpp",
        ExportTarget.OLLAMA: "GGUF files and a Modelfile for Ollama",
    }
    return [
        {
            "target": str(target),
            "label": said[target],
            "quants": [{"quant": str(q), "default": str(q) == str(chosen)} for q in Quant],
        }
        for target in ExportTarget
    ]


def adapters(session: Session, argument: OfDocument) -> dict[str, Any]:
    """The named adapters that can be asked or exported, and whether a gate weighs them."""
    from dlm_engine.document import adapter_names
    from dlm_engine.store import Store

    target = target_of(session, argument.uri)
    store, frontmatter = Store(engine_of(session).home, dlm_id_of(target)), target.live.frontmatter
    assert frontmatter is not None
    names = adapter_names(frontmatter)
    current = {name: store.current(name) if store.exists() else None for name in names}
    return {
        "adapters": [
            {"adapter": name, "version": version.number if version else None}
            for name, version in current.items()
        ],
        "gate": bool(names) and frontmatter.training.gate.enabled,
    }


def versions(session: Session, argument: OfDocument) -> list[dict[str, Any]]:
    """The trained versions, by number."""
    from dlm_engine.store import Store
    from dlm_server.engine import history

    target = target_of(session, argument.uri)
    return history.versions(Store(engine_of(session).home, dlm_id_of(target)))


def runs(session: Session, argument: OfDocument) -> list[dict[str, Any]]:
    """The training runs, with the loss of their steps."""
    from dlm_engine.store import Store
    from dlm_server.engine import history

    target = target_of(session, argument.uri)
    return history.runs(Store(engine_of(session).home, dlm_id_of(target)))


def open_store(session: Session, argument: OfDocument) -> dict[str, Any]:
    """Where the document's store is."""
    from dlm_engine.store import Store

    store = Store(engine_of(session).home, dlm_id_of(target_of(session, argument.uri)))
    return {"path": str(store.root), "uri": store.root.as_uri(), "exists": store.exists()}


def debug_information(session: Session, argument: Nothing) -> dict[str, Any]:
    """What a bug report needs."""
    from dlm_engine import __version__

    engine = engine_of(session)
    return {
        "version": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "platform": platform.platform(),
        "client": session.client.name,
        "encoding": str(session.client.encoding.value),
        "documents": sum(1 for _ in session.documents),
        "home": str(engine.home),
        "settings": asdict(session.settings),
        "engine": {
            **engine.status(),
            "pid": engine.client.pid,
            "deaths": list(engine.client.deaths),
            "stderr": engine.client.ring.text(_STDERR_SHOWN),
        },
    }


def list_base_models(session: Session, argument: Nothing) -> list[dict[str, Any]]:
    """The bases that have a short name, as dlm-lsp lists them."""
    from dlm_engine.bases.registry import REGISTRY

    return [_base(spec) for spec in REGISTRY.values()]


def new_document(session: Session, argument: OfNew) -> dict[str, str]:
    """The text of a fresh document, as `dlm init` writes it; nothing is written here."""
    from dlm_engine.document import new_document

    return {"text": new_document(argument.base)}


def _base(spec: Any) -> dict[str, Any]:
    return {
        "key": spec.key,
        "hf_id": spec.hf_id,
        "params": spec.params,
        "size_gb_fp16": spec.size_gb_fp16,
        "context_length": spec.context_length,
        "modality": "text",
        "license_spdx": spec.license_spdx,
        "requires_acceptance": spec.requires_acceptance,
    }


def document_state(session: Session, argument: OfDocument) -> dict[str, Any] | None:
    """What dlm-lsp says about a document; null for one that is not open."""
    from dlm_engine.bases.registry import REGISTRY
    from dlm_engine.document import SectionType

    document = session.document(argument.uri)
    if document is None:
        return None
    parsed = document.live.document
    frontmatter = parsed.frontmatter
    if frontmatter is None:
        worst = document.live.diagnostics[0].message if document.live.diagnostics else "broken"
        return {"uri": argument.uri, "error": worst}
    spec = REGISTRY.get(frontmatter.base_model)
    return {
        "uri": argument.uri,
        "dlm_id": frontmatter.dlm_id,
        "dlm_version": frontmatter.dlm_version,
        "base_model": frontmatter.base_model,
        "base_model_spec": _base(spec) if spec else None,
        "section_counts": {
            str(kind): sum(s.type is kind for s in parsed.sections) for kind in SectionType
        },
    }


# --- changing the document -----------------------------------------------------------------


def migrate(session: Session, argument: OfDocument) -> Any:
    """Bring the document to the current version, as an edit of its text."""
    from dlm_engine.document import migrate_text

    migration = migrate_text(target_of(session, argument.uri).live.text)
    reply = {"changed": bool(migration.edits), "applied": list(migration.applied)}
    return _edit(session, argument.uri, "Migrate", list(migration.edits), reply)


def new_id(session: Session, argument: OfDocument) -> Any:
    """Give the document a fresh id."""
    from dlm_server.engine.directives import new_id_edit

    edit = new_id_edit(target_of(session, argument.uri).live)
    return _edit(session, argument.uri, "New id", [edit] if edit else [], {"changed": True})


def set_base_model(session: Session, argument: OfBase) -> Any:
    """Set `base_model` to a name from the list, a hub id or a folder."""
    from dlm_engine.bases.registry import REGISTRY
    from dlm_server.engine.directives import base_model_edit

    if argument.key not in REGISTRY and "/" not in argument.key and ":" not in argument.key:
        raise refusal("the base", f"{argument.key[:60]!r} is not known", "see the list of bases")
    edit = base_model_edit(target_of(session, argument.uri).live, argument.key)
    return _edit(session, argument.uri, "Set base model", [edit] if edit else [], None)


def add_source(session: Session, argument: OfSource) -> Any:
    """Add an entry to `training.sources`."""
    from dlm_server.engine.directives import source_edit

    edit = source_edit(target_of(session, argument.uri).live, argument.path)
    return _edit(session, argument.uri, "Add source", [edit], None)


def _edit(session: Session, uri: str, label: str, edits: list[TextEdit], reply: Any) -> Any:
    """Have the client apply `edits`; `reply` once it has."""
    if not edits:
        return reply
    snapshot = session.snapshot(uri)
    if snapshot is None:
        raise not_open()
    if not session.client.apply_edit:
        raise refusal("the editor", "cannot apply edits")
    pending = Pending()

    def applied(result: Any, error: RequestFailed | None) -> None:
        if error is not None:
            pending.reject(refusal("the edit", f"failed ({error.message})"))
        elif not _was_applied(result):
            pending.reject(refusal("the editor", "did not apply the edit"))
        else:
            pending.resolve(reply)

    edit = snapshot.workspace_edit(edits)
    session.request(
        "workspace/applyEdit", lsp.ApplyWorkspaceEditParams(edit=edit, label=label), applied
    )
    return pending


def _was_applied(result: Any) -> bool:
    if isinstance(result, dict):
        return bool(result.get("applied"))
    return bool(getattr(result, "applied", False))
